// device/cuda/mma_tiles.h - tiles of bf16 rows in shared memory and their product on the tensor cores.
//
// A tile is (rows, D), dense, its 16-byte chunks exchanged within a row: chunk c of row r stands at c ^ (r mod 8), so that
// one chunk of eight rows, which is what ldmatrix reads at a time, lies in all 32 banks. A warp owns 16 MT rows of a
// product. A lane of it holds, of every 16 x 8 block of the result, the elements (lane / 4 + 8 i, 2 (lane mod 4) + j) as
// [2 i + j] (PTX ISA, mma.m16n8k16).
#ifndef POLAR_DEVICE_CUDA_MMA_TILES_H
#define POLAR_DEVICE_CUDA_MMA_TILES_H

#include "device/cuda/kernel.h"
#include "device/cuda/ptx.h"

typedef __nv_bfloat16 bf16;

enum { CHUNK = 8 }; // elements of 16 bytes

// Where an element of a tile stands: the row, and the chunk of 8 columns.
template <int D> static __device__ inline int tile_at(int row, int chunk) {
    return row * D + (chunk ^ (row & 7)) * CHUNK;
}

// The offset, in a row, of chunk k + c of it: k even and known to the compiler, c < 2 already exchanged. Only the lower
// three bits of k matter: half of the offsets are constants from the other half.
static __device__ inline int chunk_at(int k, int exchanged) {
    return ((k & 7) ^ exchanged) * CHUNK + (k & ~7) * CHUNK;
}

static __device__ inline uint32_t pack_bf16(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// c (16 MT, 8 NT) += A B^T, A the rows of tile `a` that this warp owns, B the first 8 NT rows of tile `b`.
template <int D, int MT, int NT>
static __device__ inline void multiply_rows(float (&c)[MT][NT][4], const bf16 *a, const bf16 *b) {
    int lane = lane_index(), swizzle = lane & 7;
    // The four 8 x 8 blocks of A are taken down, then right; those of B (two of the result's columns) right, then down.
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

// The same of tiles that are stored transposed, (16 KT, 128) with a row for each of the inner dimension: c += A^T B, A and
// B the columns from a tile's column on, a multiple of 64, that a and b point to.
template <int KT, int MT, int NT>
static __device__ inline void multiply_columns(float (&c)[MT][NT][4], const bf16 *a, const bf16 *b) {
    constexpr int D = 128;
    static_assert(MT <= 4 && NT <= 8, "columns whose chunks are exchanged among themselves");
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
