// model/cpu/sums.h - column sums for the gradients of gains and biases. Private to model/cpu/.
#ifndef POLAR_MODEL_CPU_SUMS_H
#define POLAR_MODEL_CPU_SUMS_H

#include "device/cpu/cpu.h"

// Column sums of dout xhat (if dgain) and of dout (if dbias), both (N, C); xhat = (x - mean) rstd, mean NULL: 0.
typedef struct {
    real *dgain, *dbias;
    const elem *dout, *x;    // (N, C)
    const real *mean, *rstd; // (N)
    int64_t C;
} ColumnSums;

// dgain, dbias (C) = (or +=) the sums over N rows.
void OP_TABLE(column_sums)(const ColumnSums *s, int64_t N, bool accumulate);

#endif
