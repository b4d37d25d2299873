// base/type.h - element types of tensors, in memory and in files, and their numbers to and from double.
#ifndef POLAR_BASE_TYPE_H
#define POLAR_BASE_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Element types. The first three can be the type of an instance of the network; those after I32 are found in files only.
typedef enum { TYPE_F32, TYPE_F64, TYPE_BF16, TYPE_I32, TYPE_F16, TYPE_I64, TYPE_U8, TYPE_BOOL, TYPE_COUNT } Type;

size_t type_size(Type type);      // bytes of an element
const char *type_name(Type type); // "F32", "F64", "BF16", ...: the names of safetensors
Type type_accumulate(Type type);  // master weights, gradients, statistics: F64 for F64, else F32

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
