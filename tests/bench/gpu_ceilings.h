// tests/bench/gpu_ceilings.h - what the parts of gpu_ceilings share: a device, random data on it, times.
#ifndef POLAR_TESTS_GPU_CEILINGS_H
#define POLAR_TESTS_GPU_CEILINGS_H

#include "device/device.h"

enum { MAX_REPEATS = 20 };

typedef struct {
    Device *device;
    Stream *stream;
    double bandwidth;     // bytes read and written a second by a large copy
    double product_flops; // of a large product in bf16
    int repeats;          // of each measurement, at most MAX_REPEATS
} Gpu;

// Zeroed device memory, and such filled with normal numbers times `scale` (F32 or BF16). They exit where there is
// not enough.
void *gpu_need(const Gpu *gpu, size_t bytes);
void *gpu_filled(const Gpu *gpu, Type type, int64_t n, double scale);

// Median milliseconds of `run`, after as many runs to warm up as there are repeats, up to three.
double gpu_median_ms(const Gpu *gpu, void (*run)(const Gpu *gpu, void *context), void *context);

// Prints a line for every operation of a training step of GPT-2 124M but the products: its time, and the rate and
// share of the ceiling that its bytes or its FLOPs come to. B sequences of T positions at once, d_model C, V
// classes.
void gpu_measure_operations(const Gpu *gpu, int B, int T, int C, int V);

// Prints a line for each size of symmetric product, computed whole by cuBLASLt and by our own kernel; lengths are
// divided by `less`. Without CUDA nothing.
void gpu_measure_symmetric(const Gpu *gpu, int less);

#endif
