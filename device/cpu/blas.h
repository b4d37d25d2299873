// device/cpu/blas.h - dense GEMM by OpenBLAS or the built-in kernel.
#ifndef POLAR_DEVICE_CPU_BLAS_H
#define POLAR_DEVICE_CPU_BLAS_H

#include "base/error.h"
#include "base/type.h"
#include "device/cpu/isa.h"

// Row-major C (m, n) = alpha op(A) op(B) + beta C in F32 or F64. Runs in the calling thread if called in a parallel
// region, otherwise on all threads. If bias (n) is not NULL, beta must be 0 and it is added to every row. Uses
// OpenBLAS, or the built-in blocked kernel for shapes where that is faster (device/cpu/blas.c) and if there is no
// OpenBLAS.
void cpu_gemm(Type type, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
              int64_t lda, const void *b, int64_t ldb, double beta, void *c, int64_t ldc, const void *bias);

// Lower triangle of C (n, n) = alpha op(A) op(A)^T + beta C with op(A) (n, k); the rest of C is unchanged. Returns
// false and does nothing if the library has no syrk or a size is out of its range.
bool cpu_syrk_lower(Type type, bool ta, int64_t n, int64_t k, double alpha, const void *a, int64_t lda, double beta,
                    void *c, int64_t ldc);

// The value of OPENBLAS_CORETYPE for a processor with this instruction set and, if `bf16`, AVX512-BF16; NULL if it has
// no AVX2: OpenBLAS chooses. OpenBLAS detects processors by model number and falls back to old kernels for models
// newer than itself: 0.3.21 uses Prescott (SSE3) kernels on an Emerald Rapids Xeon, 29 GFLOP/s on two cores where
// SkylakeX reaches 130 to 260. So the instruction set decides here.
const char *cpu_blas_core_type(Isa isa, bool bf16, bool amd);

// Returns false for the kernels of processors without AVX2, by openblas_get_corename, where there is AVX2.
bool cpu_blas_core_suits(Isa isa, const char *core);

// Loads OpenBLAS (POLAR_BLAS=none: never; POLAR_BLAS=/path/lib.so: that library), sets its number of threads and
// describes it in `description`. A library with wrong results or kernels for old processors is not used, and the
// description says why. Called by device_open. Errors: the library named in POLAR_BLAS cannot be loaded.
bool cpu_blas_load(int n_threads, char *description, size_t size, Error *err);

// Looks up a symbol in the library that cpu_blas_load found (dlsym), also with the prefix scipy_
// of PyPI's scipy-openblas32, and stores it in the function pointer at `function`; returns false if there is none.
bool cpu_blas_find(void *function, const char *symbol);
#endif
