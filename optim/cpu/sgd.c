// Stochastic gradient descent with momentum on the CPU.
#include "optim/cpu/rows.h"

typedef struct {
    real clip_scale, lr, momentum, weight_decay;
} SgdScalars;

static void sgd_row(real *restrict p, real *restrict b, const real *restrict grad, int64_t n, bool nesterov,
                    SgdScalars scalars) {
    real d_weight = nesterov ? 1 : 0, b_weight = nesterov ? scalars.momentum : 1;
    for (int64_t i = 0; i < n; i++) {
        real d = scalars.clip_scale * grad[i] + scalars.weight_decay * p[i];
        real bi = scalars.momentum * b[i] + d;
        b[i] = bi;
        p[i] -= scalars.lr * (d_weight * d + b_weight * bi);
    }
}

static void sgd_row_plain(real *restrict p, const real *restrict grad, int64_t n, SgdScalars scalars) {
    for (int64_t i = 0; i < n; i++)
        p[i] -= scalars.lr * (scalars.clip_scale * grad[i] + scalars.weight_decay * p[i]);
}

void OP_TABLE(sgd_update)(Stream *s, const ElementUpdate *args) {
    (void)s;
    const MatrixBatch *batch = args->batch;
    if (batch->report->ok == 0) return;
    SgdScalars scalars = {.clip_scale = (real)batch->report->clip_scale,
                          .lr = (real)batch->inputs->lr[batch->group],
                          .momentum = (real)batch->inputs->momentum[batch->group],
                          .weight_decay = (real)args->weight_decay};
    int64_t n = batch->count * batch->rows, rows = batch->rows, cols = batch->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, batch->stride);
        real *p = (real *)batch->master + at;
        const real *grad = (const real *)batch->grads + at;
        if (batch->state[0])
            sgd_row(p, (real *)batch->state[0] + row_offset(r, rows, cols, batch->state_stride[0]), grad, cols,
                    args->nesterov, scalars);
        else sgd_row_plain(p, grad, cols, scalars);
        write_weights(batch, at, cols);
    }
}
