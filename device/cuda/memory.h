// device/cuda/memory.h - counted allocation of GPU memory, and the scratch buffers of streams.
#ifndef POLAR_DEVICE_CUDA_MEMORY_H
#define POLAR_DEVICE_CUDA_MEMORY_H

#include "device/backend.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// cudaMalloc and cudaFree with accounting. Returns NULL if out of memory.
void *cuda_malloc_counted(Device *device, size_t bytes);
void cuda_free_counted(Device *device, void *memory);
int64_t cuda_memory_available(const Device *device);
int64_t cuda_peak_memory(const Device *device);

// cuda_malloc_counted that exits with an error line if out of memory; `what` names the buffer in it.
void *cuda_alloc_or_exit(Stream *stream, size_t bytes, const char *what);

// Returns at least `bytes` of device memory, 256-byte aligned, for intermediate results of an operation: valid until
// the next call on the same stream, contents undefined. The buffer grows to the largest request; earlier buffers are
// kept until the stream is destroyed, as queued or captured work may still use them. It cannot grow during stream
// capture: run the step once before. If out of memory it exits, as CUDA_CHECK does.
void *cuda_scratch(Stream *stream, size_t bytes);

// Grows the scratch buffer to at least `bytes` now. Returns false if out of memory.
bool cuda_scratch_reserve(Stream *stream, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
