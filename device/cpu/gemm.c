#include "device/cpu/gemm.h"

#include "device/cpu/isa.h"

#if defined(__x86_64__)
#define INSTANCES(name)                                                                                            \
    { name##_base, name##_avx2, name##_avx512 }
#else
#define INSTANCES(name)                                                                                            \
    { name##_base, name##_base, name##_base }
#endif

void cpu_gemm_builtin_f32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                          int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc,
                          const float *bias) {
    static GemmBuiltinF32 *const instances[ISA_COUNT] = INSTANCES(gemm_builtin_f32);
    instances[cpu_isa()](ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, bias);
}

void cpu_gemm_builtin_f64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                          int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc,
                          const double *bias) {
    static GemmBuiltinF64 *const instances[ISA_COUNT] = INSTANCES(gemm_builtin_f64);
    instances[cpu_isa()](ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, bias);
}
