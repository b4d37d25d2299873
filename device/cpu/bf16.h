// device/cpu/bf16.h - bf16 numbers on the CPU: the upper half of a float.
#ifndef POLAR_DEVICE_CPU_BF16_H
#define POLAR_DEVICE_CPU_BF16_H

#include <stdint.h>
#include <string.h>

// A struct, so that it cannot be taken for an integer.
typedef struct {
    uint16_t bits;
} Bf16;

static inline float bf16_to_float(Bf16 x) {
    uint32_t bits = (uint32_t)x.bits << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Rounds to nearest even; overflow becomes infinity, and NaN a quiet NaN.
static inline Bf16 bf16_from_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 64;
    return (Bf16){(uint16_t)(x != x ? quiet : rounded)};
}

#endif
