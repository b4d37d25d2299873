// device/gemm.h - what a matrix product is told.
#ifndef POLAR_DEVICE_GEMM_H
#define POLAR_DEVICE_GEMM_H

#include "base/type.h"

// C (m, n) = alpha op(A) op(B) + beta D, row-major, `batch` products at fixed strides. op(A) is (m, k), op(B) (k, n).
// lda, ldb, ldc are row strides of the stored matrices, in elements. D is C itself, or where `add` is not NULL that
// matrix, which has the row stride and batch stride of C and does not overlap it. With beta = 0 D is not read (NaN in
// it is harmless). If bias is not NULL (then beta must be 0), bias[j] (n) is added to column j after the product: the
// epilogue of a linear layer. `symmetric` says that alpha op(A) op(B) is symmetric but for rounding, and so is D: a
// backend may compute one triangle and mirror it. A, B have type `type`; C, D and bias have `c_type`; the CPU requires
// the two equal.
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
