// AdamW on the CPU.
#include "optim/cpu/rows.h"

#if defined(REAL_F64)
static inline real real_sqrt(real x) {
    return sqrt(x);
}
#else
static inline real real_sqrt(real x) {
    return sqrtf(x);
}
#endif

typedef struct {
    real clip_scale, lr;
    real beta1, one_minus_beta1, inv_bias1; // of the first moment; inv_bias: 1 / bias correction
    real beta2, one_minus_beta2, inv_bias2; // of the second
    real eps, weight_decay;
} AdamwScalars;

static AdamwScalars adamw_scalars(const ElementUpdate *a) {
    const StepInputs *in = a->batch->inputs;
    const StepReport *report = a->batch->report;
    int g = a->batch->group;
    return (AdamwScalars){.clip_scale = (real)report->clip_scale,
                          .lr = (real)in->lr[g],
                          .beta1 = (real)in->beta1[g],
                          .one_minus_beta1 = (real)(1 - in->beta1[g]),
                          .inv_bias1 = (real)(1 / report->bias_correction1[g]),
                          .beta2 = (real)in->beta2[g],
                          .one_minus_beta2 = (real)(1 - in->beta2[g]),
                          .inv_bias2 = (real)(1 / report->bias_correction2[g]),
                          .eps = (real)a->eps,
                          .weight_decay = (real)a->weight_decay};
}

static void adamw_row(real *restrict p, real *restrict m, real *restrict v, const real *restrict grad, int64_t n,
                      AdamwScalars k) {
    for (int64_t i = 0; i < n; i++) {
        real g = k.clip_scale * grad[i];
        // first moment: average of the gradient
        real mi = k.beta1 * m[i] + k.one_minus_beta1 * g;
        // second moment: average of its square
        real vi = k.beta2 * v[i] + k.one_minus_beta2 * (g * g);
        m[i] = mi;
        v[i] = vi;
        // both corrected for their start at zero; decoupled weight decay
        p[i] -= k.lr * (mi * k.inv_bias1 / (real_sqrt(vi * k.inv_bias2) + k.eps) + k.weight_decay * p[i]);
    }
}

void OP_TABLE(adamw_update)(Stream *s, const ElementUpdate *a) {
    (void)s;
    const MatrixBatch *x = a->batch;
    ASSERT(x->weights == x->master);
    if (x->report->ok == 0) return;
    AdamwScalars k = adamw_scalars(a);
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, x->stride);
        adamw_row((real *)x->master + at, (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]),
                  (real *)x->state[1] + row_offset(r, rows, cols, x->state_stride[1]), (const real *)x->grads + at,
                  cols, k);
    }
}
