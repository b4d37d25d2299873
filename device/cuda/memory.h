// device/cuda/memory.h - the memory of a GPU, counted, and the scratch of its streams.
#ifndef POLAR_DEVICE_CUDA_MEMORY_H
#define POLAR_DEVICE_CUDA_MEMORY_H

#include "device/backend.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// cudaMalloc and cudaFree, counted. NULL where there is not enough.
void *cuda_malloc_counted(Device *device, size_t bytes);
void cuda_free_counted(Device *device, void *memory);
int64_t cuda_memory_available(const Device *device);
int64_t cuda_peak_memory(const Device *device);

// cuda_malloc_counted that exits with a line of its own where there is not enough.
void *cuda_alloc_or_exit(Stream *stream, size_t bytes, const char *what);

// At least `bytes` of device memory, 256-byte aligned, for what an operation keeps between its launches: valid until the
// next call on the same stream, contents undefined. It grows to the largest need and is not moved under work that is
// queued or captured: earlier buffers stay until the stream is destroyed. While the stream is captured it cannot grow:
// run the step once before. Exits as CUDA_CHECK does where there is not enough memory.
void *cuda_scratch(Stream *stream, size_t bytes);

// Makes the scratch at least so large now. False: out of memory.
bool cuda_scratch_reserve(Stream *stream, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
