// device/cuda/solve.h - the solvers of device/device.h by cuSOLVER. Private to device/.
#ifndef POLAR_DEVICE_CUDA_SOLVE_H
#define POLAR_DEVICE_CUDA_SOLVE_H

#include "device/cuda/state.h"

void cuda_solve_close(CudaDevice *device);
void cuda_qr_q(Stream *stream, void *a, Type type, int64_t m, int64_t n);
void cuda_cholesky_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);
void cuda_trtri(Stream *stream, void *r, Type type, int64_t n);
void cuda_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);
#endif
