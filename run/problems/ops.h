// run/problems/ops.h - the operations of the matrix problems other than GEMM: arguments and definitions.
// run/problems/ops.def lists them; there is one table per device and type.
#ifndef POLAR_RUN_PROBLEMS_OPS_H
#define POLAR_RUN_PROBLEMS_OPS_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// Logistic loss of scores z with labels c = +-1, both (rows, cols): losses (rows) = row sums of log(1 + e^(-c z)); z is
// overwritten by the derivative -c / (1 + e^(c z)).
typedef struct {
    double *losses;
    void *z;
    const void *labels;
    int64_t rows, cols;
} LogisticLoss;

// x (n) *= mask (n).
typedef struct {
    void *x;
    const void *mask;
    int64_t n;
} Multiply;

// Row i of out (rows, cols) = row index[i] of in (.., cols).
typedef struct {
    void *out;
    const void *in;
    const int32_t *index;
    int64_t rows, cols;
} Gather;

typedef struct {
#define OP(name, Arguments) void (*name)(Stream *, const Arguments *);
#include "run/problems/ops.def"
} ProblemOps;

// Returns NULL if the device does not support the type.
const ProblemOps *problem_ops(const Device *device, Type type);

#ifdef __cplusplus
}
#endif
#endif
