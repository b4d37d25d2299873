// model/cuda/sums.h - two-stage column sums for the gradients of gains and biases.
#ifndef POLAR_MODEL_CUDA_SUMS_H
#define POLAR_MODEL_CUDA_SUMS_H

#include "device/device.h"

// Rows are split into `pieces` of `rows` rows each (the last may be shorter); the split depends on the row count only.
typedef struct {
    int64_t rows;
    int pieces;
} RowPieces;

// Splits n rows into at most `max_pieces` pieces of at least `min_rows` rows.
RowPieces row_pieces(int64_t n, int64_t min_rows, int max_pieces);

// Second stage: first (C) = (or +=) the sum over pieces of partials[:, 0, :], second that of partials[:, 1, :], for
// partials (pieces, n_sums, C). Either may be nullptr. Sums in double, in a fixed order.
void reduce_partials(Stream *s, float *first, float *second, const float *partials, int pieces, int n_sums, int C,
                     bool accumulate);

// First stage: partials (pieces, 2, C) = column sums of dout (x - mean) rstd and of dout over each piece of rows; mean
// nullptr: 0. If x is nullptr, only those of dout: partials (pieces, 1, C).
template <typename T>
void column_partials(Stream *s, float *partials, const T *dout, const T *x, const float *mean, const float *rstd,
                     RowPieces pieces, int64_t N, int C);

#endif
