// device/cpu/backend.h - opens the CPU as a Device; used by device.c only.
#ifndef POLAR_DEVICE_CPU_BACKEND_H
#define POLAR_DEVICE_CPU_BACKEND_H

#include "base/error.h"
#include "device/backend.h"

// Opens the CPU with n_threads OpenMP threads, 0 for all processors. Errors: n_threads out of range, out of memory,
// or the library named in POLAR_BLAS cannot be loaded.
bool cpu_device_open(Device **device, int n_threads, Error *err);
#endif
