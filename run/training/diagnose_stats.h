// run/training/diagnose_stats.h - statistics of singular values and row norms of a matrix. For diagnose.c.
#ifndef POLAR_RUN_TRAINING_DIAGNOSE_STATS_H
#define POLAR_RUN_TRAINING_DIAGNOSE_STATS_H

#include "base/json.h"
#include "device/device.h"

// Buffers for matrices of at most this many elements, rows and columns.
typedef struct {
    double *norms, *values;              // host: (rows), (min(rows, cols))
    void *matrix_device, *values_device; // overwritten by the SVD
} MatrixStats;

bool matrix_stats_create(MatrixStats *stats, Device *device, int64_t elements, int64_t rows, int64_t cols);
void matrix_stats_free(MatrixStats *stats, Device *device);

// Writes the JSON object `name` for x (rows, cols) in host memory:
//   singular_max, singular_min   s_max, s_min
//   condition          s_max / (s_min + 1e-12), as in PolarGrad's experiments
//   nuclear, frobenius sum of the singular values, and root of the sum of their squares
//   stable_rank        frobenius^2 / s_max^2
//   row_norm_mean, row_norm_cv   mean of the rows' norms, and their standard deviation over it
//   alignment          cosine of the angle to `weight` (rows, cols)
//   quantiles          singular values and row norms at 0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100 %, linearly
//                      interpolated
// and with `spectrum` all singular values, descending, and all row norms, in row order. NaN (0 / 0 for a zero matrix) is
// null.
void matrix_stats_write(JsonWriter *w, const char *name, MatrixStats *stats, Stream *stream, const double *x,
                        const float *weight, int64_t rows, int64_t cols, bool spectrum);

#endif
