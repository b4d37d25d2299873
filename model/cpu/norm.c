#include "model/cpu/ops.h"
#include "model/cpu/sums.h"

// One row: out = (x - mean) rstd gain + bias. `center` is false for RMSNorm: the mean is taken as 0.
static void norm_row(elem *restrict out, real *mean, real *rstd, const elem *restrict x, const elem *gain,
                     const elem *bias, bool center, real eps, int C) {
    real sum = 0, square = 0;
    if (center) {
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < C; c++) sum += from_elem(x[c]);
    }
    real m = sum / (real)C;
#pragma omp simd reduction(+ : square)
    for (int c = 0; c < C; c++) square += (from_elem(x[c]) - m) * (from_elem(x[c]) - m);
    real r = 1 / (real)sqrt(square / (real)C + eps);
    for (int c = 0; c < C; c++) {
        real y = (from_elem(x[c]) - m) * r;
        if (gain) y *= from_elem(gain[c]);
        if (bias) y += from_elem(bias[c]);
        out[c] = to_elem(y);
    }
    if (center) *mean = m;
    *rstd = r;
}

void OP_TABLE(norm_forward)(Stream *s, const NormForward *a) {
    (void)s;
    elem *resid = a->resid, *out = a->out;       // (N, C)
    real *mean = a->mean, *rstd = a->rstd;       // (N)
    const elem *x = a->x, *delta = a->delta;     // (N, C)
    const elem *gain = a->gain, *bias = a->bias; // (C)
    bool center = a->kind == NORM_LAYERNORM;
    int64_t N = a->N;
    int C = a->C;
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++) {
        const elem *row = x + i * C;
        if (delta) {
            for (int c = 0; c < C; c++) resid[i * C + c] = to_elem(from_elem(row[c]) + from_elem(delta[i * C + c]));
            row = resid + i * C;
        }
        norm_row(out + i * C, mean + i, rstd + i, row, gain, bias, center, (real)a->eps, C);
    }
}

// With xhat = (x - mean) rstd and g = dout gain:
// dx += rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) in RMSNorm.
static void norm_row_backward(elem *restrict dx, const elem *restrict dout, const elem *restrict x, bool center,
                              real mean, real rstd, const elem *gain, int C) {
    real sum = 0, sum_x = 0;
#pragma omp simd reduction(+ : sum, sum_x)
    for (int c = 0; c < C; c++) {
        real g = gain ? from_elem(dout[c]) * from_elem(gain[c]) : from_elem(dout[c]);
        sum += g;
        sum_x += g * (from_elem(x[c]) - mean) * rstd;
    }
    sum = center ? sum / (real)C : 0;
    sum_x /= (real)C;
    for (int c = 0; c < C; c++) {
        real g = gain ? from_elem(dout[c]) * from_elem(gain[c]) : from_elem(dout[c]);
        dx[c] = to_elem(from_elem(dx[c]) + rstd * (g - sum - (from_elem(x[c]) - mean) * rstd * sum_x));
    }
}

void OP_TABLE(norm_backward)(Stream *s, const NormBackward *a) {
    (void)s;
    bool center = a->kind == NORM_LAYERNORM;
    elem *dx = a->dx;                                            // (N, C)
    const elem *dout = a->dout, *x = a->x;                       // (N, C)
    const real *mean = center ? a->mean : NULL, *rstd = a->rstd; // (N)
    const elem *gain = a->gain;                                  // (C)
    int64_t N = a->N;
    int C = a->C;
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++)
        norm_row_backward(dx + i * C, dout + i * C, x + i * C, center, mean ? mean[i] : 0, rstd[i], gain, C);
    ColumnSums sums = {
        .dgain = a->dgain, .dbias = a->dbias, .dout = dout, .x = x, .mean = mean, .rstd = rstd, .C = C};
    if (a->dgain || a->dbias) OP_TABLE(column_sums)(&sums, N, a->accumulate);
}
