// model/cuda/attention_tiles.h - tile operations (device/cuda/mma_tiles.h) of the attention kernels: loading and
// storing rows, and matrix products whose left operand is in registers. Two adjacent 16 x 8 blocks of an mma result,
// rounded to bf16, have the register layout of a left operand, so scores feed the next product without shared memory.
#ifndef POLAR_MODEL_CUDA_ATTENTION_TILES_H
#define POLAR_MODEL_CUDA_ATTENTION_TILES_H

#include "device/cuda/mma_tiles.h"

// Returns true if an array and its strides allow 16-byte accesses.
static inline bool rows_aligned(const bf16 *x, int64_t row, int64_t batch) {
    return aligned_16((row | batch) * sizeof(bf16), x);
}

// Offset in elements, from the tile's first, of what this thread copies: its first row and its 16-byte chunk of every
// row. A kernel that loops over tiles includes it in its running offset, which saves a register pair.
template <int D> static __device__ inline int64_t thread_start(int64_t stride) {
    constexpr int CHUNKS = D / CHUNK;
    return static_cast<int>(threadIdx.x) / CHUNKS * stride + static_cast<int>(threadIdx.x) % CHUNKS * CHUNK;
}

// Starts the asynchronous copy of a tile of ROWS rows by all THREADS threads; rows from `count` on become zeros. `from`
// is the tile's first element plus thread_start. If rows are not all 16-byte aligned, copies element by element,
// synchronously.
template <int D, int ROWS, int THREADS>
static __device__ inline void tile_load_part(bf16 *tile, const bf16 *from, int64_t stride, int count,
                                             bool aligned) {
    constexpr int CHUNKS = D / CHUNK, STEP = THREADS / CHUNKS;
    static_assert(THREADS % CHUNKS == 0 && STEP % 8 == 0 && ROWS % STEP == 0, "a thread keeps its column");
    int row = static_cast<int>(threadIdx.x) / CHUNKS, chunk = static_cast<int>(threadIdx.x) % CHUNKS;
    bf16 *to = tile + tile_at<D>(row, chunk);
    if (aligned) {
#pragma unroll
        for (int i = 0; i < ROWS; i += STEP, from += STEP * stride)
            cp_async_16(to + i * D, from, row + i < count ? 16 : 0);
    } else {
#pragma unroll 1
        for (int i = 0; i < ROWS; i += STEP, from += STEP * stride)
#pragma unroll 1
            for (int e = 0; e < CHUNK; e++) to[i * D + e] = row + i < count ? from[e] : __float2bfloat16(0);
    }
}

// The same for a tile that is loaded once: `from` is its first element.
template <int D, int ROWS, int THREADS>
static __device__ inline void tile_load(bf16 *tile, const bf16 *from, int64_t stride, int count, bool aligned) {
    tile_load_part<D, ROWS, THREADS>(tile, from + thread_start<D>(stride), stride, count, aligned);
}

// c (16 MT, D) += W B. W (16 MT, 16 KT) is bf16 in registers, B the first 16 KT rows of tile `b`.
template <int D, int MT, int KT>
static __device__ inline void multiply_weights(float (&c)[MT][D / 8][4], const uint32_t (&w)[MT][KT][4],
                                               const bf16 *b) {
    int lane = lane_index(), chunk = (lane >> 4) ^ (lane & 7);
    b += (lane & 15) * D;
#pragma unroll
    for (int k = 0; k < KT; k++)
#pragma unroll
        for (int n = 0; n < D / CHUNK; n += 2) {
            uint32_t y[4];
            ldmatrix_x4_trans(y, b + k * 16 * D + chunk_at(n, chunk));
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_16816(c[m][n], w[m][k], y[0], y[1]);
                mma_16816(c[m][n + 1], w[m][k], y[2], y[3]);
            }
        }
}

template <int NT> static __device__ inline void round_weights(uint32_t (&w)[NT / 2][4], const float (&c)[NT][4]) {
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) w[n / 2][n % 2 * 2 + i] = pack_bf16(c[n][2 * i], c[n][2 * i + 1]);
}

// Stores the first `count` of the warp's rows: c times factor[m][i] for row 16 m + lane / 4 + 8 i. Staged through
// `tile`, the warp's own rows of a tile that is no longer needed, for 16-byte stores.
template <int D, int MT>
static __device__ inline void store_rows(bf16 *to, int64_t stride, int count, const float (&c)[MT][D / 8][4],
                                         const float (&factor)[MT][2], bf16 *tile, bool aligned) {
    constexpr int CHUNKS = D / CHUNK;
    int lane = lane_index();
    __syncwarp();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                uint32_t pair = pack_bf16(c[m][n][2 * i] * factor[m][i], c[m][n][2 * i + 1] * factor[m][i]);
                *reinterpret_cast<uint32_t *>(tile + tile_at<D>(16 * m + lane / 4 + 8 * i, n) + lane % 4 * 2) =
                    pair;
            }
    __syncwarp();
#pragma unroll 4
    for (int i = lane; i < 16 * MT * CHUNKS; i += WARP) {
        int row = i / CHUNKS, chunk = i % CHUNKS;
        if (row >= count) break;
        const bf16 *from = tile + tile_at<D>(row, chunk);
        bf16 *at = to + row * stride + chunk * CHUNK;
        if (aligned) {
            *reinterpret_cast<uint4 *>(at) = *reinterpret_cast<const uint4 *>(from);
        } else {
            for (int e = 0; e < CHUNK; e++) at[e] = from[e];
        }
    }
}

#endif
