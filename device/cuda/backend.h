// device/cuda/backend.h - opens a GPU as a Device, and what CUDA operations need beyond device.h.
#ifndef POLAR_DEVICE_CUDA_BACKEND_H
#define POLAR_DEVICE_CUDA_BACKEND_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// Opens "cuda" (the first usable GPU) or "cuda:N". Errors, each with what to do: no driver or one that is too old, no GPU
// or no such number, a GPU older than compute capability 8.0, one that another process holds for itself, no cuBLAS.
bool cuda_device_open(Device **device, const char *name, Error *err);

// At least `bytes` of device memory, 256-byte aligned, for what an operation keeps between its launches: valid until the
// next call on the same stream, contents undefined. It grows to the largest need and is not moved under work that is
// queued or captured: earlier buffers stay until the stream is destroyed. While the stream is captured it cannot grow:
// run the step once before. Exits as CUDA_CHECK does where there is not enough memory.
void *cuda_scratch(Stream *stream, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
