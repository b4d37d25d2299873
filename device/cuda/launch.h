// device/cuda/launch.h - what every file of kernels includes: the CUDA types, and the macros through which kernels are
// launched and have shared memory. A program that emulates a GPU on the CPU (tests/emulator) defines the three macros
// itself, in its own cuda_runtime.h.
#ifndef POLAR_DEVICE_CUDA_LAUNCH_H
#define POLAR_DEVICE_CUDA_LAUNCH_H

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#ifndef CUDA_LAUNCH
// Starts kernel(...) on `grid` blocks of `block` threads with `bytes` of dynamic shared memory. A kernel that is a template
// with several arguments stands in parentheses: CUDA_LAUNCH((norm_kernel<T, 4>), ...).
#define CUDA_LAUNCH(kernel, grid, block, bytes, stream, ...) kernel<<<grid, block, bytes, stream>>>(__VA_ARGS__)

// type *name: the dynamic shared memory of the block, 16-byte aligned. Once in a kernel.
#define CUDA_SHARED(type, name)                                                                                    \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];                                         \
    type *const name = reinterpret_cast<type *>(dynamic_shared_memory)

// type name[count]: shared memory whose size the compiler knows. The only way to have any: no bare __shared__.
#define CUDA_SHARED_ARRAY(type, name, count) __shared__ type name[count]
#endif

#endif
