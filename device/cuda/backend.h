// device/cuda/backend.h - opens a GPU as a Device; for device.c only.
#ifndef POLAR_DEVICE_CUDA_BACKEND_H
#define POLAR_DEVICE_CUDA_BACKEND_H

#include "base/error.h"
#include "device/backend.h"

// Opens "cuda" (the first usable GPU) or "cuda:N". Errors, each with what to do: no driver or one that is too old, no GPU
// or no such number, a GPU older than compute capability 8.0, one that another process holds for itself, no cuBLAS.
bool cuda_device_open(Device **device, const char *name, Error *err);
#endif
