#include "base/type.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[TYPE_COUNT] = {
    [TYPE_F32] = {"F32", 4}, [TYPE_F64] = {"F64", 8}, [TYPE_BF16] = {"BF16", 2}, [TYPE_I32] = {"I32", 4},
    [TYPE_F16] = {"F16", 2}, [TYPE_I64] = {"I64", 8}, [TYPE_U8] = {"U8", 1},     [TYPE_BOOL] = {"BOOL", 1}};

size_t type_size(Type type) {
    return types[type].size;
}
const char *type_name(Type type) {
    return types[type].name;
}
Type type_accumulate(Type type) {
    return type == TYPE_F64 ? TYPE_F64 : TYPE_F32;
}

bool float_type_is(Type type) {
    return type == TYPE_F32 || type == TYPE_F64 || type == TYPE_BF16 || type == TYPE_F16;
}

// IEEE 754 binary16: sign, 5 bits of exponent, 10 of fraction.
static double from_f16(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent == 31  ? fraction ? NAN : INFINITY
                       : exponent == 0 ? ldexp(fraction, -24)
                                       : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}

// bf16 is the upper half of a binary32.
static double from_bf16(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return (double)value;
}

static uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value)) return (uint16_t)(bits >> 16 | 64); // quiet NaN: the upper half alone stays a NaN
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

void float_type_read(double *out, Type type, const void *in, int64_t n) {
    ASSERT(float_type_is(type));
    size_t size = type_size(type);
    for (int64_t i = 0; i < n; i++) {
        const char *from = (const char *)in + (size_t)i * size;
        uint16_t bits;
        float single;
        if (type == TYPE_F64) {
            memcpy(&out[i], from, sizeof *out);
        } else if (type == TYPE_F32) {
            memcpy(&single, from, sizeof single);
            out[i] = (double)single;
        } else {
            memcpy(&bits, from, sizeof bits);
            out[i] = type == TYPE_BF16 ? from_bf16(bits) : from_f16(bits);
        }
    }
}

void float_type_write(void *out, Type type, const double *in, int64_t n) {
    ASSERT(type == TYPE_F32 || type == TYPE_F64 || type == TYPE_BF16);
    size_t size = type_size(type);
    for (int64_t i = 0; i < n; i++) {
        float single = (float)in[i];
        uint16_t bits = to_bf16(single);
        memcpy((char *)out + (size_t)i * size,
               type == TYPE_F64   ? (const void *)&in[i]
               : type == TYPE_F32 ? (const void *)&single
                                  : (const void *)&bits,
               size);
    }
}
