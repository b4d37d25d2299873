// device/cuda/mma_tiles.h - bf16 tiles in shared memory, and their multiplication on tensor cores (mma.m16n8k16).
//
// A tile is a dense (rows, D) matrix whose 16-byte chunks are swizzled within each row: chunk c of row r is stored at
// c ^ (r mod 8), so that one chunk of eight rows, which ldmatrix reads at a time, covers all 32 banks. A warp owns 16
// MT rows of the result. Of every 16 x 8 block of the result, a lane holds elements (lane / 4 + 8 i, 2 (lane mod 4) +
// j) in [2 i + j] (PTX ISA, mma.m16n8k16).
#ifndef POLAR_DEVICE_CUDA_MMA_TILES_H
#define POLAR_DEVICE_CUDA_MMA_TILES_H

#include "device/cuda/kernel.h"
#include "device/cuda/ptx.h"

typedef __nv_bfloat16 bf16;

enum { CHUNK = 8 }; // elements of 16 bytes

// Offset of a chunk of 8 columns in a row of a tile.
template <int D> static __device__ inline int tile_at(int row, int chunk) {
    return row * D + (chunk ^ (row & 7)) * CHUNK;
}

// Offset within a row of chunk k + c: k is even and a compile-time constant, `swizzled` is c < 2, xor-ed with the
// row. Only the lower three bits of k are swizzled, so half of the offsets differ from the other half by a constant.
static __device__ inline int chunk_at(int k, int swizzled) {
    return ((k & 7) ^ swizzled) * CHUNK + (k & ~7) * CHUNK;
}

static __device__ inline uint32_t pack_bf16(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// c (16 MT, 8 NT) += A B^T: A is this warp's rows of a tile, at `a`, B the first 8 NT rows of tile `b`.
template <int D, int MT, int NT>
static __device__ inline void multiply_rows(float (&c)[MT][NT][4], const bf16 *a, const bf16 *b) {
    int lane = lane_index(), swizzle = lane & 7;
    // Order of the four 8 x 8 blocks: of A down, then right; of B (two column blocks of the result) right, then down.
    a += (lane & 15) * D;
    b += ((lane & 7) + (lane >> 4) * 8) * D;
    int a_chunk = (lane >> 4) ^ swizzle, b_chunk = (lane >> 3 & 1) ^ swizzle;
#pragma unroll
    for (int k = 0; k < D / CHUNK; k += 2) {
        uint32_t x[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) ldmatrix_x4(x[m], a + m * 16 * D + chunk_at(k, a_chunk));
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            uint32_t y[4];
            ldmatrix_x4(y, b + n * 8 * D + chunk_at(k, b_chunk));
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_16816(c[m][n], x[m], y[0], y[1]);
                mma_16816(c[m][n + 1], x[m], y[2], y[3]);
            }
        }
    }
}

// The same for tiles that are stored transposed, (16 KT, 128), one row per index of the inner dimension: c += A^T B.
// a and b point to the first columns of A and B in the first row of their tiles, multiples of 64.
template <int KT, int MT, int NT>
static __device__ inline void multiply_columns(float (&c)[MT][NT][4], const bf16 *a, const bf16 *b) {
    constexpr int D = 128;
    static_assert(MT <= 4 && NT <= 8, "the swizzle must stay within the columns");
    int lane = lane_index(), swizzle = lane & 7;
    a += ((lane & 7) + (lane >> 4) * 8) * D;
    b += (lane & 15) * D;
    int a_chunk = (lane >> 3 & 1) ^ swizzle, b_chunk = (lane >> 4) ^ swizzle;
#pragma unroll
    for (int k = 0; k < KT; k++) {
        uint32_t x[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) ldmatrix_x4_trans(x[m], a + k * 16 * D + chunk_at(2 * m, a_chunk));
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            uint32_t y[4];
            ldmatrix_x4_trans(y, b + k * 16 * D + chunk_at(n, b_chunk));
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_16816(c[m][n], x[m], y[0], y[1]);
                mma_16816(c[m][n + 1], x[m], y[2], y[3]);
            }
        }
    }
}

template <int MT, int NT> static __device__ inline void clear(float (&c)[MT][NT][4]) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) c[m][n][i] = 0;
}

#endif
