// What the polar family does to a matrix before its polar factor is taken, and the momentum of polar factors.
#include "optim/cpu/rows.h"

// M = b M + c g, U = direct g + through M.
typedef struct {
    real clip, b, c, direct, through;
} MomentumScalars;

static void momentum_row(real *restrict u, real *restrict m, const real *restrict grad, int64_t n,
                         MomentumScalars k) {
    for (int64_t i = 0; i < n; i++) {
        real g = k.clip * grad[i];
        real mi = k.b * m[i] + k.c * g;
        m[i] = mi;
        u[i] = k.direct * g + k.through * mi;
    }
}

void OP_TABLE(polar_momentum)(Stream *s, const PolarMomentum *a) {
    (void)s;
    const MatrixBatch *x = a->batch;
    if (x->report->ok == 0) return;
    double b = x->inputs->momentum[x->group], c = a->ema ? 1 - b : 1;
    if (x->state[0] == NULL) b = 0, c = 1;
    MomentumScalars k = {.clip = (real)x->report->clip_scale,
                         .b = (real)b,
                         .c = (real)c,
                         .direct = (real)(a->nesterov ? c : 0),
                         .through = (real)(a->nesterov ? b : 1)};
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        real *row = (real *)a->u + r * cols;
        const real *grad = (const real *)x->grads + row_offset(r, rows, cols, x->stride);
        if (x->state[0])
            momentum_row(row, (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]), grad, cols, k);
        else
            for (int64_t i = 0; i < cols; i++) row[i] = k.clip * grad[i];
        a->row_sums[r] = sum_squares(row, cols);
    }
}

void OP_TABLE(polar_scale)(Stream *s, const PolarScale *a) {
    (void)s;
    int64_t rows = a->rows, cols = a->cols;
    for (int j = 0; j < a->count; j++) {
        real *matrix = (real *)a->x + j * rows * cols;
        double scale = 1 / (sqrt(sum_in_order(a->row_sums + j * rows, rows)) * a->factor + a->eps);
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
        for (int64_t r = 0; r < rows; r++) {
            real *row = matrix + r * cols;
            for (int64_t i = 0; i < cols; i++) row[i] = (real)(row[i] * scale);
        }
    }
}

void OP_TABLE(polar_average)(Stream *s, const PolarAverage *a) {
    (void)s;
    const MatrixBatch *x = a->batch;
    if (x->report->ok == 0) return;
    double momentum = x->inputs->momentum[x->group];
    real b = (real)momentum, c = (real)(a->ema ? 1 - momentum : 1);
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        real *m = (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]),
             *row = (real *)a->o + r * cols;
        for (int64_t i = 0; i < cols; i++) row[i] = m[i] = b * m[i] + c * row[i];
    }
}
