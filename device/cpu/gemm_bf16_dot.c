// GEMM tiles of bf16 by AVX512-BF16: 12 x 32 of C in 24 registers.
#include "device/cpu/gemm_bf16.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { ROWS = 12, LANES = 16 };

static void dot_multiply(float *tile, const void *panel, const Bf16 *b, int64_t steps, bool add) {
    const Bf16 *a = panel;
    __m512 sum[ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
            sum[r][v] = add ? _mm512_loadu_ps(tile + r * BF16_COLS + v * LANES) : _mm512_setzero_ps();
    for (; steps > 0; steps--, a += ROWS * BF16_STEP)
        for (int pair = 0; pair < BF16_STEP / 2; pair++, b += 2 * BF16_COLS) {
            __m512bh left = (__m512bh)_mm512_loadu_si512(b), right = (__m512bh)_mm512_loadu_si512(b + 2 * LANES);
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; r++) {
                int32_t numbers;
                memcpy(&numbers, a + r * BF16_STEP + 2 * pair, sizeof numbers);
                __m512bh x = (__m512bh)_mm512_set1_epi32(numbers);
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], x, left);
                sum[r][1] = _mm512_dpbf16_ps(sum[r][1], x, right);
            }
        }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) _mm512_storeu_ps(tile + r * BF16_COLS + v * LANES, sum[r][v]);
}

static double dot_peak_loop(int64_t iterations) {
    __m512 sum[2 * ROWS];
    __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3F80);
#pragma GCC unroll 24
    for (int i = 0; i < 2 * ROWS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (int64_t n = 0; n < iterations; n++)
#pragma GCC unroll 24
        for (int i = 0; i < 2 * ROWS; i++) sum[i] = _mm512_dpbf16_ps(sum[i], ones, ones);
#pragma GCC unroll 24
    for (int i = 1; i < 2 * ROWS; i++) sum[0] = _mm512_add_ps(sum[0], sum[i]);
    volatile float result = _mm512_reduce_add_ps(sum[0]); // so that the loop is not removed
    (void)result;
    return 2.0 * ROWS * (double)iterations * 2 * 2 * LANES;
}

const Bf16Kernel bf16_kernel_dot = {.rows = ROWS,
                                    .pack_a = avx512_pack_a,
                                    .pack_b = avx512_pack_b,
                                    .store_tile = avx512_store_tile,
                                    .multiply = dot_multiply,
                                    .peak_loop = dot_peak_loop};
#endif
