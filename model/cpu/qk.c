#include "model/cpu/ops.h"

// x /= rms(x). *rstd is saved for the backward pass.
static void normalize(real *x, real *rstd, real eps, int D) {
    real square = 0;
#pragma omp simd reduction(+ : square)
    for (int d = 0; d < D; d++) square += x[d] * x[d];
    *rstd = 1 / (real)sqrt(square / (real)D + eps);
    for (int d = 0; d < D; d++) x[d] *= *rstd;
}

// Rotates the pairs (d, d + half) by their angles, or by the negative angles.
static void rotate(real *restrict x, const real *restrict cos, const real *restrict sin, bool inverse, int half) {
#pragma omp simd
    for (int d = 0; d < half; d++) {
        real a = x[d], b = x[d + half], s = inverse ? -sin[d] : sin[d];
        x[d] = a * cos[d] - b * s;
        x[d + half] = b * cos[d] + a * s;
    }
}

// Overwrites g with dx = rstd (g - xhat mean(g xhat)). A rotation does not change mean(g xhat), so it is computed from
// the rotated xhat, which is the forward pass's output y, and the rotated g.
static void normalize_backward(real *restrict g, const real *restrict y, real rstd, int D) {
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < D; d++) sum += g[d] * y[d];
    sum /= (real)D;
    for (int d = 0; d < D; d++) g[d] = rstd * (g[d] - y[d] * sum);
}

void OP_TABLE(qk_forward)(Stream *s, const QkForward *args) {
    (void)s;
    const HeadsShape *a = &args->shape;
    real *x = args->x, *rstd = args->rstd;         // HeadsShape, (B, T, n_heads)
    const real *cos = args->cos, *sin = args->sin; // (context, D / 2)
    int D = a->head_dim, half = D / 2;
    int64_t N = (int64_t)a->B * a->T;
#pragma omp parallel for schedule(static) if (N * a->n_heads * D > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++) {
        int64_t angles = (a->pos_offset + i % a->T) * half;
        real *row = x + i / a->T * a->batch + i % a->T * a->row;
        for (int h = 0; h < a->n_heads; h++) {
            if (rstd) normalize(row + h * D, rstd + i * a->n_heads + h, (real)a->eps, D);
            if (cos) rotate(row + h * D, cos + angles, sin + angles, false, half);
        }
    }
}

void OP_TABLE(qk_backward)(Stream *s, const QkBackward *args) {
    (void)s;
    const HeadsShape *a = &args->shape;
    real *dx = args->dx;                           // HeadsShape
    const real *y = args->y, *rstd = args->rstd;   // HeadsShape, (B, T, n_heads)
    const real *cos = args->cos, *sin = args->sin; // (context, D / 2)
    int D = a->head_dim, half = D / 2;
    int64_t N = (int64_t)a->B * a->T;
#pragma omp parallel for schedule(static) if (N * a->n_heads * D > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++) {
        int64_t angles = (a->pos_offset + i % a->T) * half, begin = i / a->T * a->batch + i % a->T * a->row;
        for (int h = 0; h < a->n_heads; h++) {
            real *head = dx + begin + h * D;
            if (rstd) normalize_backward(head, y + begin + h * D, rstd[i * a->n_heads + h], D);
            if (cos) rotate(head, cos + angles, sin + angles, true, half);
        }
    }
}
