// GEMM tiles of bf16 by BFMMLA: 12 x 32 of C, 12 x 8 at a time in 24 registers. BFMMLA adds the product of (2, 4) and
// (4, 2) numbers to a square of 2 x 2 sums, which a register holds row by row.
#include "device/cpu/gemm_bf16.h"

#if defined(__aarch64__)
#include "base/integers.h"

#include <arm_neon.h>

// FOUR: numbers along the depth of an operand. COLS: columns of C at a time.
enum { ROWS = 12, COLS = 8, FOUR = 4, ROW_PAIRS = ROWS / 2, COL_PAIRS = COLS / 2 };

// Where x (depth, n) is: element (p, r) is from[p * ld + r] or, if lines are contiguous along the depth, from[r * ld
// + p].
typedef struct {
    const Bf16 *from;
    int64_t ld, n, depth;
    bool along_depth;
} Lines;

// Rows [p, p + FOUR) of x, all of which exist, of columns [0, width) to (width, FOUR).
static inline __attribute__((always_inline)) void pack_full(Bf16 *restrict to, const Lines *x, int64_t p,
                                                            const int width) {
    if (x->along_depth)
        for (int r = 0; r < width; r++) memcpy(to + r * FOUR, x->from + r * x->ld + p, FOUR * sizeof *to);
    else
        for (int r = 0; r < width; r += FOUR) {
            const uint16_t *from = (const uint16_t *)(x->from + p * x->ld + r);
            const uint16x4x4_t rows = {
                {vld1_u16(from), vld1_u16(from + x->ld), vld1_u16(from + 2 * x->ld), vld1_u16(from + 3 * x->ld)}};
            vst4_u16((uint16_t *)to + r * FOUR, rows);
        }
}

// The same as far as they exist, and otherwise zeros.
static void pack_edge(Bf16 *restrict to, const Lines *x, int64_t p, int width) {
    for (int r = 0; r < width; r++)
        for (int i = 0; i < FOUR; i++) {
            int64_t at = x->along_depth ? r * x->ld + p + i : (p + i) * x->ld + r;
            to[r * FOUR + i] = r < x->n && p + i < x->depth ? x->from[at] : (Bf16){0};
        }
}

// Packs x (depth, width) into (depth / FOUR, width, FOUR), zero-padded to whole steps.
static inline __attribute__((always_inline)) void pack_fours(Bf16 *restrict to, Lines x, const int width) {
    for (int64_t p = 0; p < round_up(x.depth, BF16_STEP); p += FOUR, to += width * FOUR)
        if (x.n >= width && p + FOUR <= x.depth) pack_full(to, &x, p, width);
        else pack_edge(to, &x, p, width);
}

static void neon_pack_a(void *to, const GemmBf16 *p, int64_t panel, const Bf16Kernel *kernel, int64_t p0,
                        int64_t depth) {
    (void)kernel; // the only one with these panels
    const Gemm *g = p->g;
    int64_t i = panel * ROWS;
    const Bf16 *from = g->transpose_a ? p->a + p0 * g->lda + i : p->a + i * g->lda + p0;
    pack_fours(to, (Lines){from, g->lda, g->m - i, depth, !g->transpose_a}, ROWS);
}

static void neon_pack_b(Bf16 *to, const GemmBf16 *p, int64_t panel, int64_t p0, int64_t depth) {
    const Gemm *g = p->g;
    int64_t end = (panel + 1) * BF16_COLS, size = round_up(depth, BF16_STEP) * COLS;
    for (int64_t j = panel * BF16_COLS; j < end; j += COLS, to += size) {
        const Bf16 *from = g->transpose_b ? p->b + j * g->ldb + p0 : p->b + p0 * g->ldb + j;
        pack_fours(to, (Lines){from, g->ldb, g->n - j, depth, g->transpose_b}, COLS);
    }
}

