// device/cuda/solve_kernels.h - the kernels around the solves (device/cuda/solve_kernels.cu), on dense matrices in F32 or F64. For device/ only.
// `flag` is an int in device memory: not 0 means that a solve has failed.
#ifndef POLAR_DEVICE_CUDA_SOLVE_KERNELS_H
#define POLAR_DEVICE_CUDA_SOLVE_KERNELS_H

#include "device/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

// Starts a kernel that does nothing. Returns its cudaError_t: whether the program has code for this GPU.
int cuda_probe_kernel(Stream *stream);

// to (n, m) = the transpose of from (m, n); the two do not overlap.
void cuda_matrix_transpose(Stream *stream, void *to, const void *from, Type type, int64_t m, int64_t n);

// Where x has a number that is not finite, sets *flag to 1 and all of x to 0: what comes next never sees the number.
void cuda_matrix_check_finite(Stream *stream, void *x, int *flag, Type type, int64_t n);

// Where *flag is not 0, x becomes NaN.
void cuda_matrix_fill_nan(Stream *stream, void *x, const int *flag, Type type, int64_t n);

// Zeros below the diagonal of r (n, n).
void cuda_matrix_keep_upper(Stream *stream, void *r, Type type, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
