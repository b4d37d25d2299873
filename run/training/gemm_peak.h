// run/training/gemm_peak.h - what a device can do at best: the measure of a run's speed.
#ifndef POLAR_RUN_TRAINING_GEMM_PEAK_H
#define POLAR_RUN_TRAINING_GEMM_PEAK_H

#include "device/device.h"

// FLOP/s of a large product of square matrices of `type`, measured: sizes are doubled until one product takes long
// enough for the clock, and the best of a few counts. Some tens of milliseconds. 0: no memory for it.
double peak_product_rate(Device *device, Type type);
#endif
