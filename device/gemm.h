// device/gemm.h - the parameters of a GEMM.
#ifndef POLAR_DEVICE_GEMM_H
#define POLAR_DEVICE_GEMM_H

#include "base/type.h"

// Strided batched GEMM, row-major: C (m, n) = alpha op(A) op(B) + beta C_in, with op(A) (m, k) and op(B) (k, n). lda,
// ldb, ldc are the leading dimensions (row strides) of the stored matrices and stride_a, _b, _c the batch strides, in
// elements. C_in is `c_in`, which has the strides of C and must not overlap it, or C itself if that is NULL. With
// beta = 0 C_in is not read (NaN in it is harmless). If bias (n) is not NULL, bias[j] is added to column j (the
// epilogue of a linear layer), and beta must be 0. `symmetric` asserts that alpha op(A) op(B) is symmetric up to
// rounding, and so is C_in: a backend may compute one triangle and mirror it. A and B have type `type`; C, C_in and
// bias have `c_type`: the same, or F32 if that is BF16.
typedef struct {
    Type type, c_type;
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    double alpha, beta;
    const void *a;
    int64_t lda, stride_a;
    const void *b;
    int64_t ldb, stride_b;
    void *c;
    int64_t ldc, stride_c;
    int64_t batch; // 0 means 1
    const void *c_in, *bias;
    bool symmetric;
} Gemm;

#endif
