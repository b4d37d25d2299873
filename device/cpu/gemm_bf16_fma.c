// GEMM tiles of bf16 by fp32 multiply-adds of AVX-512: 12 x 32 of C in 24 registers. B is widened in registers, for 12
// rows at a time.
#include "device/cpu/gemm_bf16.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { ROWS = 12, LANES = 16, PAIRS = BF16_STEP / 2 };

// sum (ROWS, 32) += x (ROWS) y (32), for a column of a panel of A, whose numbers are BF16_STEP apart.
static inline __attribute__((always_inline)) void add_product(__m512 sum[ROWS][2], const float *x, __m512 left,
                                                              __m512 right) {
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
        __m512 number = _mm512_set1_ps(x[r * BF16_STEP]);
        sum[r][0] = _mm512_fmadd_ps(number, left, sum[r][0]);
        sum[r][1] = _mm512_fmadd_ps(number, right, sum[r][1]);
    }
}

static inline __m512 lower_halves(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}

static inline __m512 upper_halves(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xFFFF0000)));
}

static void fma_multiply(float *tile, const void *panel, const Bf16 *b, int64_t steps, bool add) {
    const float *a = panel;
    __m512 sum[ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
            sum[r][v] = add ? _mm512_loadu_ps(tile + r * BF16_COLS + v * LANES) : _mm512_setzero_ps();
    for (; steps > 0; steps--, a += ROWS * BF16_STEP)
        for (int pair = 0; pair < PAIRS; pair++, b += 2 * BF16_COLS) {
            __m512i left = _mm512_loadu_si512(b), right = _mm512_loadu_si512(b + 2 * LANES);
            add_product(sum, a + pair, lower_halves(left), lower_halves(right));
            add_product(sum, a + PAIRS + pair, upper_halves(left), upper_halves(right));
        }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) _mm512_storeu_ps(tile + r * BF16_COLS + v * LANES, sum[r][v]);
}

const Bf16Kernel bf16_kernel_fma = {.rows = ROWS,
                                    .wide_a = true,
                                    .pack_a = avx512_pack_a,
                                    .pack_b = avx512_pack_b,
                                    .store_tile = avx512_store_tile,
                                    .multiply = fma_multiply};
#endif
