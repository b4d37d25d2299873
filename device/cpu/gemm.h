// device/cpu/gemm.h - the built-in blocked GEMM and its instances. Private to device/.
#ifndef POLAR_DEVICE_CPU_GEMM_H
#define POLAR_DEVICE_CPU_GEMM_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void GemmBuiltinF32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                            int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc,
                            const float *bias);
typedef void GemmBuiltinF64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                            int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc,
                            const double *bias);

GemmBuiltinF32 gemm_builtin_f32_base, gemm_builtin_f32_avx2, gemm_builtin_f32_avx512;
GemmBuiltinF64 gemm_builtin_f64_base, gemm_builtin_f64_avx2, gemm_builtin_f64_avx512;

// The instance for cpu_isa(). C (m, n) = alpha op(A) op(B) + beta C + bias, where bias (n) may be NULL. The result
// does not depend on the number of threads, bit for bit.
void cpu_gemm_builtin_f32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                          int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc,
                          const float *bias);
void cpu_gemm_builtin_f64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                          int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc,
                          const double *bias);

#ifdef __cplusplus
}
#endif
#endif
