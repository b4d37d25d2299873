#include "device/cuda/libraries.h"

#include <stdio.h>

#if defined(CUDA_EMULATOR) // the emulator's libraries are linked statically

static bool load_all(CudaLibraries *l, Error *err) {
    (void)err;
#define LOAD(name) l->name = name;
    CUBLASLT_FUNCTIONS(LOAD)
    CUSOLVER_FUNCTIONS(LOAD)
    l->can_solve = true;
    return true;
}

#else

#include <dlfcn.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096 };

// Opens `directory`/`name`. An empty directory means the loader's search path; a glob pattern, its first match that
// loads.
static void *open_in(const char *directory, const char *name) {
    char path[PATH_SIZE];
    if (snprintf(path, sizeof path, "%s%s%s", directory, *directory ? "/" : "", name) >= PATH_SIZE) return NULL;
    if (*directory == 0) return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *library = NULL;
    glob_t found;
    if (glob(path, 0, NULL, &found) == 0)
        for (size_t i = 0; library == NULL && i < found.gl_pathc; i++)
            library = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
    globfree(&found);
    return library;
}

// Searches the user's directories first, for all names; then name by name the default locations.
static void *find(const char *const *names) {
    void *library = NULL;
    const char *listed = getenv("POLAR_CUDA_LIBRARIES"), *home = getenv("CUDA_HOME");
    char directory[PATH_SIZE];
    while (library == NULL && listed && *listed) {
        size_t size = strcspn(listed, ":");
        if (size > 0 && size < sizeof directory) {
            memcpy(directory, listed, size);
            directory[size] = 0;
            for (int i = 0; library == NULL && names[i]; i++) library = open_in(directory, names[i]);
        }
        listed += size + (listed[size] == ':');
    }
    bool in_home = home && snprintf(directory, sizeof directory, "%s/lib64", home) < PATH_SIZE;
    for (; library == NULL && *names; names++) {
        library = open_in("", *names);
        if (library == NULL && in_home) library = open_in(directory, *names);
        if (library == NULL) library = open_in("/usr/local/cuda*/lib64", *names);
    }
    return library;
}

// dlsym returns an object pointer; POSIX guarantees that its bytes are a valid function pointer.
static bool load_symbol(void *library, const char *symbol, void *function) {
    void *address = dlsym(library, symbol);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

#define TEXT_OF(x) #x
#define VERSION_OF(name, major) name "." TEXT_OF(major)

static bool load_all(CudaLibraries *l, Error *err) {
    // First the version of the headers that this file was compiled with, then any other.
    static const char *const blas[] = {VERSION_OF("libcublasLt.so", CUBLAS_VER_MAJOR),
                                       "libcublasLt.so.13",
                                       "libcublasLt.so.12",
                                       "libcublasLt.so.11",
                                       "libcublasLt.so",
                                       NULL};
    static const char *const solver[] = {VERSION_OF("libcusolver.so", CUSOLVER_VER_MAJOR), "libcusolver.so.12",
                                         "libcusolver.so.11", "libcusolver.so", NULL};
    const char *missing = NULL;
    void *library = find(blas);
    if (library == NULL)
        return error_set(err,
                         "NVIDIA's cuBLAS (libcublasLt.so) was not found; install the CUDA toolkit or pip install "
                         "nvidia-cublas-cu12, and set POLAR_CUDA_LIBRARIES to the directory of the library");
#define LOAD(name)                                                                                                 \
    if (!load_symbol(library, #name, &l->name)) missing = #name;
    CUBLASLT_FUNCTIONS(LOAD)
    if (missing)
        return error_set(err,
                         "the installed cuBLASLt has no %s; install version 11.2 or newer and set "
                         "POLAR_CUDA_LIBRARIES to its directory",
                         missing);
    library = find(solver);
    if (library) {
        CUSOLVER_FUNCTIONS(LOAD)
    }
    l->can_solve = library && !missing;
    return true;
}

#endif

bool cuda_libraries_load(const CudaLibraries **libraries, Error *err) {
    static CudaLibraries all;
    static bool loaded;
    if (!loaded && !load_all(&all, err)) return false;
    if (!loaded) {
        int version = (int)all.cublasLtGetVersion(); // 130100, 120803: major, two digits each for minor and patch
        snprintf(all.description, sizeof all.description, "cuBLASLt %d.%d.%d%s", version / 10000,
                 version / 100 % 100, version % 100, all.can_solve ? ", cuSOLVER" : ", no cuSOLVER");
    }
    loaded = true;
    *libraries = &all;
    return true;
}
