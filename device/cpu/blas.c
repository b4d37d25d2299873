#include "device/cpu/blas.h"

#include "device/cpu/gemm.h"
#include "device/cpu/threads.h"

#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// The part of CBLAS that is used. 101: CblasRowMajor, 111: CblasNoTrans, 112: CblasTrans, 122: CblasLower.
typedef void Sgemm(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *,
                   int);
typedef void Dgemm(int, int, int, int, int, int, double, const double *, int, const double *, int, double, double *,
                   int);
typedef void Ssyrk(int, int, int, int, int, float, const float *, int, float, float *, int);
typedef void Dsyrk(int, int, int, int, int, double, const double *, int, double, double *, int);
static Sgemm *sgemm;
static Dgemm *dgemm;
static Ssyrk *ssyrk; // NULL if either syrk is missing
static Dsyrk *dsyrk;
static void *library;

// Debian's names, in order of preference: the OpenMP build shares our thread pool, the pthreads build has its own.
static const char *const candidates[] = {"/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
                                         "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0",
                                         "libopenblaso.so.0", "libopenblas.so.0", "libopenblas.so"};

const char *cpu_blas_core_type(Isa isa, bool bf16, bool amd) {
    if (isa == ISA_AVX512) return bf16 ? "Cooperlake" : "SkylakeX";
    return isa == ISA_AVX2 && !amd ? "Haswell" : NULL;
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
    void *address = library ? dlsym(library, symbol) : NULL;
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

bool cpu_blas_load(int n_threads, char *description, size_t size, Error *err) {
    static const char *path;
    const char *asked = getenv("POLAR_BLAS");
    if (asked && !*asked) asked = NULL;
    bool none = asked && !strcmp(asked, "none"), room = has_address_space();
    if (library == NULL && !none && room) {
        set_core_type();
        if (asked && (library = dlopen(path = asked, RTLD_NOW | RTLD_LOCAL)) == NULL)
            return error_set(err, "POLAR_BLAS: %s; give the path of a CBLAS library, or none", dlerror());
        for (size_t i = 0; !asked && library == NULL && i < sizeof candidates / sizeof *candidates; i++)
            library = dlopen(path = candidates[i], RTLD_NOW | RTLD_LOCAL);
        if (library && (!cpu_blas_find(&sgemm, "cblas_sgemm") || !cpu_blas_find(&dgemm, "cblas_dgemm")))
            sgemm = NULL, dgemm = NULL;
        if (!sgemm || !cpu_blas_find(&ssyrk, "cblas_ssyrk") || !cpu_blas_find(&dsyrk, "cblas_dsyrk")) ssyrk = NULL;
    }
    if (sgemm == NULL) {
        snprintf(description, size, "built-in kernels (%s)",
                 none    ? "POLAR_BLAS"
                 : !room ? "address space too small for OpenBLAS's buffers"
                         : "no OpenBLAS found; apt-get install libopenblas0-openmp");
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
    if (sgemm == NULL || !cblas_supports(m, n, k, lda, ldb, ldc) || builtin_is_faster(type, m, n, k)) {
        if (type == TYPE_F32)
            cpu_gemm_builtin_f32(ta, tb, m, n, k, (float)alpha, a, lda, b, ldb, (float)beta, c, ldc, bias);
        else cpu_gemm_builtin_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, bias);
        return;
    }
    if (bias) broadcast_bias(c, bias, m, n, ldc, type_size(type)), beta = 1;
    int transpose_a = ta ? 112 : 111, transpose_b = tb ? 112 : 111;
    if (type == TYPE_F32)
        sgemm(101, transpose_a, transpose_b, (int)m, (int)n, (int)k, (float)alpha, a, (int)lda, b, (int)ldb,
              (float)beta, c, (int)ldc);
    else
        dgemm(101, transpose_a, transpose_b, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
              (int)ldc);
}

bool cpu_syrk_lower(Type type, bool ta, int64_t n, int64_t k, double alpha, const void *a, int64_t lda, double beta,
                    void *c, int64_t ldc) {
    if (ssyrk == NULL || !cblas_supports(n, n, k, lda, lda, ldc)) return false;
    int transpose = ta ? 112 : 111;
    if (type == TYPE_F32)
        ssyrk(101, 122, transpose, (int)n, (int)k, (float)alpha, a, (int)lda, (float)beta, c, (int)ldc);
    else dsyrk(101, 122, transpose, (int)n, (int)k, alpha, a, (int)lda, beta, c, (int)ldc);
    return true;
}
