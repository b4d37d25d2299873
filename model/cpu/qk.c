#include "model/cpu/ops.h"

// Returns 1 / rms(x).
static real inverse_rms(const elem *x, real eps, int D) {
    real square = 0;
#pragma omp simd reduction(+ : square)
    for (int d = 0; d < D; d++) square += from_elem(x[d]) * from_elem(x[d]);
    return 1 / (real)sqrt(square / (real)D + eps);
}

// x *= rstd, then rotates the pairs (d, d + D / 2) by their angles if cos is not NULL.
static void normalize_and_rotate(elem *restrict x, real rstd, const real *restrict cos, const real *restrict sin,
                                 int D) {
    int half = D / 2;
#pragma omp simd
    for (int d = 0; d < half; d++) {
        real a = from_elem(x[d]) * rstd, b = from_elem(x[d + half]) * rstd;
        x[d] = to_elem(cos ? a * cos[d] - b * sin[d] : a);
        x[d + half] = to_elem(cos ? b * cos[d] + a * sin[d] : b);
    }
    if (D % 2) x[D - 1] = to_elem(from_elem(x[D - 1]) * rstd);
}

// mean(g xhat). A rotation does not change it, so it is computed from the rotated xhat, which is the forward pass's
// output y, and the rotated g.
static real mean_product(const elem *g, const elem *y, int D) {
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < D; d++) sum += from_elem(g[d]) * from_elem(y[d]);
    return sum / (real)D;
}

// Overwrites g with dx = rstd (g - xhat mean), then rotates it back if cos is not NULL. y NULL: no norm.
static void normalize_and_rotate_backward(elem *restrict g, const elem *restrict y, real rstd, real mean,
                                          const real *restrict cos, const real *restrict sin, int D) {
    int half = D / 2;
#pragma omp simd
    for (int d = 0; d < half; d++) {
        real a = from_elem(g[d]), b = from_elem(g[d + half]);
        if (y) a = rstd * (a - from_elem(y[d]) * mean), b = rstd * (b - from_elem(y[d + half]) * mean);
        g[d] = to_elem(cos ? a * cos[d] + b * sin[d] : a);
        g[d + half] = to_elem(cos ? b * cos[d] - a * sin[d] : b);
    }
    if (D % 2 && y) g[D - 1] = to_elem(rstd * (from_elem(g[D - 1]) - from_elem(y[D - 1]) * mean));
}

void OP_TABLE(qk_forward)(Stream *s, const QkForward *args) {
    (void)s;
    const HeadsShape *a = &args->shape;
    elem *x = args->x;                             // HeadsShape
    real *rstd = args->rstd;                       // (B, T, n_heads)
    const real *cos = args->cos, *sin = args->sin; // (context, D / 2)
    int D = a->head_dim, half = D / 2;
    int64_t N = (int64_t)a->B * a->T;
#pragma omp parallel for schedule(static) if (N * a->n_heads * D > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++) {
        int64_t angles = (a->pos_offset + i % a->T) * half;
        elem *row = x + i / a->T * a->batch + i % a->T * a->row;
        for (int h = 0; h < a->n_heads; h++) {
            real r = 1;
            if (rstd) r = rstd[i * a->n_heads + h] = inverse_rms(row + h * D, (real)a->eps, D);
            normalize_and_rotate(row + h * D, r, cos ? cos + angles : NULL, cos ? sin + angles : NULL, D);
        }
    }
}

void OP_TABLE(qk_backward)(Stream *s, const QkBackward *args) {
    (void)s;
    const HeadsShape *a = &args->shape;
    elem *dx = args->dx;                           // HeadsShape
    const elem *y = args->y;                       // HeadsShape
    const real *rstd = args->rstd;                 // (B, T, n_heads)
    const real *cos = args->cos, *sin = args->sin; // (context, D / 2)
    int D = a->head_dim, half = D / 2;
    int64_t N = (int64_t)a->B * a->T;
#pragma omp parallel for schedule(static) if (N * a->n_heads * D > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++) {
        int64_t angles = (a->pos_offset + i % a->T) * half, begin = i / a->T * a->batch + i % a->T * a->row;
        for (int h = 0; h < a->n_heads; h++) {
            int64_t head = begin + h * D;
            real mean = rstd ? mean_product(dx + head, y + head, D) : 0;
            normalize_and_rotate_backward(dx + head, rstd ? y + head : NULL, rstd ? rstd[i * a->n_heads + h] : 1,
                                          mean, cos ? cos + angles : NULL, cos ? sin + angles : NULL, D);
        }
    }
}
