// The results of bf16 GEMMs: scaled, added to C and a bias, rounded and mirrored. Portable loops over one type each,
// which the compiler turns into vectors.
#include "device/cpu/gemm_bf16.h"

#include "base/integers.h"

// y (n) += scale * elements [at, at + n) of an array of fp32 or bf16.
static inline void add_scaled(float *restrict y, float scale, const void *x, Type type, int64_t at, int64_t n) {
    const float *floats = x;
    const Bf16 *halves = x;
    if (type == TYPE_F32)
        for (int64_t j = 0; j < n; j++) y[j] += scale * floats[at + j];
    else
        for (int64_t j = 0; j < n; j++) y[j] += scale * bf16_to_float(halves[at + j]);
}

static inline void store(void *x, Type type, int64_t at, const float *restrict y, int64_t n) {
    Bf16 *halves = x;
    if (type == TYPE_F32) memcpy((float *)x + at, y, (size_t)n * sizeof *y);
    else
        for (int64_t j = 0; j < n; j++) halves[at + j] = bf16_from_float(y[j]);
}

void bf16_mirror_row(const GemmBf16 *p, int64_t row, int64_t col, int64_t n) {
    const Gemm *g = p->g;
    for (int64_t j = col; j < col + n; j++) {
        int64_t from = row * g->ldc + j, to = j * g->ldc + row;
        if (g->c_type == TYPE_F32) ((float *)p->c)[to] = ((float *)p->c)[from];
        else ((Bf16 *)p->c)[to] = ((Bf16 *)p->c)[from];
    }
}

void bf16_store_row(const GemmBf16 *p, const float *x, float alpha, int64_t i, int64_t j, int64_t n) {
    const Gemm *g = p->g;
    n = min_i64(n, (g->symmetric ? i + 1 : g->n) - j);
    for (int64_t done = 0; done < n; done += BF16_COLS) {
        float y[BF16_COLS];
        int64_t count = min_i64(n - done, BF16_COLS), at = i * g->ldc + j + done;
        for (int64_t q = 0; q < count; q++) y[q] = alpha * x[done + q];
        if (g->bias) add_scaled(y, 1, g->bias, g->c_type, j + done, count);
        if (g->beta != 0) add_scaled(y, (float)g->beta, p->c_in, g->c_type, at, count);
        store(p->c, g->c_type, at, y, count);
    }
    if (g->symmetric && n > 0) bf16_mirror_row(p, i, j, min_i64(n, i - j));
}
