// Lion on the CPU.
#include "optim/cpu/rows.h"

typedef struct {
    real clip_scale, lr, beta1, one_minus_beta1, beta2, one_minus_beta2, weight_decay;
} LionScalars;

static LionScalars lion_scalars(const ElementUpdate *a) {
    const StepInputs *in = a->batch->inputs;
    int g = a->batch->group;
    return (LionScalars){.clip_scale = (real)a->batch->report->clip_scale,
                         .lr = (real)in->lr[g],
                         .beta1 = (real)in->beta1[g],
                         .one_minus_beta1 = (real)(1 - in->beta1[g]),
                         .beta2 = (real)in->beta2[g],
                         .one_minus_beta2 = (real)(1 - in->beta2[g]),
                         .weight_decay = (real)a->weight_decay};
}

static void lion_row(real *restrict p, real *restrict m, const real *restrict grad, int64_t n, LionScalars k) {
    for (int64_t i = 0; i < n; i++) {
        real g = k.clip_scale * grad[i];
        // the direction: momentum and gradient, of which only the sign counts
        real u = k.beta1 * m[i] + k.one_minus_beta1 * g;
        // decoupled weight decay
        p[i] -= k.lr * (sign_of(u) + k.weight_decay * p[i]);
        // the momentum of the next step
        m[i] = k.beta2 * m[i] + k.one_minus_beta2 * g;
    }
}

void OP_TABLE(lion_update)(Stream *s, const ElementUpdate *a) {
    (void)s;
    const MatrixBatch *x = a->batch;
    ASSERT(x->weights == x->master);
    if (x->report->ok == 0) return;
    LionScalars k = lion_scalars(a);
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, x->stride);
        lion_row((real *)x->master + at, (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]),
                 (const real *)x->grads + at, cols, k);
    }
}
