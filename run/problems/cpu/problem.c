// The matrix problems' operations on the CPU.
#include "run/problems/tables.h"

#include <math.h>
#include <string.h>

static void logistic(Stream *s, const LogisticLoss *a) {
    (void)s;
    int64_t rows = a->rows, cols = a->cols;
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++) {
        const real *c = (const real *)a->labels + r * cols;
        real *x = (real *)a->z + r * cols;
        double sum = 0;
        for (int64_t i = 0; i < cols; i++) {
            double margin = (double)c[i] * (double)x[i], e = exp(-fabs(margin)); // e <= 1: no overflow
            sum += (margin < 0 ? -margin : 0) + log1p(e);
            x[i] = (real)(-(double)c[i] * (margin < 0 ? 1 : e) / (1 + e));
        }
        a->losses[r] = sum;
    }
}

static void multiply(Stream *s, const Multiply *a) {
    (void)s;
    real *x = a->x;
    const real *mask = a->mask;
#pragma omp parallel for schedule(static) if (a->n >= CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < a->n; i++) x[i] *= mask[i];
}

static void gather(Stream *s, const Gather *a) {
    (void)s;
    int64_t rows = a->rows, cols = a->cols;
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++)
        memcpy((real *)a->out + r * cols, (const real *)a->in + a->index[r] * cols, (size_t)cols * sizeof(real));
}

const ProblemOps OP_TABLE(problem_ops) = {
#define OP(name, Arguments) .name = name,
#include "run/problems/ops.def"
};
