// cuda_runtime.h - found before the toolkit's file of this name where kernels are compiled as C++ for the CPU: the toolkit's
// types and declarations, then what nvcc would know by itself.
#ifndef POLAR_CUDA_ON_CPU_CUDA_RUNTIME_H
#define POLAR_CUDA_ON_CPU_CUDA_RUNTIME_H

#include_next <cuda_runtime.h>

#ifdef __cplusplus
#include "cuda_on_cpu_launch.h" // defines: CUDA_LAUNCH, CUDA_SHARED, CUDA_SHARED_ARRAY, threadIdx, cudaFuncSetAttribute<>
#include "cuda_on_cpu_warp.h"   // defines: __syncthreads, __shfl_sync, __ballot_sync, __reduce_add_sync
#include "cuda_on_cpu_math.h"   // defines: __expf, rsqrtf, __float_as_uint, __ldg, atomicAdd
#endif

#endif
