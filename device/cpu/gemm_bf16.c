// GEMMs of bf16 matrices: blocks of packed panels (Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication", 2008), or blocks widened to fp32.
#include "device/cpu/gemm_bf16.h"

#include "base/error.h"
#include "base/integers.h"
#include "device/cpu/blas.h"
#include "device/cpu/isa.h"
#include "device/cpu/thread_buffer.h"
#include "device/cpu/threads.h"

#include <omp.h>

// A block of A and one of fp32 sums of C stay in the L2 cache, one of B in the L3 cache, and a panel of B, of at most
// MAX_DEPTH, in the L1 cache while it is multiplied by the panels of A.
enum { MAX_DEPTH = 768, A_BYTES = 1 << 20, B_ELEMENTS = 1 << 21, SUMS = 1 << 18 };

// A block of C: panels [i0, i0 + rows) of A and [j0, j0 + cols) of B; depth [p0, p0 + depth) of them is packed.
typedef struct {
    const Bf16Kernel *kernel;
    const GemmBf16 *p;
    char *a;
    size_t a_panel; // bytes of a panel of A
    Bf16 *b;
    float *sums; // of the tiles of the block, if the depth is split
    int64_t i0, rows, j0, cols, p0, depth;
} Block;

// The tile of panels i of A and j of B lies above the diagonal, and is the mirror image of another.
static bool is_mirrored(const Block *block, int64_t i, int64_t j) {
    return block->p->g->symmetric && (i + 1) * block->kernel->rows <= j * BF16_COLS;
}

static void compute_tile(const Block *block, int64_t i, int64_t j) {
    const Bf16Kernel *kernel = block->kernel;
    int64_t steps = ceil_div(block->depth, BF16_STEP), k = block->p->g->k;
    if (is_mirrored(block, block->i0 + i, block->j0 + j)) return;
    _Alignas(64) float own[BF16_MAX_ROWS * BF16_COLS];
    float *tile = block->depth == k ? own : block->sums + (j * block->rows + i) * kernel->rows * BF16_COLS;
    kernel->multiply(tile, block->a + (size_t)i * block->a_panel, block->b + j * steps * BF16_COLS * BF16_STEP,
                     steps, block->p0 > 0);
    if (block->p0 + block->depth == k)
        kernel->store_tile(block->p, tile, (block->i0 + i) * kernel->rows, kernel->rows,
                           (block->j0 + j) * BF16_COLS);
}

static void compute_block(const Block *block) {
    int64_t tiles = block->rows * block->cols, chunk = max_i64(tiles / (16 * omp_get_num_threads()), 1);
    if (block->kernel->begin) block->kernel->begin();
#pragma omp for schedule(dynamic, chunk)
    for (int64_t t = 0; t < tiles; t++) compute_tile(block, t % block->rows, t / block->rows);
    if (block->kernel->end) block->kernel->end();
}

// Called by every thread of the team: block is its own copy, the memory is shared.
static void multiply(Block block, int64_t max_depth, int64_t block_rows, int64_t block_cols) {
    const GemmBf16 *p = block.p;
    int rows = block.kernel->rows;
    int64_t row_panels = ceil_div(p->g->m, rows), col_panels = ceil_div(p->g->n, BF16_COLS);
    for (block.j0 = 0; block.j0 < col_panels; block.j0 += block_cols)
        for (block.i0 = 0; block.i0 < row_panels; block.i0 += block_rows)
            for (block.p0 = 0; block.p0 == 0 || block.p0 < p->g->k; block.p0 += max_depth) {
                block.depth = min_i64(p->g->k - block.p0, max_depth);
                block.rows = min_i64(row_panels - block.i0, block_rows);
                block.cols = min_i64(col_panels - block.j0, block_cols);
                int64_t size = round_up(block.depth, BF16_STEP);
                block.a_panel = (size_t)(size * rows) * (block.kernel->wide_a ? sizeof(float) : sizeof(Bf16));
                bool keeps_b = block.i0 > 0 && block.depth == p->g->k;
#pragma omp for schedule(static) nowait
                for (int64_t j = 0; j < (keeps_b ? 0 : block.cols); j++)
                    block.kernel->pack_b(block.b + j * size * BF16_COLS, p, block.j0 + j, block.p0, block.depth);
#pragma omp for schedule(static)
                for (int64_t i = 0; i < block.rows; i++)
                    block.kernel->pack_a(block.a + (size_t)i * block.a_panel, p, block.i0 + i, block.kernel,
                                         block.p0, block.depth);
                compute_block(&block);
            }
}

