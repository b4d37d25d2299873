// Momentum and scaling of the input of the polar factor, and the momentum of polar factors, on the CPU.
#include "optim/cpu/rows.h"

// M = m_decay M + m_gain g,  U = u_gain g + u_weight M
typedef struct {
    real clip_scale, m_decay, m_gain, u_gain, u_weight;
} MomentumScalars;

static void momentum_row(elem *restrict u, real *restrict m, const real *restrict grad, int64_t n,
                         MomentumScalars scalars) {
    for (int64_t i = 0; i < n; i++) {
        real g = scalars.clip_scale * grad[i];
        real mi = scalars.m_decay * m[i] + scalars.m_gain * g;
        m[i] = mi;
        u[i] = to_elem(scalars.u_gain * g + scalars.u_weight * mi);
    }
}

void OP_TABLE(polar_momentum)(Stream *s, const PolarMomentum *args) {
    (void)s;
    const MatrixBatch *batch = args->batch;
    if (batch->report->ok == 0) return;
    double b = batch->inputs->momentum[batch->group], c = args->ema ? 1 - b : 1;
    if (batch->state[0] == NULL) b = 0, c = 1;
    MomentumScalars scalars = {.clip_scale = (real)batch->report->clip_scale,
                               .m_decay = (real)b,
                               .m_gain = (real)c,
                               .u_gain = (real)(args->nesterov ? c : 0),
                               .u_weight = (real)(args->nesterov ? b : 1)};
    int64_t n = batch->count * batch->rows, rows = batch->rows, cols = batch->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        elem *row = (elem *)args->u + r * cols;
        const real *grad = (const real *)batch->grads + row_offset(r, rows, cols, batch->stride);
        if (batch->state[0])
            momentum_row(row, (real *)batch->state[0] + row_offset(r, rows, cols, batch->state_stride[0]), grad,
                         cols, scalars);
        else
            for (int64_t i = 0; i < cols; i++) row[i] = to_elem(scalars.clip_scale * grad[i]);
        args->row_sums[r] = sum_squares(row, cols);
    }
}

void OP_TABLE(polar_scale)(Stream *s, const PolarScale *args) {
    (void)s;
    int64_t rows = args->rows, cols = args->cols;
    for (int j = 0; j < args->count; j++) {
        elem *matrix = (elem *)args->x + j * rows * cols;
        double scale = 1 / (sqrt(sum_in_order(args->row_sums + j * rows, rows)) * args->factor + args->eps);
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
        for (int64_t r = 0; r < rows; r++) {
            elem *row = matrix + r * cols;
            for (int64_t i = 0; i < cols; i++) row[i] = narrowed(wide(row[i]) * scale);
        }
    }
}

void OP_TABLE(polar_average)(Stream *s, const PolarAverage *args) {
    (void)s;
    const MatrixBatch *batch = args->batch;
    if (batch->report->ok == 0) return;
    double momentum = batch->inputs->momentum[batch->group];
    real b = (real)momentum, c = (real)(args->ema ? 1 - momentum : 1);
    int64_t n = batch->count * batch->rows, rows = batch->rows, cols = batch->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        real *m = (real *)batch->state[0] + row_offset(r, rows, cols, batch->state_stride[0]);
        elem *row = (elem *)args->o + r * cols;
        for (int64_t i = 0; i < cols; i++) {
            m[i] = b * m[i] + c * from_elem(row[i]);
            row[i] = to_elem(m[i]);
        }
    }
}
