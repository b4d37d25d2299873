// device/cuda/gemm.h - GEMM on a GPU. Private to device/.
#ifndef POLAR_DEVICE_CUDA_GEMM_H
#define POLAR_DEVICE_CUDA_GEMM_H

#include "base/error.h"
#include "device/cuda/state.h"

bool cuda_gemm_open(CudaDevice *device, Error *err);
void cuda_gemm_close(CudaDevice *device);
void cuda_gemm(Stream *stream, const Gemm *g);
#endif
