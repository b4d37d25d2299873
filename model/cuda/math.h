// model/cuda/math.h - elementwise device functions shared by several kernels.
#ifndef POLAR_MODEL_CUDA_MATH_H
#define POLAR_MODEL_CUDA_MATH_H

#include "device/cuda/launch.h"
#include "model/config.h"

#include <math.h>

static __device__ inline float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

// Soft-cap of the logits at +-bound; bound 0: off. root: SOFTCAP_ROOT.
struct SoftcapParams {
    float bound;
    bool root;
};

static inline SoftcapParams softcap_params(SoftcapKind kind, double bound) {
    return SoftcapParams{static_cast<float>(bound), kind == SOFTCAP_ROOT};
}

// Soft-capped logit z = cap tanh(x / cap), or cap x / sqrt(x^2 + cap^2).
static __device__ inline float softcapped(float x, SoftcapParams cap) {
    return cap.root ? cap.bound * x / sqrtf(x * x + cap.bound * cap.bound) : cap.bound * tanhf(x / cap.bound);
}

// dz/dx as a function of z: 1 - (z/cap)^2, or (1 - (z/cap)^2)^(3/2).
static __device__ inline float softcap_derivative(float z, SoftcapParams cap) {
    float ratio = z / cap.bound, derivative = 1 - ratio * ratio;
    if (derivative < 0) derivative = 0; // rounding can make it negative
    return cap.root ? derivative * sqrtf(derivative) : derivative;
}

#endif
