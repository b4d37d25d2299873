// Packing of bf16 operands and storing of tiles of C, with AVX-512.
#include "device/cpu/gemm_bf16.h"

#include "base/error.h"
#include "base/integers.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { PAIRS = BF16_STEP / 2, LANES = 16 };

// Transposes 16 x 16 numbers of 32 bits.
static inline void transpose_16x16(__m512i x[16]) {
    __m512i y[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
        y[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xDD);
        y[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xDD);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
        x[i + 4] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0x88);
        x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xDD);
        x[i + 12] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0xDD);
    }
}

// A mask of the first n of `width` elements, n of any sign.
static inline uint32_t first(int64_t n, int width) {
    return n <= 0 ? 0 : n >= width ? (uint32_t)((1ull << width) - 1) : (uint32_t)((1ull << n) - 1);
}

// Lines are contiguous along the depth: 16 of them, of which `n` exist, `depth` numbers of one step each.
static inline void load_lines(__m512i x[16], const Bf16 *from, int64_t ld, int64_t n, int64_t depth) {
    __mmask32 mask = first(depth, BF16_STEP);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        x[i] = i < n ? _mm512_maskz_loadu_epi16(mask, from + i * ld) : _mm512_setzero_si512();
}

// Lines are across the depth: the 16 pairs of a step for 16 rows or columns, of which `n` exist.
static inline void load_pairs(__m512i x[16], const Bf16 *from, int64_t ld, int64_t n, int64_t depth) {
    __mmask16 mask = (__mmask16)first(n, LANES);
#pragma GCC unroll 16
    for (int i = 0; i < PAIRS; i++) {
        __m256i low = _mm256_setzero_si256(), high = low;
        if (2 * i < depth) low = _mm256_maskz_loadu_epi16(mask, from + 2 * i * ld);
        if (2 * i + 1 < depth) high = _mm256_maskz_loadu_epi16(mask, from + (2 * i + 1) * ld);
        x[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
    }
}

void avx512_pack_a(void *panel_of_a, const GemmBf16 *p, int64_t panel, const Bf16Kernel *kernel, int64_t p0,
                   int64_t depth) {
    const Gemm *g = p->g;
    int rows = kernel->rows;
    int64_t i0 = panel * rows, m = min_i64(g->m - i0, rows);
    char *to = panel_of_a;
    size_t line = (size_t)BF16_STEP * (kernel->wide_a ? sizeof(float) : sizeof(Bf16));
    for (int64_t d = 0; d < depth; d += BF16_STEP, to += (size_t)rows * line)
        for (int r = 0; r < rows; r += 16) {
            __m512i x[16];
            if (g->transpose_a) {
                load_pairs(x, p->a + (p0 + d) * g->lda + i0 + r, g->lda, m - r, depth - d);
                transpose_16x16(x);
            } else load_lines(x, p->a + (i0 + r) * g->lda + p0 + d, g->lda, m - r, depth - d);
            int count = min_int(rows - r, 16);
            for (int i = 0; i < count; i++) {
                char *at = to + (size_t)(r + i) * line;
                if (kernel->wide_a) {
                    _mm512_storeu_si512(at, _mm512_slli_epi32(x[i], 16));
                    _mm512_storeu_si512(at + 64, _mm512_and_si512(x[i], _mm512_set1_epi32((int)0xFFFF0000)));
                } else _mm512_storeu_si512(at, x[i]);
            }
        }
}

void avx512_pack_b(Bf16 *to, const GemmBf16 *p, int64_t panel, int64_t p0, int64_t depth) {
    const Gemm *g = p->g;
    int64_t j0 = panel * BF16_COLS, n = min_i64(g->n - j0, BF16_COLS);
    for (int64_t d = 0; d < depth; d += BF16_STEP, to += BF16_STEP * BF16_COLS)
        for (int c = 0; c < BF16_COLS; c += LANES) {
            __m512i x[16];
            if (g->transpose_b) {
                load_lines(x, p->b + (j0 + c) * g->ldb + p0 + d, g->ldb, n - c, depth - d);
                transpose_16x16(x);
            } else load_pairs(x, p->b + (p0 + d) * g->ldb + j0 + c, g->ldb, n - c, depth - d);
#pragma GCC unroll 16
            for (int i = 0; i < PAIRS; i++) _mm512_storeu_si512(to + (i * BF16_COLS + c) * 2, x[i]);
        }
}

// Rounds to bf16, to nearest even; NaN stays NaN.
static inline __m256i rounded(__m512 x) {
    __m512i bits = _mm512_castps_si512(x),
            odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
    __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(64));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(up, nan, quiet));
}

// Elements [at, at + 16) of an array of fp32 or bf16, as far as the mask says.
static inline __m512 load(const void *x, Type type, int64_t at, __mmask16 mask) {
    if (type == TYPE_F32) return _mm512_maskz_loadu_ps(mask, (const float *)x + at);
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, (const Bf16 *)x + at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

static inline void store(void *x, Type type, int64_t at, __mmask16 mask, __m512 y) {
    if (type == TYPE_F32) _mm512_mask_storeu_ps((float *)x + at, mask, y);
    else _mm256_mask_storeu_epi16((Bf16 *)x + at, mask, rounded(y));
}

void avx512_store_tile(const GemmBf16 *p, const float *tile, int64_t i, int rows, int64_t j) {
    const Gemm *g = p->g;
    __m512 alpha = _mm512_set1_ps((float)g->alpha), beta = _mm512_set1_ps((float)g->beta);
    for (int r = 0; r < rows && i + r < g->m; r++) {
        int64_t row = i + r, n = min_i64(g->n - j, BF16_COLS);
        if (g->symmetric) n = min_i64(n, row - j + 1);
        for (int c = 0; c < n; c += LANES) {
            __mmask16 mask = (__mmask16)first(n - c, LANES);
            int64_t at = row * g->ldc + j + c;
            __m512 y = _mm512_mul_ps(alpha, _mm512_loadu_ps(tile + r * BF16_COLS + c));
            if (g->bias) y = _mm512_add_ps(y, load(g->bias, g->c_type, j + c, mask));
            if (g->beta != 0) y = _mm512_fmadd_ps(beta, load(p->c_in, g->c_type, at, mask), y);
            store(p->c, g->c_type, at, mask, y);
        }
        if (g->symmetric && n > 0) bf16_mirror_row(p, row, j, min_i64(n, row - j));
    }
}
#endif
