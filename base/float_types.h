// base/float_types.h - numbers of the floating-point types that files hold, to and from double.
#ifndef POLAR_BASE_FLOAT_TYPES_H
#define POLAR_BASE_FLOAT_TYPES_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// Whether the two functions below know a type: F32, F64, BF16, F16.
bool float_type_is(Type type);

// n numbers of a type, at any address, as doubles. Exact.
void float_type_read(double *out, Type type, const void *in, int64_t n);

// The other way, rounded to nearest, ties to even; what is too large becomes infinite. F32, F64 or BF16, and the doubles
// must be values of F32 for BF16: rounding twice could differ.
void float_type_write(void *out, Type type, const double *in, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
