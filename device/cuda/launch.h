// device/cuda/launch.h - the CUDA headers, and macros for kernel launches and shared memory. Included by every file of
// kernels. The CPU emulator of CUDA (tests/emulator) defines the three macros itself, in its own cuda_runtime.h.
#ifndef POLAR_DEVICE_CUDA_LAUNCH_H
#define POLAR_DEVICE_CUDA_LAUNCH_H

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#ifndef CUDA_LAUNCH
// Launches kernel(...) on `grid` blocks of `block` threads with `bytes` of dynamic shared memory. A template kernel
// with several arguments must be in parentheses: CUDA_LAUNCH((norm_kernel<T, 4>), ...).
#define CUDA_LAUNCH(kernel, grid, block, bytes, stream, ...) kernel<<<grid, block, bytes, stream>>>(__VA_ARGS__)

// Declares type *name, the dynamic shared memory of the block, 16-byte aligned. At most once per kernel.
#define CUDA_SHARED(type, name)                                                                                    \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];                                         \
    type *const name = reinterpret_cast<type *>(dynamic_shared_memory)

// Declares type name[count] in static shared memory. Use it instead of a bare __shared__, for the emulator.
#define CUDA_SHARED_ARRAY(type, name, count) __shared__ type name[count]
#endif

#endif
