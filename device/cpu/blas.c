#include "device/cpu/blas.h"

#include "device/cpu/blas_check.h"
#include "device/cpu/gemm.h"
#include "device/cpu/threads.h"

#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static Blas blas; // sgemm NULL: none, the built-in kernels compute everything
static void *library;

// Debian's names, in order of preference: the OpenMP build shares our thread pool, the pthreads build has its own.
static const char *const candidates[] = {"/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
                                         "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0",
                                         "libopenblaso.so.0", "libopenblas.so.0", "libopenblas.so"};

const char *cpu_blas_core_type(Isa isa, bool bf16, bool amd) {
    if (isa == ISA_AVX512) return bf16 ? "Cooperlake" : "SkylakeX";
    return isa == ISA_AVX2 ? amd ? "Zen" : "Haswell" : NULL;
}

bool cpu_blas_core_suits(Isa isa, const char *core) {
    static const char *const modern[] = {"Haswell", "Zen", "Excavator", "SkylakeX", "Cooperlake", "SapphireRapids"};
    if (isa == ISA_BASE) return true;
    for (size_t i = 0; i < sizeof modern / sizeof *modern; i++)
        if (!strcasecmp(core, modern[i])) return true;
    return false;
}

// Call before loading: OpenBLAS reads the variable once, in its constructor.
static void set_core_type(void) {
#if defined(__x86_64__)
    const char *core = cpu_blas_core_type(cpu_isa(), __builtin_cpu_supports("avx512bf16"), __builtin_cpu_is("amd"));
    if (core != NULL && getenv("OPENBLAS_CORETYPE") == NULL) setenv("OPENBLAS_CORETYPE", core, 1);
#endif
}

// OpenBLAS allocates a buffer per processor when it is loaded, and if the address space is limited (ulimit -v) it
// retries forever. So this tests first whether they fit: 128 MiB each in Debian's build, the largest.
static bool has_address_space(void) {
    size_t bytes = ((size_t)omp_get_num_procs() + 1) * (128 << 20);
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) return false;
    munmap(region, bytes);
    return true;
}

