// device/cpu/syrk.h - symmetric GEMM. Private to device/.
#ifndef POLAR_DEVICE_CPU_SYRK_H
#define POLAR_DEVICE_CPU_SYRK_H

#include "device/gemm.h"

// One GEMM of the batch of g, which is symmetric: c = alpha op(a) op(b) + beta c_in (NULL: c). The tiles of the lower
// triangle are computed, each by one thread, and mirrored, so that c is exactly symmetric.
void cpu_gemm_symmetric(const Gemm *g, const void *a, const void *b, void *c, const void *c_in);
#endif
