// device/cpu/cpu.h - what CPU operations share: the element type of an instance, the instruction set and local
// products.
//
// A file of CPU operations is compiled once per element type (REAL_F32 or REAL_F64) and instruction set (the
// Makefile gives ISA and ISA_LEVEL); its table is exported under OP_TABLE(name), and the pick is made at run time
// with cpu_isa().
#ifndef POLAR_DEVICE_CPU_CPU_H
#define POLAR_DEVICE_CPU_CPU_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(REAL_F64)
typedef double real;
#define REAL_TYPE TYPE_F64
#define REAL_NAME f64
#elif defined(REAL_F32)
typedef float real;
#define REAL_TYPE TYPE_F32
#define REAL_NAME f32
#endif

// OP_TABLE(layer_ops) in an instance for float and AVX2 is layer_ops_f32_avx2.
#define OP_PASTE_(a, b, c) a##_##b##_##c
#define OP_PASTE(a, b, c) OP_PASTE_(a, b, c)
#define OP_TABLE(name) OP_PASTE(name, REAL_NAME, ISA)

// Instruction sets that the CPU files are compiled for: the x86-64 baseline (and all of any other machine), v3, v4.
typedef enum { ISA_BASE, ISA_AVX2, ISA_AVX512, ISA_COUNT } Isa;

// CPU_DECLARE_TABLES(LayerOps, layer_ops) declares the tables of all instances, which CPU_TABLES(layer_ops) lists:
//   static const LayerOps *const tables[TYPE_COUNT][ISA_COUNT] = CPU_TABLES(layer_ops);
#if defined(__x86_64__)
#define CPU_DECLARE_TABLES(Table, name)                                                                            \
    extern const Table name##_f32_base, name##_f64_base, name##_f32_avx2, name##_f64_avx2, name##_f32_avx512,      \
        name##_f64_avx512
#define CPU_TABLES(name)                                                                                           \
    {                                                                                                              \
        [TYPE_F32] = {&name##_f32_base, &name##_f32_avx2, &name##_f32_avx512}, [TYPE_F64] = {                      \
            &name##_f64_base,                                                                                      \
            &name##_f64_avx2,                                                                                      \
            &name##_f64_avx512                                                                                     \
        }                                                                                                          \
    }
#else
#define CPU_DECLARE_TABLES(Table, name) extern const Table name##_f32_base, name##_f64_base
#define CPU_TABLES(name)                                                                                           \
    {                                                                                                              \
        [TYPE_F32] = {&name##_f32_base}, [TYPE_F64] = { &name##_f64_base }                                         \
    }
#endif

// The best one this processor and operating system support. The environment variable POLAR_ISA (base, avx2, avx512)
// lowers it, never raises it: for tests and for comparing.
Isa cpu_isa(void);
const char *isa_name(Isa isa);

// To be called first in main: makes idle threads sleep after a short spin, which libgomp only reads from the
// environment before main. So the program starts itself again, once; a user's own GOMP_SPINCOUNT or OMP_WAIT_POLICY
// is left as it is.
void cpu_threads_settle(char *const *argv);

// Work below this many elements is not worth waking the threads for.
enum { CPU_PARALLEL_MIN = 16384 };

// Row-major C (m, n) = alpha op(A) op(B) + beta C within the calling thread where it is called in a parallel
// region, over all threads elsewhere; the matrices are F32 or F64. bias (n), where it is not NULL and beta is 0, is added
// to every row. By OpenBLAS or by our own blocked kernel, which is a matter of the shape (device/cpu/blas.c), or of there being no OpenBLAS.
void cpu_gemm(Type type, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
              int64_t lda, const void *b, int64_t ldb, double beta, void *c, int64_t ldc, const void *bias);

// The lower triangle of C (n, n) = alpha op(A) op(A)^T + beta C, op(A) (n, k); the rest of C is left alone. False, and
// nothing done, where the library has no such product.
bool cpu_syrk_lower(Type type, bool ta, int64_t n, int64_t k, double alpha, const void *a, int64_t lda, double beta,
                    void *c, int64_t ldc);

// One product of g's batch where g->symmetric: c = alpha op(a) op(b) + beta add (NULL: c). The tiles of one triangle are
// computed, each by one thread, and mirrored, so that c is exactly symmetric.
void cpu_gemm_symmetric(const Gemm *g, const void *a, const void *b, void *c, const void *add);

// The blocked kernel itself. bias (n), where it is not NULL, is added to every row after beta C. The bits of its results do not
// depend on the number of threads.
void cpu_gemm_own_f32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                      const float *b, int64_t ldb, float beta, float *c, int64_t ldc, const float *bias);
void cpu_gemm_own_f64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                      const double *b, int64_t ldb, double beta, double *c, int64_t ldc, const double *bias);

// The value of OPENBLAS_CORETYPE for a processor with this instruction set and, where `bf16`, AVX512-BF16; NULL where
// OpenBLAS chooses well by itself. OpenBLAS knows processors by model number and takes old kernels for models newer than
// itself: 0.3.21 has Prescott (SSE3) kernels for an Emerald Rapids Xeon, 29 GFLOP/s on two cores where SkylakeX reaches 130
// to 260. So the instruction set decides.
const char *cpu_blas_core_type(Isa isa, bool bf16, bool amd);

// Finds OpenBLAS (POLAR_BLAS=none: never; POLAR_BLAS=/path/lib.so: that one) and sets its threads. Describes what
// was found in `description`. Called by device_open. Errors: a library asked for that cannot be loaded.
bool cpu_blas_load(int n_threads, char *description, size_t size, Error *err);

// A function of the library that cpu_blas_load found (dlsym); false where there is none.
bool cpu_blas_find(void *function, const char *symbol);

// The solves of device/device.h by LAPACK, which OpenBLAS brings. cpu_lapack_load finds its functions after
// cpu_blas_load.
void cpu_lapack_load(void);
bool cpu_can_solve(void);
void cpu_solver_free(void *solver);
void cpu_orthonormalize(Stream *stream, void *a, Type type, int64_t m, int64_t n);
void cpu_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);
void cpu_invert_upper(Stream *stream, void *r, Type type, int64_t n);
void cpu_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
