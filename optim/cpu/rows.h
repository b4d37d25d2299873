// optim/cpu/rows.h - helpers of the optimizer operations on the CPU. Work is divided by rows; the result of a row does
// not depend on the thread. Sums are accumulated in LANES double lanes in a fixed order, whatever the SIMD width.
#ifndef POLAR_OPTIM_CPU_ROWS_H
#define POLAR_OPTIM_CPU_ROWS_H

#include "optim/cpu/ops.h"

#include <math.h>

enum { LANES = 16 };

static inline double dot(const elem *x, const elem *y, int64_t n) {
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += wide(x[i + l]) * wide(y[i + l]);
    for (int l = 0; i < n; i++, l++) lanes[l] += wide(x[i]) * wide(y[i]);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
    return lanes[0];
}

static inline double sum_squares(const elem *x, int64_t n) {
    return dot(x, x, n);
}

static inline double sum_in_order(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

// The sign of x: 0 for 0, NaN for NaN.
static inline real sign_of(real x) {
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

// In a bf16 model: the n weights from element `at` on = the master weights, rounded.
static inline void write_weights(const MatrixBatch *batch, int64_t at, int64_t n) {
    if (batch->weights == batch->master) return;
    ASSERT(batch->weights_type == TYPE_BF16);
    const real *restrict master = (const real *)batch->master + at;
    Bf16 *restrict weights = (Bf16 *)batch->weights + at;
    for (int64_t i = 0; i < n; i++) weights[i] = bf16_from_float((float)master[i]);
}

// Offset of row r of a batch: row r % rows of matrix r / rows.
static inline int64_t row_offset(int64_t r, int64_t rows, int64_t cols, int64_t stride) {
    return r / rows * stride + r % rows * cols;
}

#endif
