// device/cpu/blas.h - products of dense matrices, by OpenBLAS or by our own kernel.
#ifndef POLAR_DEVICE_CPU_BLAS_H
#define POLAR_DEVICE_CPU_BLAS_H

#include "base/error.h"
#include "base/type.h"
#include "device/cpu/isa.h"

// Row-major C (m, n) = alpha op(A) op(B) + beta C within the calling thread where it is called in a parallel
// region, over all threads elsewhere; the matrices are F32 or F64. bias (n), where it is not NULL and beta is 0, is added
// to every row. By OpenBLAS or by our own blocked kernel, which is a matter of the shape (device/cpu/blas.c), or of there being no OpenBLAS.
void cpu_gemm(Type type, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
              int64_t lda, const void *b, int64_t ldb, double beta, void *c, int64_t ldc, const void *bias);

// The lower triangle of C (n, n) = alpha op(A) op(A)^T + beta C, op(A) (n, k); the rest of C is left alone. False, and
// nothing done, where the library has no such product.
bool cpu_syrk_lower(Type type, bool ta, int64_t n, int64_t k, double alpha, const void *a, int64_t lda, double beta,
                    void *c, int64_t ldc);

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
#endif
