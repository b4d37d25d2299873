// device/cuda/backend.h - opens a GPU as a Device; used by device.c only.
#ifndef POLAR_DEVICE_CUDA_BACKEND_H
#define POLAR_DEVICE_CUDA_BACKEND_H

#include "base/error.h"
#include "device/backend.h"

// Opens "cuda" (the first usable GPU) or "cuda:N". Errors, each with advice: no driver or too old a driver, no GPU or
// no such index, compute capability below 8.0, GPU held by another process (exclusive mode), no cuBLAS.
bool cuda_device_open(Device **device, const char *name, Error *err);
#endif
