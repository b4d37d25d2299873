// model/cuda/math.h - functions of one number that several kernels of the layers need.
#ifndef POLAR_MODEL_CUDA_MATH_H
#define POLAR_MODEL_CUDA_MATH_H

#include "device/cuda/launch.h"
#include "model/config.h"

#include <math.h>

static __device__ inline float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

// The soft-cap of logits; bound 0: none.
struct Cap {
    float bound;
    bool root;
};

static inline Cap cap_of(SoftcapKind kind, double bound) {
    return Cap{static_cast<float>(bound), kind == SOFTCAP_ROOT};
}

// z = cap tanh(x / cap), or cap x / sqrt(x^2 + cap^2).
static __device__ inline float capped(float x, Cap cap) {
    return cap.root ? cap.bound * x / sqrtf(x * x + cap.bound * cap.bound) : cap.bound * tanhf(x / cap.bound);
}

// dz/dx from z: 1 - (z/cap)^2, or its power 3/2.
static __device__ inline float cap_slope(float z, Cap cap) {
    float ratio = z / cap.bound, slope = 1 - ratio * ratio;
    if (slope < 0) slope = 0; // by rounding
    return cap.root ? slope * sqrtf(slope) : slope;
}

#endif
