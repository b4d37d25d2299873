// GEMM tiles of bf16 by AMX: 32 x 32 of C in four tile registers, two of A and two of B.
#include "device/cpu/gemm_bf16.h"

#if defined(__x86_64__)
#if !defined(AMX_MODEL)
#include <immintrin.h>
#endif

enum { TILE_ROWS = 16, A_STRIDE = BF16_STEP * sizeof(Bf16), B_STRIDE = BF16_COLS * 2 * sizeof(Bf16) };
enum { C_STRIDE = BF16_COLS * sizeof(float) };

// The operand of LDTILECFG (palette 1): 8 tiles of 16 rows of 64 bytes.
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileConfig;

static void amx_begin(void) {
    TileConfig config = {.palette = 1};
    for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = TILE_ROWS;
    _tile_loadconfig(&config);
}

static void amx_end(void) {
    _tile_release();
}

// Tiles 0 to 3 are quarters of C, 4 and 5 the upper and lower rows of A, 6 and 7 the left and right columns of B.
static void amx_multiply(float *tile, const void *panel, const Bf16 *b, int64_t steps, bool add) {
    const Bf16 *a = panel;
    float *lower = tile + TILE_ROWS * BF16_COLS;
    if (add) {
        _tile_loadd(0, tile, C_STRIDE);
        _tile_loadd(1, tile + 16, C_STRIDE);
        _tile_loadd(2, lower, C_STRIDE);
        _tile_loadd(3, lower + 16, C_STRIDE);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (; steps > 0; steps--, a += 32 * BF16_STEP, b += BF16_STEP * BF16_COLS) {
        _tile_loadd(6, b, B_STRIDE);
        _tile_loadd(4, a, A_STRIDE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 32, B_STRIDE);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + TILE_ROWS * BF16_STEP, A_STRIDE);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, tile, C_STRIDE);
    _tile_stored(1, tile + 16, C_STRIDE);
    _tile_stored(2, lower, C_STRIDE);
    _tile_stored(3, lower + 16, C_STRIDE);
}

static double amx_peak_loop(int64_t iterations) {
    amx_begin();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int64_t i = 0; i < iterations; i++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    amx_end();
    return 4.0 * (double)iterations * 2 * TILE_ROWS * 16 * BF16_STEP;
}

const Bf16Kernel bf16_kernel_amx = {.rows = 32,
                                    .pack_a = avx512_pack_a,
                                    .pack_b = avx512_pack_b,
                                    .store_tile = avx512_store_tile,
                                    .begin = amx_begin,
                                    .end = amx_end,
                                    .multiply = amx_multiply,
                                    .peak_loop = amx_peak_loop};
#endif
