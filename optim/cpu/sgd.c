// Stochastic gradient descent with momentum on the CPU.
#include "optim/cpu/rows.h"

typedef struct {
    real clip, lr, momentum, decay;
} SgdScalars;

static void sgd_row(real *restrict p, real *restrict b, const real *restrict grad, int64_t n, bool nesterov,
                    SgdScalars k) {
    real direct = nesterov ? 1 : 0, through = nesterov ? k.momentum : 1;
    for (int64_t i = 0; i < n; i++) {
        real d = k.clip * grad[i] + k.decay * p[i];
        real bi = k.momentum * b[i] + d;
        b[i] = bi;
        p[i] -= k.lr * (direct * d + through * bi);
    }
}

static void sgd_row_plain(real *restrict p, const real *restrict grad, int64_t n, SgdScalars k) {
    for (int64_t i = 0; i < n; i++) p[i] -= k.lr * (k.clip * grad[i] + k.decay * p[i]);
}

void OP_TABLE(sgd_update)(Stream *s, const ElementUpdate *a) {
    (void)s;
    const MatrixBatch *x = a->batch;
    ASSERT(x->weights == x->master);
    if (x->report->ok == 0) return;
    SgdScalars k = {.clip = (real)x->report->clip_scale,
                    .lr = (real)x->inputs->lr[x->group],
                    .momentum = (real)x->inputs->momentum[x->group],
                    .decay = (real)a->weight_decay};
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, x->stride);
        real *p = (real *)x->master + at;
        const real *grad = (const real *)x->grads + at;
        if (x->state[0])
            sgd_row(p, (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]), grad, cols, a->nesterov,
                    k);
        else sgd_row_plain(p, grad, cols, k);
    }
}
