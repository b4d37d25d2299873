// run/training/diagnose_stats.h - singular values, row norms and what follows from them, of a matrix at a time. For diagnose.c.
#ifndef POLAR_RUN_TRAINING_DIAGNOSE_STATS_H
#define POLAR_RUN_TRAINING_DIAGNOSE_STATS_H

#include "base/json.h"
#include "device/device.h"

// Room for matrices of at most so many elements, rows and columns.
typedef struct {
    double *norms, *values;              // host: (rows), (min(rows, cols))
    void *matrix_device, *values_device; // what the solve overwrites
} MatrixStats;

bool matrix_stats_create(MatrixStats *stats, Device *device, int64_t elements, int64_t rows, int64_t cols);
void matrix_stats_free(MatrixStats *stats, Device *device);

// Writes the object `name` about x (rows, cols) on the host:
//   singular_max, singular_min   s_max, s_min
//   condition          s_max / (s_min + 1e-12), as in PolarGrad's experiments
//   nuclear, frobenius sums of the singular values and of their squares (its root)
//   stable_rank        frobenius^2 / s_max^2
//   row_norm_mean, row_norm_cv   mean of the rows' norms, and their standard deviation over it
//   alignment          cosine of the angle to `weight` (rows, cols)
//   quantiles          singular values and row norms at 0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100 %, between two values
//                      by a straight line
// and with `spectrum` all singular values, descending, and all row norms, in the order of the rows. What is not a
// number (of a zero matrix: 0 / 0) is null.
void matrix_stats_write(JsonWriter *w, const char *name, MatrixStats *stats, Stream *stream, const double *x,
                        const float *weight, int64_t rows, int64_t cols, bool spectrum);

#endif
