#include "model/cpu/ops.h"
#include "model/cpu/sums.h"

// One row: out = (x - mean) rstd gain + bias. `center` is false for RMSNorm: the mean is taken as 0.
static void norm_row(real *restrict out, real *mean, real *rstd, const real *restrict x, const real *gain,
                     const real *bias, bool center, real eps, int C) {
    real sum = 0, square = 0;
    if (center) {
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < C; c++) sum += x[c];
    }
    real m = sum / (real)C;
#pragma omp simd reduction(+ : square)
    for (int c = 0; c < C; c++) square += (x[c] - m) * (x[c] - m);
    real r = 1 / (real)sqrt(square / (real)C + eps);
    for (int c = 0; c < C; c++) {
        real y = (x[c] - m) * r;
        if (gain) y *= gain[c];
        if (bias) y += bias[c];
        out[c] = y;
    }
    if (center) *mean = m;
    *rstd = r;
}

void OP_TABLE(norm_forward)(Stream *s, const NormForward *a) {
    (void)s;
    real *resid = a->resid, *out = a->out;       // (N, C)
    real *mean = a->mean, *rstd = a->rstd;       // (N)
    const real *x = a->x, *delta = a->delta;     // (N, C)
    const real *gain = a->gain, *bias = a->bias; // (C)
    bool center = a->kind == NORM_LAYERNORM;
    int64_t N = a->N;
    int C = a->C;
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++) {
        const real *row = x + i * C;
        if (delta) {
            for (int c = 0; c < C; c++) resid[i * C + c] = row[c] + delta[i * C + c];
            row = resid + i * C;
        }
        norm_row(out + i * C, mean + i, rstd + i, row, gain, bias, center, (real)a->eps, C);
    }
}

// With xhat = (x - mean) rstd and g = dout gain:
// dx += rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) in RMSNorm.
static void norm_row_backward(real *restrict dx, const real *restrict dout, const real *restrict x, bool center,
                              real mean, real rstd, const real *gain, int C) {
    real sum = 0, sum_x = 0;
#pragma omp simd reduction(+ : sum, sum_x)
    for (int c = 0; c < C; c++) {
        real g = gain ? dout[c] * gain[c] : dout[c];
        sum += g;
        sum_x += g * (x[c] - mean) * rstd;
    }
    sum = center ? sum / (real)C : 0;
    sum_x /= (real)C;
    for (int c = 0; c < C; c++) {
        real g = gain ? dout[c] * gain[c] : dout[c];
        dx[c] += rstd * (g - sum - (x[c] - mean) * rstd * sum_x);
    }
}

void OP_TABLE(norm_backward)(Stream *s, const NormBackward *a) {
    (void)s;
    bool center = a->kind == NORM_LAYERNORM;
    real *dx = a->dx;                                            // (N, C)
    const real *dout = a->dout, *x = a->x;                       // (N, C)
    const real *mean = center ? a->mean : NULL, *rstd = a->rstd; // (N)
    const real *gain = a->gain;                                  // (C)
    int64_t N = a->N;
    int C = a->C;
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++)
        norm_row_backward(dx + i * C, dout + i * C, x + i * C, center, mean ? mean[i] : 0, rstd[i], gain, C);
    ColumnSums sums = {
        .dgain = a->dgain, .dbias = a->dbias, .dout = dout, .x = x, .mean = mean, .rstd = rstd, .C = C};
    if (a->dgain || a->dbias) OP_TABLE(column_sums)(&sums, N, a->accumulate);
}
