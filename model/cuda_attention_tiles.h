// model/cuda_attention_tiles.h - tiles of bf16 rows in shared memory and their products on the tensor cores, for the
// kernels of attention.
//
// A tile is (rows, D), dense, its 16-byte chunks exchanged within a row: chunk c of row r stands at c ^ (r mod 8), so that
// one chunk of eight rows, which is what ldmatrix reads at a time, lies in all 32 banks. A warp owns 16 MT rows of a
// product. A lane of it holds, of every 16 x 8 block of the result, the elements (lane / 4 + 8 i, 2 (lane mod 4) + j) as
// [2 i + j] (PTX ISA, mma.m16n8k16); a result of two blocks side by side is, rounded to bf16, the left operand
// of the next product.
#ifndef POLAR_MODEL_CUDA_ATTENTION_TILES_H
#define POLAR_MODEL_CUDA_ATTENTION_TILES_H

#include "device/cuda_kernel.h"
#include "device/cuda_ptx.h" // defines: mma, ldmatrix, cp.async

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

// Where a thread's part of a tile begins, in elements after the tile's first: its first row, and the chunk that it copies
// of every row. A kernel that walks over tiles has it in its running offset, and so keeps one register pair, not two.
template <int D> static __device__ inline int64_t thread_start(int64_t stride) {
    constexpr int CHUNKS = D / CHUNK;
    return (int)threadIdx.x / CHUNKS * stride + (int)threadIdx.x % CHUNKS * CHUNK;
}

// Starts the copy of a tile of ROWS rows of which `count` exist (the others become zeros) by all THREADS threads; `from` is
// the tile's first element plus thread_start. Without `aligned` (16 bytes, all rows) it copies by elements at once.
template <int D, int ROWS, int THREADS>
static __device__ inline void tile_load_part(bf16 *tile, const bf16 *from, int64_t stride, int count,
                                             bool aligned) {
    constexpr int CHUNKS = D / CHUNK, STEP = THREADS / CHUNKS;
    static_assert(THREADS % CHUNKS == 0 && STEP % 8 == 0 && ROWS % STEP == 0, "a thread keeps its column");
    int row = (int)threadIdx.x / CHUNKS, chunk = (int)threadIdx.x % CHUNKS;
    bf16 *to = tile + tile_at<D>(row, chunk);
    if (aligned) {
#pragma unroll
        for (int i = 0; i < ROWS; i += STEP, from += STEP * stride) cp_async_16(to + i * D, from, row + i < count);
    } else {
#pragma unroll 1
        for (int i = 0; i < ROWS; i += STEP, from += STEP * stride)
#pragma unroll 1
            for (int e = 0; e < CHUNK; e++) to[i * D + e] = row + i < count ? from[e] : __float2bfloat16(0);
    }
}

// The same of a tile that is loaded once: `from` is its first element.
template <int D, int ROWS, int THREADS>
static __device__ inline void tile_load(bf16 *tile, const bf16 *from, int64_t stride, int count, bool aligned) {
    tile_load_part<D, ROWS, THREADS>(tile, from + thread_start<D>(stride), stride, count, aligned);
}

// c (16 MT, 8 NT) += A B^T, A the rows of tile `a` that this warp owns, B the first 8 NT rows of tile `b`.
template <int D, int MT, int NT>
static __device__ inline void multiply_rows(float (&c)[MT][NT][4], const bf16 *a, const bf16 *b) {
    int lane = (int)threadIdx.x % 32, swizzle = lane & 7;
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

// c (16 MT, D) += W B, W (16 MT, 16 KT) rounded to bf16 in registers, B the first 16 KT rows of tile `b`.
template <int D, int MT, int KT>
static __device__ inline void multiply_weights(float (&c)[MT][D / 8][4], const uint32_t (&w)[MT][KT][4],
                                               const bf16 *b) {
    int lane = (int)threadIdx.x % 32, chunk = (lane >> 4) ^ (lane & 7);
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

template <int MT, int NT> static __device__ inline void clear(float (&c)[MT][NT][4]) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) c[m][n][i] = 0;
}

// The warp's rows, of which `count` are to be written, to memory: c times factor[m][i] for row 16 m + lane / 4 + 8 i.
// They pass through `tile`, the warp's own rows of a tile that it does not need any more, to be written by 16 bytes.
template <int D, int MT>
static __device__ inline void store_rows(bf16 *to, int64_t stride, int count, const float (&c)[MT][D / 8][4],
                                         const float (&factor)[MT][2], bf16 *tile, bool aligned) {
    constexpr int CHUNKS = D / CHUNK;
    int lane = (int)threadIdx.x % 32;
    __syncwarp();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                uint32_t pair = pack_bf16(c[m][n][2 * i] * factor[m][i], c[m][n][2 * i + 1] * factor[m][i]);
                *(uint32_t *)(tile + tile_at<D>(16 * m + lane / 4 + 8 * i, n) + lane % 4 * 2) = pair;
            }
    __syncwarp();
#pragma unroll 4
    for (int i = lane; i < 16 * MT * CHUNKS; i += 32) {
        int row = i / CHUNKS, chunk = i % CHUNKS;
        if (row >= count) break;
        const bf16 *from = tile + tile_at<D>(row, chunk);
        bf16 *at = to + row * stride + chunk * CHUNK;
        if (aligned) {
            *(uint4 *)at = *(const uint4 *)from;
        } else {
            for (int e = 0; e < CHUNK; e++) at[e] = from[e];
        }
    }
}

// Whether an array and its strides allow access by 16 bytes.
static inline bool aligned_16(const void *x, int64_t row, int64_t batch) {
    return ((uintptr_t)x | (uintptr_t)(row * 2) | (uintptr_t)(batch * 2)) % 16 == 0;
}

#endif
