// device/cpu/backend.h - opens the CPU as a Device; for device.c only.
#ifndef POLAR_DEVICE_CPU_BACKEND_H
#define POLAR_DEVICE_CPU_BACKEND_H

#include "device/device.h"

// As device_memory_available.
int64_t cpu_memory_available(const Device *device);

bool cpu_device_open(Device **device, int n_threads, Error *err);

#endif
