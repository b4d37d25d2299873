// model/cpu_math.h - exp in the instance's type, in a form that the compiler vectorizes.
#ifndef POLAR_MODEL_CPU_MATH_H
#define POLAR_MODEL_CPU_MATH_H

#include "device/cpu.h" // defines: real

#include <math.h>
#include <string.h>

#if defined(REAL_F64)
static inline double real_exp(double x) {
    return exp(x);
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
    bits = (bits + 127u) << 23; // 2^n: the shift drops the constant's own bits
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x < -87.3f ? 0.0f : p * scale;
}
#endif

#endif
