// cuda_runtime.h - found before the toolkit's file of this name where kernels are compiled as C++ for the CPU: the
// toolkit's types and declarations, then what nvcc would know by itself.
#ifndef POLAR_CUDA_EMULATOR_CUDA_RUNTIME_H
#define POLAR_CUDA_EMULATOR_CUDA_RUNTIME_H

#include_next <cuda_runtime.h>

#ifdef __cplusplus
#include "emulator_launch.h"
#include "emulator_warp.h"
#include "emulator_math.h"
#endif

#endif
