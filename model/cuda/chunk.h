// model/cuda/chunk.h - what the kernels of the layers share: numbers moved 16 bytes at a time, sums in a fixed tree, grids.
//
// A thread works on chunks of CHUNK<T> neighbours of a row. Where all arrays and rows begin at multiples of 16 bytes
// (`aligned`, found by the host) a chunk is one load or store, elsewhere it goes one by one. Who adds what in which order
// is the same in both cases.
#ifndef POLAR_MODEL_CUDA_CHUNK_H
#define POLAR_MODEL_CUDA_CHUNK_H

#include "device/cuda/check.h"
#include "device/cuda/launch.h"
#include "device/cuda/types.h"

// The type of activations and weights is float or __nv_bfloat16.
template <class T> constexpr int CHUNK = 16 / (int)sizeof(T);

template <class T> struct alignas(16) Packet { T x[CHUNK<T>]; };

// out = the W elements at p; those from `left` on count as zeros and are not read.
template <int W, class T>
static __device__ inline void chunk_load(float (&out)[W], const T *p, int64_t left, bool aligned) {
    if (aligned && left >= W) {
        const Packet<T> *packets = reinterpret_cast<const Packet<T> *>(p);
#pragma unroll
        for (int k = 0; k < W / CHUNK<T>; k++) {
            Packet<T> packet = packets[k];
#pragma unroll
            for (int j = 0; j < CHUNK<T>; j++) out[k * CHUNK<T> + j] = widened(packet.x[j]);
        }
    } else {
#pragma unroll
        for (int j = 0; j < W; j++) out[j] = j < left ? widened(p[j]) : 0.0f;
    }
}

// The W elements at p = in; those from `left` on are not written.
template <int W, class T>
static __device__ inline void chunk_store(T *p, const float (&in)[W], int64_t left, bool aligned) {
    if (aligned && left >= W) {
        Packet<T> *packets = reinterpret_cast<Packet<T> *>(p);
#pragma unroll
        for (int k = 0; k < W / CHUNK<T>; k++) {
            Packet<T> packet;
#pragma unroll
            for (int j = 0; j < CHUNK<T>; j++) narrow_to(packet.x[j], in[k * CHUNK<T> + j]);
            packets[k] = packet;
        }
    } else {
#pragma unroll
        for (int j = 0; j < W; j++)
            if (j < left) narrow_to(p[j], in[j]);
    }
}

// The sums of K numbers over the threads of a row: one warp, or WARPS warps that are the whole block, whose sums are
// added in order by way of `shared` (K WARPS). All threads get the same bits.
template <int WARPS, int K> static __device__ inline void row_sums(float (&x)[K], float *shared) {
#pragma unroll
    for (int k = 0; k < K; k++) x[k] = lanes_sum(x[k], WARP);
    if (WARPS == 1) return;
    if (threadIdx.x % WARP == 0)
        for (int k = 0; k < K; k++) shared[threadIdx.x / WARP * K + k] = x[k];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < K; k++) {
        x[k] = shared[k];
        for (int warp = 1; warp < WARPS; warp++) x[k] += shared[warp * K + k];
    }
    __syncthreads(); // the next call writes there
}

// Parts of `size` that cover n: blocks of a grid, chunks of a row.
static inline int64_t parts_of(int64_t n, int64_t size) {
    return (n + size - 1) / size;
}

static inline unsigned grid_of(int64_t blocks) {
    ASSERT(blocks > 0 && blocks <= INT32_MAX);
    return (unsigned)blocks;
}

// Threads for a row of n chunks: whole warps, no more than `most`.
static inline int row_threads(int64_t chunks, int most) {
    int64_t threads = parts_of(chunks, WARP) * WARP;
    return threads < most ? (int)threads : most;
}

// Whether rows of `row` elements of type T, and all the arrays (NULL: not there), begin at multiples of 16 bytes.
template <class T, class... P> static inline bool all_aligned(int64_t row, const P *...arrays) {
    uintptr_t bits = (uintptr_t)(row * (int64_t)sizeof(T));
    const void *const all[] = {(const void *)arrays...};
    for (const void *p : all) bits |= (uintptr_t)p;
    return bits % 16 == 0;
}

#endif