// dlsym returns an object pointer; POSIX guarantees that its bytes are a valid function pointer.
bool cpu_blas_find(void *function, const char *symbol) {
    char prefixed[64];
    snprintf(prefixed, sizeof prefixed, "scipy_%s", symbol);
    void *address = library ? dlsym(library, symbol) : NULL;
    if (library && address == NULL) address = dlsym(library, prefixed);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static void find_functions(void) {
    if (!cpu_blas_find(&blas.sgemm, "cblas_sgemm") || !cpu_blas_find(&blas.dgemm, "cblas_dgemm"))
        blas.sgemm = NULL, blas.dgemm = NULL;
    if (!blas.sgemm || !cpu_blas_find(&blas.ssyrk, "cblas_ssyrk") || !cpu_blas_find(&blas.dsyrk, "cblas_dsyrk"))
        blas.ssyrk = NULL;
}

// Why the library that was found is not used; NULL: it is. OpenBLAS takes its oldest kernels, a fifth as fast as ours,
// if it knows neither the processor nor the core type that it was given; a user who has set that gets it.
static const char *unfit(bool user_chose_core) {
    char *(*core_name)(void);
    if (blas.sgemm == NULL) return "it has no cblas_sgemm and cblas_dgemm with 32-bit integers";
    if (cpu_blas_find(&core_name, "openblas_get_corename") && !user_chose_core &&
        !cpu_blas_core_suits(cpu_isa(), core_name()))
        return "it would use kernels for older processors; set OPENBLAS_CORETYPE";
    return blas_check(&blas) ? NULL : "its results are wrong on this processor";
}

bool cpu_blas_load(int n_threads, char *description, size_t size, Error *err) {
    static const char *path, *reason; // reason: that there is no library, or why it is not used
    const char *asked = getenv("POLAR_BLAS");
    if (asked && !*asked) asked = NULL;
    bool none = asked && !strcmp(asked, "none"), room = has_address_space();
    if (library == NULL && !none && room) {
        bool user_chose_core = getenv("OPENBLAS_CORETYPE") != NULL;
        set_core_type();
        if (asked && (library = dlopen(path = asked, RTLD_NOW | RTLD_LOCAL)) == NULL)
            return error_set(err, "POLAR_BLAS: %s; give the path of a CBLAS library, or none", dlerror());
        for (size_t i = 0; !asked && library == NULL && i < sizeof candidates / sizeof *candidates; i++)
            library = dlopen(path = candidates[i], RTLD_NOW | RTLD_LOCAL);
        if (library) find_functions();
        reason = library ? unfit(user_chose_core) : "no OpenBLAS found; apt-get install libopenblas0-openmp";
        if (reason) blas = (Blas){0};
    }
    if (blas.sgemm == NULL) {
        snprintf(description, size, "built-in kernels (%s%s%s)", library ? path : "", library ? ": " : "",
                 none    ? "POLAR_BLAS"
                 : !room ? "address space too small for OpenBLAS's buffers"
                         : reason);
        return true;
    }
    void (*set_threads)(int);
    char *(*config)(void);
    if (cpu_blas_find(&set_threads, "openblas_set_num_threads")) set_threads(n_threads);
    snprintf(description, size, "%s (%s)", cpu_blas_find(&config, "openblas_get_config") ? config() : "BLAS", path);
    return true;
}

// Returns true if CBLAS can be used: no empty dimension, and all sizes fit int.
static bool cblas_supports(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc) {
    return m > 0 && n > 0 && k > 0 && (m | n | k | lda | ldb | ldc) <= INT32_MAX;
}

// The built-in kernel is faster (docs/results.md, "Speed on the CPU") if two of the three sizes are small, so that one
// matrix stays in cache as a whole, and there are enough rows to amortize packing B.
enum { BUILTIN_MIN_ROWS = 128, BUILTIN_MAX_MATRIX = 1 << 17 };

static bool builtin_is_faster(Type type, int64_t m, int64_t n, int64_t k) {
    int64_t largest = m > n ? m : n;
    if (k > largest) largest = k;
    return type == TYPE_F32 && cpu_isa() == ISA_AVX512 && m >= BUILTIN_MIN_ROWS &&
           (double)m * (double)n * (double)k <= (double)BUILTIN_MAX_MATRIX * (double)largest;
}

// Sets every row of C (m, n) to bias, to which the GEMM is then added.
static void broadcast_bias(void *c, const void *bias, int64_t m, int64_t n, int64_t ldc, size_t element) {
#pragma omp parallel for schedule(static) if (m * n > CPU_PARALLEL_MIN && !omp_in_parallel())
    for (int64_t i = 0; i < m; i++) memcpy((char *)c + (size_t)(i * ldc) * element, bias, (size_t)n * element);
}

void cpu_gemm(Type type, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
              int64_t lda, const void *b, int64_t ldb, double beta, void *c, int64_t ldc, const void *bias) {
    ASSERT(bias == NULL || beta == 0);
    if (blas.sgemm == NULL || !cblas_supports(m, n, k, lda, ldb, ldc) || builtin_is_faster(type, m, n, k)) {
        if (type == TYPE_F32)
            cpu_gemm_builtin_f32(ta, tb, m, n, k, (float)alpha, a, lda, b, ldb, (float)beta, c, ldc, bias);
        else cpu_gemm_builtin_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, bias);
        return;
    }
    if (bias) broadcast_bias(c, bias, m, n, ldc, type_size(type)), beta = 1;
    int transpose_a = ta ? 112 : 111, transpose_b = tb ? 112 : 111;
    if (type == TYPE_F32)
        blas.sgemm(101, transpose_a, transpose_b, (int)m, (int)n, (int)k, (float)alpha, a, (int)lda, b, (int)ldb,
                   (float)beta, c, (int)ldc);
    else
        blas.dgemm(101, transpose_a, transpose_b, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
                   (int)ldc);
}

bool cpu_syrk_lower(Type type, bool ta, int64_t n, int64_t k, double alpha, const void *a, int64_t lda, double beta,
                    void *c, int64_t ldc) {
    if (blas.ssyrk == NULL || !cblas_supports(n, n, k, lda, lda, ldc)) return false;
    int transpose = ta ? 112 : 111;
    if (type == TYPE_F32)
        blas.ssyrk(101, 122, transpose, (int)n, (int)k, (float)alpha, a, (int)lda, (float)beta, c, (int)ldc);
    else blas.dsyrk(101, 122, transpose, (int)n, (int)k, alpha, a, (int)lda, beta, c, (int)ldc);
    return true;
}
