// model/cuda/sums.h - sums of columns in two stages, for gradients of gains and biases.
#ifndef POLAR_MODEL_CUDA_SUMS_H
#define POLAR_MODEL_CUDA_SUMS_H

#include "device/device.h"

// Rows are cut into `pieces` of `rows` each, which depend on their number only.
typedef struct {
    int64_t rows;
    int pieces;
} RowPieces;

// Pieces of at least `least` of n rows, and no more than `most` pieces.
RowPieces row_pieces(int64_t n, int64_t least, int most);

// first (C) = or += the sums over the pieces of partials (pieces, n_sums, C) with index 0, second that of index 1.
// Either may be nullptr. Sums are in double, in a fixed tree.
void fold_partials(Stream *s, float *first, float *second, const float *partials, int pieces, int n_sums, int C,
                   bool accumulate);

// partials (pieces, 2, C), of every piece of rows: the column sums of dout (x - mean) rstd, and those of dout. mean
// nullptr: zeros. Where x is nullptr only the second: partials (pieces, 1, C).
template <typename T>
void column_partials(Stream *s, float *partials, const T *dout, const T *x, const float *mean, const float *rstd,
                     RowPieces pieces, int64_t N, int C);

#endif
