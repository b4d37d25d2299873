// The matrix problems' operations on the CPU.
#include "device/cpu/cpu.h"
#include "run/problems/cpu/tables.h" // declares the table

#include <math.h>
#include <string.h>

static void logistic(Stream *s, double *losses, void *z, const void *labels, int64_t rows, int64_t cols) {
    (void)s;
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++) {
        const real *c = (const real *)labels + r * cols;
        real *x = (real *)z + r * cols;
        double sum = 0;
        for (int64_t i = 0; i < cols; i++) {
            double margin = (double)c[i] * (double)x[i], e = exp(-fabs(margin)); // e <= 1: nothing overflows
            sum += (margin < 0 ? -margin : 0) + log1p(e);
            x[i] = (real)(-(double)c[i] * (margin < 0 ? 1 : e) / (1 + e));
        }
        losses[r] = sum;
    }
}

static void multiply(Stream *s, void *x, const void *mask, int64_t n) {
    (void)s;
#pragma omp parallel for schedule(static) if (n >= CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) ((real *)x)[i] *= ((const real *)mask)[i];
}

static void gather(Stream *s, void *out, const void *in, const int32_t *index, int64_t rows, int64_t cols) {
    (void)s;
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++)
        memcpy((real *)out + r * cols, (const real *)in + index[r] * cols, (size_t)cols * sizeof(real));
}

const ProblemOps OP_TABLE(problem_ops) = {.logistic = logistic, .multiply = multiply, .gather = gather};
