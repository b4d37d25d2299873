// device/cpu/peak.h - what the cores can do at best: the measure of a run's speed.
#ifndef POLAR_DEVICE_CPU_PEAK_H
#define POLAR_DEVICE_CPU_PEAK_H

#include "base/type.h"

#include <stdint.h>

typedef double MultiplyAdds(int64_t iterations, volatile double *result);
MultiplyAdds multiply_adds_f32_base, multiply_adds_f32_avx2, multiply_adds_f32_avx512;
MultiplyAdds multiply_adds_f64_base, multiply_adds_f64_avx2, multiply_adds_f64_avx512;

// Measures the FLOP/s of multiply-adds in registers with the widest vectors, on all threads together: an upper
// bound of any GEMM in `type` (f32 or f64). Takes about 30 ms.
double cpu_peak_flops(Type type);
#endif
