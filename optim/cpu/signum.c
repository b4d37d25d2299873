// Signum on the CPU.
#include "optim/cpu/rows.h"

typedef struct {
    real clip_scale, lr, momentum, one_minus_momentum, weight_decay;
} SignumScalars;

static void signum_row(real *restrict p, real *restrict m, const real *restrict grad, int64_t n,
                       SignumScalars scalars) {
    for (int64_t i = 0; i < n; i++) {
        // momentum: moving average of the gradient
        real mi = scalars.momentum * m[i] + scalars.one_minus_momentum * (scalars.clip_scale * grad[i]);
        m[i] = mi;
        // decoupled weight decay
        p[i] -= scalars.lr * (sign_of(mi) + scalars.weight_decay * p[i]);
    }
}

static void signum_row_plain(real *restrict p, const real *restrict grad, int64_t n, SignumScalars scalars) {
    for (int64_t i = 0; i < n; i++)
        p[i] -= scalars.lr * (sign_of(scalars.clip_scale * grad[i]) + scalars.weight_decay * p[i]);
}

void OP_TABLE(signum_update)(Stream *s, const ElementUpdate *args) {
    (void)s;
    const MatrixBatch *batch = args->batch;
    if (batch->report->ok == 0) return;
    double momentum = batch->inputs->momentum[batch->group];
    SignumScalars scalars = {.clip_scale = (real)batch->report->clip_scale,
                             .lr = (real)batch->inputs->lr[batch->group],
                             .momentum = (real)momentum,
                             .one_minus_momentum = (real)(1 - momentum),
                             .weight_decay = (real)args->weight_decay};
    int64_t n = batch->count * batch->rows, rows = batch->rows, cols = batch->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, batch->stride);
        real *p = (real *)batch->master + at;
        const real *grad = (const real *)batch->grads + at;
        if (batch->state[0])
            signum_row(p, (real *)batch->state[0] + row_offset(r, rows, cols, batch->state_stride[0]), grad, cols,
                       scalars);
        else signum_row_plain(p, grad, cols, scalars);
        write_weights(batch, at, cols);
    }
}
