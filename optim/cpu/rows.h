// optim/cpu/rows.h - what the optimizers' operations on the CPU share. Work is cut by rows; what one row computes does not
// depend on the thread that does it. Sums of squares run in LANES double lanes of fixed order, whatever the width of the
// vectors.
#ifndef POLAR_OPTIM_CPU_ROWS_H
#define POLAR_OPTIM_CPU_ROWS_H

#include "optim/cpu/ops.h"

#include <math.h>

enum { LANES = 16 };

static inline double dot(const real *x, const real *y, int64_t n) {
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += (double)x[i + l] * (double)y[i + l];
    for (int l = 0; i < n; i++, l++) lanes[l] += (double)x[i] * (double)y[i];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
    return lanes[0];
}

static inline double sum_squares(const real *x, int64_t n) {
    return dot(x, x, n);
}

static inline double sum_in_order(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

// 0 of 0, NaN of NaN.
static inline real sign_of(real x) {
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

// Row r of all rows of a batch stands in matrix r / rows at row r % rows.
static inline int64_t row_offset(int64_t r, int64_t rows, int64_t cols, int64_t stride) {
    return r / rows * stride + r % rows * cols;
}

#endif
