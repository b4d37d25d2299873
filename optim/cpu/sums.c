// Row sums, and the bad-step check with the clip scale, on the CPU.
#include "optim/cpu/rows.h"

void OP_TABLE(row_sum_squares)(Stream *s, const RowSumSquares *args) {
    (void)s;
    int64_t n = args->count * args->rows;
#pragma omp parallel for schedule(static) if (n * args->cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++)
        args->sums[r] =
            sum_squares((const elem *)args->x + row_offset(r, args->rows, args->cols, args->stride), args->cols);
}

void OP_TABLE(row_dots)(Stream *s, const RowDots *args) {
    (void)s;
    int64_t n = args->count * args->rows, cols = args->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++)
        args->sums[r] = dot((const elem *)args->a + r * cols, (const elem *)args->b + r * cols, cols);
}

void OP_TABLE(step_guard)(Stream *s, const StepGuard *args) {
    (void)s;
    const StepInputs *inputs = args->inputs;
    StepReport *report = args->report;
    report->grad_norm = sqrt(sum_in_order(args->row_sums, args->n));
    report->loss = *args->loss * inputs->loss_scale;
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
