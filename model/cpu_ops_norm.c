#include "model/cpu_ops.h"

// Columns a thread sums at a time, and rows it sums in the instance's type before the sum goes to a double.
enum { COLUMN_BLOCK = 128, ROW_BLOCK = 64 };

// One row: out = (x - mean) rstd gain + bias. RMSNorm: the mean counts as 0.
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

void OP_TABLE(norm_forward)(Stream *s, void *resid_, void *out_, void *mean_, void *rstd_, const void *x_,
                            const void *delta_, const void *gain, const void *bias, NormKind kind, double eps,
                            int64_t N, int C) {
    (void)s;
    real *resid = resid_, *out = out_, *mean = mean_, *rstd = rstd_; // (N, C), (N, C), (N), (N)
    const real *x = x_, *delta = delta_;                             // (N, C)
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++) {
        const real *row = x + i * C;
        if (delta) {
            for (int c = 0; c < C; c++) resid[i * C + c] = row[c] + delta[i * C + c];
            row = resid + i * C;
        }
        norm_row(out + i * C, mean + i, rstd + i, row, gain, bias, kind == NORM_LAYERNORM, (real)eps, C);
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

// Column sums of dout xhat (if dgain) and of dout (if dbias) for columns [c0, c0 + n). mean NULL: zeros.
static void column_sums(real *dgain, real *dbias, const real *dout, const real *x, const real *mean,
                        const real *rstd, int64_t N, int C, int c0, int n, bool accumulate) {
    double total_gain[COLUMN_BLOCK] = {0}, total_bias[COLUMN_BLOCK] = {0};
    for (int64_t i0 = 0; i0 < N; i0 += ROW_BLOCK) {
        real gain[COLUMN_BLOCK] = {0}, bias[COLUMN_BLOCK] = {0};
        for (int64_t i = i0; i < N && i < i0 + ROW_BLOCK; i++) {
            const real *d = dout + i * C + c0;
            if (dgain) {
                const real *row = x + i * C + c0;
                real m = mean ? mean[i] : 0, r = rstd[i];
                for (int c = 0; c < n; c++) gain[c] += d[c] * (row[c] - m) * r;
            }
            if (dbias)
                for (int c = 0; c < n; c++) bias[c] += d[c];
        }
        for (int c = 0; c < n; c++) total_gain[c] += (double)gain[c], total_bias[c] += (double)bias[c];
    }
    for (int c = 0; c < n; c++) {
        if (dgain) dgain[c0 + c] = (real)total_gain[c] + (accumulate ? dgain[c0 + c] : 0);
        if (dbias) dbias[c0 + c] = (real)total_bias[c] + (accumulate ? dbias[c0 + c] : 0);
    }
}

static void column_sums_parallel(real *dgain, real *dbias, const real *dout, const real *x, const real *mean,
                                 const real *rstd, int64_t N, int C, bool accumulate) {
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int c0 = 0; c0 < C; c0 += COLUMN_BLOCK)
        column_sums(dgain, dbias, dout, x, mean, rstd, N, C, c0, C - c0 < COLUMN_BLOCK ? C - c0 : COLUMN_BLOCK,
                    accumulate);
}

void OP_TABLE(norm_backward)(Stream *s, void *dx_, void *dgain, void *dbias, const void *dout_, const void *x_,
                             const void *mean_, const void *rstd_, const void *gain, NormKind kind, int64_t N,
                             int C, bool accumulate) {
    (void)s;
    bool center = kind == NORM_LAYERNORM;
    real *dx = dx_;                                                                  // (N, C)
    const real *dout = dout_, *x = x_, *mean = center ? mean_ : NULL, *rstd = rstd_; // (N, C), (N, C), (N), (N)
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++)
        norm_row_backward(dx + i * C, dout + i * C, x + i * C, center, mean ? mean[i] : 0, rstd[i], gain, C);
    if (dgain || dbias) column_sums_parallel(dgain, dbias, dout, x, mean, rstd, N, C, accumulate);
}

void OP_TABLE(bias_backward)(Stream *s, void *dbias, const void *dout, int64_t N, int C, bool accumulate) {
    (void)s;
    column_sums_parallel(NULL, dbias, dout, NULL, NULL, NULL, N, C, accumulate);
}
