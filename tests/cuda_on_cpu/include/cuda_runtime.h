// cuda_runtime.h - found before the toolkit's file of this name where kernels are compiled as C++ for the CPU: the toolkit's
// types and declarations, then what nvcc would know by itself.
#ifndef POLAR_CUDA_ON_CPU_CUDA_RUNTIME_H
#define POLAR_CUDA_ON_CPU_CUDA_RUNTIME_H

#include_next <cuda_runtime.h>

#ifdef __cplusplus
#include "cuda_on_cpu_launch.h"
#include "cuda_on_cpu_warp.h"
#include "cuda_on_cpu_math.h"
#endif

#endif
