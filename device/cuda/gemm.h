// device/cuda/gemm.h - GEMM on a GPU. Private to device/.
#ifndef POLAR_DEVICE_CUDA_GEMM_H
#define POLAR_DEVICE_CUDA_GEMM_H

#include "base/error.h"
#include "device/cuda/state.h"

// Creates the cuBLASLt handle and an empty cache of algorithms. Errors: cuBLASLt fails to initialize.
bool cuda_gemm_open(CudaDevice *device, Error *err);
void cuda_gemm_close(CudaDevice *device);

// device_gemm on a GPU: F32, F64, or BF16 inputs with BF16 or F32 outputs.
void cuda_gemm(Stream *stream, const Gemm *g);
#endif
