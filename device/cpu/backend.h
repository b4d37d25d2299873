// device/cpu/backend.h - opens the CPU as a Device; used by device.c only.
#ifndef POLAR_DEVICE_CPU_BACKEND_H
#define POLAR_DEVICE_CPU_BACKEND_H

#include "base/error.h"
#include "device/backend.h"

bool cpu_device_open(Device **device, int n_threads, Error *err);
#endif
