// model/cpu/sums.h - sums of columns, for gradients of gains and biases. For the files of model/cpu/ only.
#ifndef POLAR_MODEL_CPU_SUMS_H
#define POLAR_MODEL_CPU_SUMS_H

#include "device/cpu/cpu.h"

// What the column sums are of: dout xhat (if dgain) and dout (if dbias), (N, C). mean NULL: zeros.
typedef struct {
    real *dgain, *dbias;
    const real *dout, *x, *mean, *rstd;
    int64_t C;
} ColumnSums;

// dgain, dbias (C) = or += the sums over N rows.
void OP_TABLE(column_sums)(const ColumnSums *s, int64_t N, bool accumulate);

#endif
