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
    real beta1, one_minus_beta1, inv_bias1; // first moment; inv_bias: 1 / bias correction
    real beta2, one_minus_beta2, inv_bias2; // second moment
    real eps, weight_decay;
} AdamwScalars;

static AdamwScalars adamw_scalars(const ElementUpdate *args) {
    const StepInputs *inputs = args->batch->inputs;
    const StepReport *report = args->batch->report;
    int group = args->batch->group;
    return (AdamwScalars){.clip_scale = (real)report->clip_scale,
                          .lr = (real)inputs->lr[group],
                          .beta1 = (real)inputs->beta1[group],
                          .one_minus_beta1 = (real)(1 - inputs->beta1[group]),
                          .inv_bias1 = (real)(1 / report->bias_correction1[group]),
                          .beta2 = (real)inputs->beta2[group],
                          .one_minus_beta2 = (real)(1 - inputs->beta2[group]),
                          .inv_bias2 = (real)(1 / report->bias_correction2[group]),
                          .eps = (real)args->eps,
                          .weight_decay = (real)args->weight_decay};
}

static void adamw_row(real *restrict p, real *restrict m, real *restrict v, const real *restrict grad, int64_t n,
                      AdamwScalars scalars) {
    for (int64_t i = 0; i < n; i++) {
        real g = scalars.clip_scale * grad[i];
        // first moment: moving average of the gradient
        real mi = scalars.beta1 * m[i] + scalars.one_minus_beta1 * g;
        // second moment: moving average of its square
        real vi = scalars.beta2 * v[i] + scalars.one_minus_beta2 * (g * g);
        m[i] = mi;
        v[i] = vi;
        // bias-corrected moments; decoupled weight decay
        p[i] -= scalars.lr * (mi * scalars.inv_bias1 / (real_sqrt(vi * scalars.inv_bias2) + scalars.eps) +
                              scalars.weight_decay * p[i]);
    }
}

void OP_TABLE(adamw_update)(Stream *s, const ElementUpdate *args) {
    (void)s;
    const MatrixBatch *batch = args->batch;
    if (batch->report->ok == 0) return;
    AdamwScalars scalars = adamw_scalars(args);
    int64_t n = batch->count * batch->rows, rows = batch->rows, cols = batch->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, batch->stride);
        adamw_row((real *)batch->master + at,
                  (real *)batch->state[0] + row_offset(r, rows, cols, batch->state_stride[0]),
                  (real *)batch->state[1] + row_offset(r, rows, cols, batch->state_stride[1]),
                  (const real *)batch->grads + at, cols, scalars);
        write_weights(batch, at, cols);
    }
}
