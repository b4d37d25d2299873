// Sums over rows, and what the sums of all gradients decide.
#include "optim/cpu/rows.h"

void OP_TABLE(row_sum_squares)(Stream *s, const RowSumSquares *a) {
    (void)s;
    int64_t n = a->count * a->rows;
#pragma omp parallel for schedule(static) if (n * a->cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++)
        a->sums[r] = sum_squares((const real *)a->x + row_offset(r, a->rows, a->cols, a->stride), a->cols);
}

void OP_TABLE(row_dots)(Stream *s, const RowDots *a) {
    (void)s;
    int64_t n = a->count * a->rows, cols = a->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++)
        a->sums[r] = dot((const real *)a->a + r * cols, (const real *)a->b + r * cols, cols);
}

void OP_TABLE(step_guard)(Stream *s, const StepGuard *a) {
    (void)s;
    const StepInputs *inputs = a->inputs;
    StepReport *report = a->report;
    report->grad_norm = sqrt(sum_in_order(a->row_sums, a->n));
    report->loss = *a->loss * inputs->loss_scale;
    bool ok = isfinite(report->grad_norm) && isfinite(report->loss) && report->loss <= inputs->loss_limit;
    report->clip_scale =
        inputs->max_grad_norm > 0 && ok ? fmin(1, inputs->max_grad_norm / (report->grad_norm + 1e-6)) : 1;
    ok = ok && report->clip_scale * report->grad_norm <= MAX_APPLIED_NORM;
    report->ok = ok ? 1 : 0;
    report->applied += report->ok;
    for (int g = 0; g < GROUP_COUNT; g++) {
        report->bias_correction1[g] = 1 - pow(inputs->beta1[g], report->applied);
        report->bias_correction2[g] = 1 - pow(inputs->beta2[g], report->applied);
    }
}
