// model/cpu/math.h - exp, tanh, erfc, the normal CDF, sigmoid and the soft-cap in type `real`, written so that the
// compiler vectorizes them.
#ifndef POLAR_MODEL_CPU_MATH_H
#define POLAR_MODEL_CPU_MATH_H

#include "device/cpu/cpu.h"

#include <math.h>
#include <string.h>

#if defined(REAL_F64)
static inline double real_exp(double x) {
    return exp(x);
}

static inline double real_tanh(double x) {
    return tanh(x);
}

static inline double real_erfc_positive(double z) {
    return erfc(z);
}
#else
// exp(x) = 2^n e^r, |r| <= ln 2 / 2: Cody and Waite's reduction with ln 2 in two parts, then the Taylor series to r^7
// (remainder 2e-9 relative). Error under 2 ulp. 0 below -87.3, e^88 above 88, NaN for NaN.
static inline float real_exp(float x) {
    float c = x > 88.0f ? 88.0f : x;
    float shifted = c * 1.44269504f + 12582912.0f; // 1.5 * 2^23: the integer part lands in the low bits
    float n = shifted - 12582912.0f;
    float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127u) << 23; // 2^n: the shift drops the bits of the constant 12582912
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x < -87.3f ? 0.0f : p * scale;
}

// tanh(x): x times a polynomial in x^2 (Chebyshev fit, remainder 7e-9) for |x| < 0.65, otherwise 1 - 2 / (1 + e^2|x|).
static inline float real_tanh(float x) {
    float a = fabsf(x), w = x * x;
    float p = -0.0054736049f;
    p = p * w + 0.020420853f;
    p = p * w - 0.053667384f;
    p = p * w + 0.13330447f;
    p = p * w - 0.33333231f;
    p = p * w + 1.0f;
    float far = 1.0f - 2.0f / (1.0f + real_exp(2.0f * a));
    return a < 0.65f ? x * p : copysignf(far, x);
}

// erfc(z) for z >= 0 as t exp(-z^2 + P(t)), t = 1 / (1 + z/2), P a Chebyshev fit for z <= 10.5 (remainder 8e-9).
static inline float real_erfc_positive(float z) {
    float t = 1.0f / (1.0f + 0.5f * z);
    float p = -0.14061733f;
    p = p * t + 0.96437170f;
    p = p * t - 2.7685002f;
    p = p * t + 4.2107682f;
    p = p * t - 3.5291706f;
    p = p * t + 1.6555893f;
    p = p * t - 0.70812920f;
    p = p * t + 0.22495894f;
    p = p * t + 0.35462746f;
    p = p * t + 1.0016735f;
    p = p * t - 1.2655717f;
    return t * real_exp(p - z * z);
}
#endif

// Standard normal CDF, without cancellation for negative x.
static inline real real_normal_cdf(real x) {
    real tail = (real)0.5 * real_erfc_positive((x < 0 ? -x : x) * (real)0.70710678118654752440);
    return x < 0 ? tail : 1 - tail;
}

static inline real real_sigmoid(real x) {
    return 1 / (1 + real_exp(-x));
}

// Soft-capped logit z = cap tanh(x / cap), or cap x / sqrt(x^2 + cap^2).
static inline real softcapped(real x, bool root, real cap) {
    return root ? cap * x / (real)sqrt(x * x + cap * cap) : cap * real_tanh(x / cap);
}

// dz/dx as a function of z: 1 - (z/cap)^2, or (1 - (z/cap)^2)^(3/2).
static inline real softcap_derivative(real z, bool root, real cap) {
    real ratio = z / cap, derivative = 1 - ratio * ratio;
    if (derivative < 0) derivative = 0; // rounding can make it negative
    return root ? derivative * (real)sqrt(derivative) : derivative;
}

#endif
