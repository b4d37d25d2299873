// run/problems/ops.h - the operations of the matrix problems that are not products, one table per device and type.
#ifndef POLAR_RUN_PROBLEMS_OPS_H
#define POLAR_RUN_PROBLEMS_OPS_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    // Logistic loss of scores z with labels c = +-1, all (rows, cols): losses (rows) = the rows' sums of log(1 + e^(-c z)),
    // and z becomes the derivative -c / (1 + e^(c z)).
    void (*logistic)(Stream *s, double *losses, void *z, const void *labels, int64_t rows, int64_t cols);

    // x (n) *= mask (n).
    void (*multiply)(Stream *s, void *x, const void *mask, int64_t n);

    // Row i of out (rows, cols) = row index[i] of in (.., cols).
    void (*gather)(Stream *s, void *out, const void *in, const int32_t *index, int64_t rows, int64_t cols);
} ProblemOps;

// NULL where the device has none for the type.
const ProblemOps *problem_ops(const Device *device, Type type);

#ifdef __cplusplus
}
#endif
#endif
