// device/cpu/syrk.h - products that are symmetric. For device/ only.
#ifndef POLAR_DEVICE_CPU_SYRK_H
#define POLAR_DEVICE_CPU_SYRK_H

#include "device/gemm.h"

// One product of g's batch where g->symmetric: c = alpha op(a) op(b) + beta add (NULL: c). The tiles of one triangle are
// computed, each by one thread, and mirrored, so that c is exactly symmetric.
void cpu_gemm_symmetric(const Gemm *g, const void *a, const void *b, void *c, const void *add);
#endif
