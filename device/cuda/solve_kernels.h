// device/cuda/solve_kernels.h - helper kernels of the solvers, on dense row-major matrices in F32 or F64. Private to
// device/. `flag` is an int in device memory; nonzero means that a solver has failed.
#ifndef POLAR_DEVICE_CUDA_SOLVE_KERNELS_H
#define POLAR_DEVICE_CUDA_SOLVE_KERNELS_H

#include "device/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

// Launches an empty kernel and returns its cudaError_t, to test whether the program has code for this GPU.
int cuda_probe_kernel(Stream *stream);

// to (n, m) = the transpose of from (m, n); the two do not overlap.
void cuda_matrix_transpose(Stream *stream, void *to, const void *from, Type type, int64_t m, int64_t n);

// If x has a non-finite element, sets *flag to 1 and all of x to 0, so that the solver gets finite input.
void cuda_matrix_check_finite(Stream *stream, void *x, int *flag, Type type, int64_t n);

// Sets all of x to NaN if *flag is nonzero.
void cuda_matrix_fill_nan(Stream *stream, void *x, const int *flag, Type type, int64_t n);

// Sets r (n, n) below its diagonal to zero.
void cuda_matrix_keep_upper(Stream *stream, void *r, Type type, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
