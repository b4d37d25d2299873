// base/type.h - element types of tensors, in memory and in files, and their conversion to and from double.
#ifndef POLAR_BASE_TYPE_H
#define POLAR_BASE_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The first three can be the type of a model instance; those after I32 occur in files only.
typedef enum { TYPE_F32, TYPE_F64, TYPE_BF16, TYPE_I32, TYPE_F16, TYPE_I64, TYPE_U8, TYPE_BOOL, TYPE_COUNT } Type;

size_t type_size(Type type);      // bytes per element
const char *type_name(Type type); // "F32", "F64", "BF16", ...: the names used by safetensors
Type type_accumulate(Type type);  // type of master weights, gradients and statistics: F64 for F64, else F32

// Returns true for the floating-point types: F32, F64, BF16, F16.
bool float_type_is(Type type);

// Converts n numbers at any alignment to double, exactly.
void float_type_read(double *out, Type type, const void *in, int64_t n);

// Converts n doubles to F32, F64 or BF16, rounding to nearest even; overflow becomes infinity. For BF16 the doubles
// must be exact in F32, as rounding twice could give a different result.
void float_type_write(void *out, Type type, const double *in, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
