// The built-in GEMM: packed panels and a register-blocked micro-kernel (Goto and van de Geijn, "Anatomy of
// high-performance matrix multiplication", 2008). All threads pack each panel together and share it; A is packed only
// if it is transposed. Threads split the rows of C, and the inner dimension is split at fixed places, so that every
// sum has a fixed order: the result does not depend on the number of threads.
#include "base/integers.h"
#include "device/cpu/cpu.h"
#include "device/cpu/gemm.h"
#include "device/cpu/thread_buffer.h"
#include "device/cpu/vector.h"

#include <omp.h>
#include <string.h>

// KC: maximum depth of a block. BLOCK: elements of a packed block, which stays in the L2 cache. PACK_ROWS: rows of a
// panel of B that a thread packs at a time. MAX_TILES: row tiles of C that a thread computes at a time.
enum { KC = 512, BLOCK = (1 << 19) / sizeof(real), PACK_ROWS = 64, MAX_TILES = 16 };

// The arguments of a GEMM.
typedef struct {
    bool ta, tb;
    int64_t m, n, k;
    real alpha, beta;
    const real *a, *b, *bias;
    real *c;
    int64_t lda, ldb, ldc;
} GemmArgs;

// Packs rows [p, end) of x (depth, n), which is at `from`, into a panel of `width` columns, zero-padded beyond n.
static inline void pack_panel(real *restrict to, const real *from, int64_t ld, int64_t p, int64_t end, int64_t n,
                              const int width) {
    if (n >= width)
        for (; p < end; p++) memcpy(to + p * width, from + p * ld, (size_t)width * sizeof(real));
    for (; p < end; p++)
        for (int64_t j = 0; j < width; j++) to[p * width + j] = j < n ? from[p * ld + j] : 0;
}

// Packs columns [j0, j0 + n) of rows [p0, p0 + depth) of op(B) into consecutive panels of NR columns.
static void pack_b(real *restrict to, const GemmArgs *g, int64_t p0, int64_t depth, int64_t j0, int64_t n) {
    int64_t pieces = ceil_div(depth, PACK_ROWS);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < ceil_div(n, NR) * pieces; t++) {
        int64_t j = t / pieces * NR, p = t % pieces * PACK_ROWS, end = min_i64(depth, p + PACK_ROWS);
        real *panel = to + j * depth;
        if (g->tb)
            pack_transposed(panel + p * NR, g->b + (j0 + j) * g->ldb + p0 + p, g->ldb, end - p, min_i64(n - j, NR),
                            NR);
        else pack_panel(panel, g->b + p0 * g->ldb + j0 + j, g->ldb, p, end, n - j, NR);
    }
}

// Packs rows [i0, i0 + m) of columns [p0, p0 + depth) of op(A), A transposed, into consecutive panels of MR rows.
static void pack_a(real *restrict to, const GemmArgs *g, int64_t p0, int64_t depth, int64_t i0, int64_t m) {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < m; i += MR)
        pack_panel(to + i * depth, g->a + p0 * g->lda + i0 + i, g->lda, 0, depth, m - i, MR);
}

// A block of C (m, n) at (i0, j0) and its operands: packed B, and packed A or NULL; depth [p0, p0 + depth).
typedef struct {
    const real *a, *b;
    int64_t p0, depth, i0, m, j0, n;
} Block;

// Computes rows [i0, end) of a block.
static void block_rows(const GemmArgs *g, const Block *block, int64_t i0, int64_t end) {
    bool first = block->p0 == 0;
    for (int64_t j = 0; j < block->n; j += NR)
        for (int64_t i = i0; i < end; i += MR) {
            const real *rows[MR];
            int64_t m = min_i64(end - i, MR);
            for (int r = 0; r < MR; r++)
                rows[r] = block->a ? block->a + i * block->depth + r
                                   : g->a + (block->i0 + i + min_i64(r, m - 1)) * g->lda + block->p0;
            micro_kernel(g->c + (block->i0 + i) * g->ldc + block->j0 + j, g->ldc, m, min_i64(block->n - j, NR),
                         g->alpha, first ? g->beta : 1, first && g->bias ? g->bias + block->j0 + j : NULL, rows,
                         block->a ? MR : 1, block->b + j * block->depth, NR, block->depth);
        }
}

static void compute_block(const GemmArgs *g, const Block *block) {
    int64_t tiles = ceil_div(block->m, MR),
            step = min_i64(max_i64(tiles / (16 * omp_get_num_threads()), 1), MAX_TILES);
#pragma omp for schedule(dynamic, 1)
    for (int64_t t = 0; t < ceil_div(tiles, step); t++)
        block_rows(g, block, t * step * MR, min_i64(block->m, (t + 1) * step * MR));
}

// Called by every thread of the team, with the same packing buffers a and b.
static void multiply(const GemmArgs *g, real *a, real *b) {
    int64_t pieces = ceil_div(g->k, KC), depth = ceil_div(g->k, pieces);
    int64_t columns = BLOCK / depth / NR * NR, rows = g->ta ? BLOCK / depth / MR * MR : g->m;
    for (int64_t j = 0; j < g->n; j += columns)
        for (int64_t p = 0; p < g->k; p += depth) {
            Block block = {g->ta ? a : NULL, b, p, min_i64(g->k - p, depth), 0, 0, j, min_i64(g->n - j, columns)};
            pack_b(b, g, p, block.depth, j, block.n);
            for (; block.i0 < g->m; block.i0 += rows) {
                block.m = min_i64(g->m - block.i0, rows);
                if (g->ta) pack_a(a, g, p, block.depth, block.i0, block.m);
                compute_block(g, &block);
            }
        }
}

void OP_TABLE(gemm_builtin)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a,
                            int64_t lda, const real *b, int64_t ldb, real beta, real *c, int64_t ldc,
                            const real *bias) {
    GemmArgs g = {ta, tb, m, n, k, alpha, beta, a, b, bias, c, lda, ldb, ldc};
    if (k == 0)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                c[i * ldc + j] = (beta == 0 ? 0 : beta * c[i * ldc + j]) + (bias ? bias[j] : 0);
    if (k == 0) return;
    real *packed_a = cpu_thread_buffer(2 * BLOCK * sizeof(real)), *packed_b = packed_a + BLOCK;
#pragma omp parallel if (m * n * k > 64 * CPU_PARALLEL_MIN && !omp_in_parallel())
    multiply(&g, packed_a, packed_b);
}
