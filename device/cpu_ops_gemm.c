// Our own product: packed panels and a kernel whose sums stay in registers (Goto and van de Geijn, "Anatomy of
// high-performance matrix multiplication", 2008). Blocks of C are shared out over the threads and the inner dimension is cut
// at fixed places, so that the order of every sum is fixed.
#include "device/cpu_gemm.h"
#include "device/cpu_vector.h" // defines: MR, NR, tile_product

#include <omp.h>
#include <string.h>

// Rows and columns of the blocks of A (MC, KC) and B (KC, NC) that are packed for the tiles of C: they stay in the
// second-level cache. MC and NC are multiples of MR and NR.
enum { KC = 160, MC = 240, NC = 768 };

// A product by its parts.
typedef struct {
    bool ta, tb;
    int64_t k;
    real alpha, beta;
    const real *a, *b;
    real *c;
    int64_t lda, ldb, ldc;
} Product;

static int64_t min_size(int64_t x, int64_t y) {
    return x < y ? x : y;
}

// One row of every panel: n values, then zeros to the end of the last panel. Panels are `panel` elements apart.
static inline void pack_row(real *restrict to, const real *from, int64_t n, int64_t panel, const int width) {
    int64_t j = 0;
    for (; j + width <= n; j += width, to += panel) memcpy(to, from + j, (size_t)width * sizeof(real));
    for (int64_t i = j; i < n; i++) to[i - j] = from[i];
    for (int64_t i = n; j < n && i < j + width; i++) to[i - j] = 0;
}

// Panels of `width` columns, one after the other, each (depth, width) with what lies beyond n zero, of x (depth, n) at
// `from`, or where `transpose` of x^T.
static inline void pack(real *restrict to, const real *from, int64_t ld, bool transpose, int64_t depth, int64_t n,
                        const int width) {
    for (int64_t p = 0; p < depth && !transpose; p++)
        pack_row(to + p * width, from + p * ld, n, depth * width, width);
    for (int64_t j = 0; j < n && transpose; j += width)
        pack_transposed(to + j * depth, from + j * ld, ld, depth, min_size(n - j, width), width);
}

// c (m, n), at most (MR, NR), = beta c + alpha A B for one panel of each.
static void kernel(real *restrict c, int64_t ldc, int64_t m, int64_t n, real alpha, real beta,
                   const real *restrict a, const real *restrict b, int64_t depth) {
    const real *rows[MR];
    for (int i = 0; i < MR; i++) rows[i] = a + i;
    tile_product(c, ldc, m, n, alpha, beta, rows, MR, b, NR, depth);
}

// Rows [i0, i0 + m) and columns [j0, j0 + n) of C, at most (MC, NC).
static void block(const Product *g, int64_t i0, int64_t m, int64_t j0, int64_t n) {
    real a[MC * KC] __attribute__((aligned(64))), b[KC * NC] __attribute__((aligned(64)));
    for (int64_t p = 0; p < g->k; p += KC) {
        int64_t depth = min_size(g->k - p, KC);
        pack(a, g->a + (g->ta ? p * g->lda + i0 : i0 * g->lda + p), g->lda, !g->ta, depth, m, MR);
        pack(b, g->b + (g->tb ? j0 * g->ldb + p : p * g->ldb + j0), g->ldb, g->tb, depth, n, NR);
        for (int64_t j = 0; j < n; j += NR)
            for (int64_t i = 0; i < m; i += MR)
                kernel(g->c + (i0 + i) * g->ldc + j0 + j, g->ldc, min_size(m - i, MR), min_size(n - j, NR),
                       g->alpha, p == 0 ? g->beta : 1, a + i * depth, b + j * depth, depth);
    }
}

void OP_TABLE(gemm_own)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda,
                        const real *b, int64_t ldb, real beta, real *c, int64_t ldc) {
    Product g = {ta, tb, k, alpha, beta, a, b, c, lda, ldb, ldc};
    if (k == 0)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
    // Blocks enough for the threads; where they are cut does not change a sum.
    int64_t rows = MC, columns = NC;
    while (((m + rows - 1) / rows) * ((n + columns - 1) / columns) < 4 * omp_get_max_threads() && columns > 4 * NR)
        columns /= 2;
    int64_t down = (m + rows - 1) / rows, across = (n + columns - 1) / columns;
#pragma omp parallel for schedule(dynamic, 1) if (m * n * k > 64 * CPU_PARALLEL_MIN && !omp_in_parallel())
    for (int64_t t = 0; t < down * across; t++) {
        int64_t i = t % down * rows, j = t / down * columns;
        block(&g, i, min_size(m - i, rows), j, min_size(n - j, columns));
    }
}
