// run/training/gemm_peak.h - the rate of large GEMMs on a device.
#ifndef POLAR_RUN_TRAINING_GEMM_PEAK_H
#define POLAR_RUN_TRAINING_GEMM_PEAK_H

#include "device/device.h"

// Measures the FLOP/s of a large GEMM of square matrices of `type`: doubles the size until one GEMM takes long
// enough for the clock, and takes the best of a few. Takes some tens of milliseconds. Returns 0 if out of memory.
double peak_product_rate(Device *device, Type type);
#endif