static void neon_store_tile(const GemmBf16 *p, const float *tile, int64_t i, int rows, int64_t j) {
    for (int r = 0; r < rows && i + r < p->g->m; r++)
        bf16_store_row(p, tile + r * BF16_COLS, (float)p->g->alpha, i + r, j, BF16_COLS);
}

static inline bfloat16x8_t load(const Bf16 *from) {
    return vld1q_bf16((const bfloat16_t *)from);
}

// tile (ROWS, COLS), row stride BF16_COLS, = (or, if add, +=) A B, `fours` times FOUR deep.
static void multiply_columns(float *tile, const Bf16 *a, const Bf16 *b, int64_t fours, bool add) {
    float32x4_t sum[ROW_PAIRS][COL_PAIRS];
#pragma GCC unroll 6
    for (int r = 0; r < ROW_PAIRS; r++)
#pragma GCC unroll 4
        for (int c = 0; c < COL_PAIRS; c++) {
            const float *upper = tile + 2 * r * BF16_COLS + 2 * c;
            sum[r][c] = add ? vcombine_f32(vld1_f32(upper), vld1_f32(upper + BF16_COLS)) : vdupq_n_f32(0);
        }
    for (; fours > 0; fours--, a += ROWS * FOUR, b += COLS * FOUR) {
        bfloat16x8_t columns[COL_PAIRS];
#pragma GCC unroll 4
        for (int c = 0; c < COL_PAIRS; c++) columns[c] = load(b + c * 2 * FOUR);
#pragma GCC unroll 6
        for (int r = 0; r < ROW_PAIRS; r++) {
            if (r == ROW_PAIRS / 2) __asm__ volatile("" ::: "memory"); // or gcc loads all operands first
            bfloat16x8_t rows = load(a + r * 2 * FOUR);
#pragma GCC unroll 4
            for (int c = 0; c < COL_PAIRS; c++) sum[r][c] = vbfmmlaq_f32(sum[r][c], rows, columns[c]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < ROW_PAIRS; r++)
#pragma GCC unroll 4
        for (int c = 0; c < COL_PAIRS; c++) {
            float *upper = tile + 2 * r * BF16_COLS + 2 * c;
            vst1_f32(upper, vget_low_f32(sum[r][c]));
            vst1_f32(upper + BF16_COLS, vget_high_f32(sum[r][c]));
        }
}

static void mmla_multiply(float *tile, const void *a, const Bf16 *b, int64_t steps, bool add) {
    for (int j = 0; j < BF16_COLS; j += COLS, b += steps * BF16_STEP * COLS)
        multiply_columns(tile + j, a, b, steps * (BF16_STEP / FOUR), add);
}

static double mmla_peak_loop(int64_t iterations) {
    enum { SUMS = ROW_PAIRS * COL_PAIRS };
    float32x4_t sum[SUMS];
    uint16x8_t bits = vdupq_n_u16(0x3F80);
    __asm__("" : "+w"(bits)); // gcc 12 would make a constant of bf16 ones as if it were fp16
    bfloat16x8_t ones = vreinterpretq_bf16_u16(bits);
#pragma GCC unroll 24
    for (int i = 0; i < SUMS; i++) sum[i] = vdupq_n_f32((float)i);
    for (int64_t n = 0; n < iterations; n++)
#pragma GCC unroll 24
        for (int i = 0; i < SUMS; i++) sum[i] = vbfmmlaq_f32(sum[i], ones, ones);
#pragma GCC unroll 24
    for (int i = 1; i < SUMS; i++) sum[0] = vaddq_f32(sum[0], sum[i]);
    volatile float result = vaddvq_f32(sum[0]); // so that the loop is not removed
    (void)result;
    return 2.0 * SUMS * (double)iterations * 2 * 2 * FOUR;
}

const Bf16Kernel bf16_kernel_mmla = {.rows = ROWS,
                                     .pack_a = neon_pack_a,
                                     .pack_b = neon_pack_b,
                                     .store_tile = neon_store_tile,
                                     .multiply = mmla_multiply,
                                     .peak_loop = mmla_peak_loop};
#endif