void cpu_gemm_bf16_packed(const Bf16Kernel *kernel, const GemmBf16 *p) {
    const Gemm *g = p->g;
    int64_t pieces = max_i64(ceil_div(g->k, MAX_DEPTH), 1);
    int64_t depth = max_i64(round_up(ceil_div(g->k, pieces), BF16_STEP), BF16_STEP);
    int64_t a_element = (int64_t)(kernel->wide_a ? sizeof(float) : sizeof(Bf16));
    int64_t rows = max_i64(min_i64(A_BYTES / (depth * kernel->rows * a_element), ceil_div(g->m, kernel->rows)), 1);
    int64_t cols = max_i64(min_i64(B_ELEMENTS / (depth * BF16_COLS), ceil_div(g->n, BF16_COLS)), 1);
    int64_t tile = kernel->rows * BF16_COLS, sums = 0;
    if (depth < g->k) cols = max_i64(min_i64(cols, SUMS / (rows * tile)), 1), sums = rows * cols * tile;
    size_t a_bytes = (size_t)(rows * kernel->rows * depth * a_element);
    size_t b_bytes = (size_t)(cols * BF16_COLS * depth) * sizeof(Bf16);
    char *memory = cpu_thread_buffer(a_bytes + b_bytes + (size_t)sums * sizeof(float));
    Block block = {.kernel = kernel,
                   .p = p,
                   .a = memory,
                   .b = (Bf16 *)(void *)(memory + a_bytes),
                   .sums = (float *)(void *)(memory + a_bytes + b_bytes)};
#pragma omp parallel if (g->m * g->n * g->k > 64 * CPU_PARALLEL_MIN && !omp_in_parallel())
    multiply(block, depth, rows, cols);
}

// ---- without bf16 instructions: fp32 GEMMs of widened blocks ----

enum { WIDE_ROWS = 512, WIDE_COLS = 1024, WIDE_DEPTH = 1024 };

// to (rows, cols) = from, whose row stride is ld.
static void widen(float *to, const Bf16 *from, int64_t ld, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > CPU_PARALLEL_MIN && !omp_in_parallel())
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) to[i * cols + j] = bf16_to_float(from[i * ld + j]);
}

// C (m, n) at (i0, j0) = sums (m, n) + beta C_in + bias.
static void store_block(const GemmBf16 *p, const float *sums, int64_t i0, int64_t m, int64_t j0, int64_t n) {
#pragma omp parallel for schedule(static) if (m * n > CPU_PARALLEL_MIN && !omp_in_parallel())
    for (int64_t i = 0; i < m; i++) bf16_store_row(p, sums + i * n, 1, i0 + i, j0, n);
}

// sums (m, n) = alpha op(A) op(B) at (i0, j0); a and b are scratch.
static void multiply_widened(float *sums, float *a, float *b, const GemmBf16 *p, int64_t i0, int64_t m, int64_t j0,
                             int64_t n) {
    const Gemm *g = p->g;
    memset(sums, 0, (size_t)(m * n) * sizeof *sums);
    for (int64_t p0 = 0; p0 < g->k; p0 += WIDE_DEPTH) {
        int64_t k = min_i64(g->k - p0, WIDE_DEPTH);
        if (g->transpose_a) widen(a, p->a + p0 * g->lda + i0, g->lda, k, m);
        else widen(a, p->a + i0 * g->lda + p0, g->lda, m, k);
        if (g->transpose_b) widen(b, p->b + j0 * g->ldb + p0, g->ldb, n, k);
        else widen(b, p->b + p0 * g->ldb + j0, g->ldb, k, n);
        cpu_gemm(TYPE_F32, g->transpose_a, g->transpose_b, m, n, k, g->alpha, a, g->transpose_a ? m : k, b,
                 g->transpose_b ? k : n, 1, sums, n, NULL);
    }
}

void cpu_gemm_bf16_widened(const GemmBf16 *p) {
    const Gemm *g = p->g;
    int64_t rows = min_i64(g->m, WIDE_ROWS), cols = min_i64(g->n, WIDE_COLS), depth = min_i64(g->k, WIDE_DEPTH);
    float *a = cpu_outer_thread_buffer((size_t)(rows * depth + depth * cols + rows * cols) * sizeof *a);
    float *b = a + rows * depth, *sums = b + depth * cols;
    for (int64_t j = 0; j < g->n; j += cols)
        for (int64_t i = 0; i < g->m; i += rows) {
            int64_t m = min_i64(g->m - i, rows), n = min_i64(g->n - j, cols);
            if (g->symmetric && i + m <= j) continue; // the mirror image of another block
            multiply_widened(sums, a, b, p, i, m, j, n);
            store_block(p, sums, i, m, j, n);
        }
}

const Bf16Kernel *cpu_bf16_kernel(void) {
#if defined(__x86_64__)
    static const Bf16Kernel *const kernels[BF16_UNIT_COUNT] = {
        [BF16_FMA] = &bf16_kernel_fma, [BF16_DOT] = &bf16_kernel_dot, [BF16_AMX] = &bf16_kernel_amx};
    return kernels[cpu_bf16_unit()];
#elif defined(__aarch64__)
    return cpu_bf16_unit() == BF16_MMLA ? &bf16_kernel_mmla : NULL;
#else
    return NULL;
#endif
}

void cpu_gemm_bf16(const GemmBf16 *p) {
    const Bf16Kernel *kernel = cpu_bf16_kernel();
    if (kernel) cpu_gemm_bf16_packed(kernel, p);
    else cpu_gemm_bf16_widened(p);
}
