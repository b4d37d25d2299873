// Signum on the CPU.
#include "optim/cpu/rows.h"

typedef struct {
    real clip_scale, lr, momentum, one_minus_momentum, weight_decay;
} SignumScalars;

static void signum_row(real *restrict p, real *restrict m, const real *restrict grad, int64_t n, SignumScalars k) {
    for (int64_t i = 0; i < n; i++) {
        // momentum: average of the gradient
        real mi = k.momentum * m[i] + k.one_minus_momentum * (k.clip_scale * grad[i]);
        m[i] = mi;
        // decoupled weight decay
        p[i] -= k.lr * (sign_of(mi) + k.weight_decay * p[i]);
    }
}

static void signum_row_plain(real *restrict p, const real *restrict grad, int64_t n, SignumScalars k) {
    for (int64_t i = 0; i < n; i++) p[i] -= k.lr * (sign_of(k.clip_scale * grad[i]) + k.weight_decay * p[i]);
}

void OP_TABLE(signum_update)(Stream *s, const ElementUpdate *a) {
    (void)s;
    const MatrixBatch *x = a->batch;
    ASSERT(x->weights == x->master);
    if (x->report->ok == 0) return;
    double momentum = x->inputs->momentum[x->group];
    SignumScalars k = {.clip_scale = (real)x->report->clip_scale,
                       .lr = (real)x->inputs->lr[x->group],
                       .momentum = (real)momentum,
                       .one_minus_momentum = (real)(1 - momentum),
                       .weight_decay = (real)a->weight_decay};
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, x->stride);
        real *p = (real *)x->master + at;
        const real *grad = (const real *)x->grads + at;
        if (x->state[0])
            signum_row(p, (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]), grad, cols, k);
        else signum_row_plain(p, grad, cols, k);
    }
}
