// device/cuda/kernel.h - building blocks of kernels: vectorized loads and stores, deterministic warp and block
// reductions, launch dimensions and grid-stride loops. For .cu files.
//
// The order of every sum depends on shapes only, neither on scheduling nor on alignment: an unaligned array is loaded
// and stored element by element by the same threads.
#ifndef POLAR_DEVICE_CUDA_KERNEL_H
#define POLAR_DEVICE_CUDA_KERNEL_H

#include "base/error.h"
#include "base/integers.h"
#include "device/cuda/check.h"
#include "device/cuda/launch.h"
#include "device/cuda/types.h"

// ---- vectors ----

// N adjacent elements, moved by 16-byte accesses, or by one smaller access if they have fewer bytes.
template <typename T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack { T at[N]; };

// Elements per 16-byte vector load.
template <typename T> constexpr int PACK = 16 / static_cast<int>(sizeof(T));

// Returns true if the arrays (nullptr is ignored) and their rows are 16-byte aligned: `stride` is the row stride in
// bytes, or the bitwise or of several strides.
template <typename... P> static inline bool aligned_16(size_t stride, const P *...arrays) {
    uintptr_t bits = stride;
    const void *const all[] = {static_cast<const void *>(arrays)...};
    for (const void *p : all) bits |= reinterpret_cast<uintptr_t>(p);
    return bits % 16 == 0;
}

// pack_aligned: true if p is aligned for a Pack<T, N>. can_pack: true if also at least N elements are left.
template <int N, typename T> static __device__ inline bool pack_aligned(const T *p) {
    return reinterpret_cast<uintptr_t>(p) % alignof(Pack<T, N>) == 0;
}
template <int N, typename T> static __device__ inline bool can_pack(const T *p, int64_t left) {
    return left >= N && pack_aligned<N>(p);
}

// Loads and upcasts the N elements at `from`, which must be aligned for a Pack.
template <int N, typename T> static __device__ inline void load_pack(Acc<T> (&out)[N], const T *from) {
    Pack<T, N> pack = *reinterpret_cast<const Pack<T, N> *>(from);
#pragma unroll
    for (int j = 0; j < N; j++) out[j] = widened(pack.at[j]);
}

// Loads element by element; elements from `left` on are not read and become zeros.
template <int N, typename T>
static __device__ inline void load_each(Acc<T> (&out)[N], const T *from, int64_t left) {
#pragma unroll
    for (int j = 0; j < N; j++) out[j] = j < left ? widened(from[j]) : 0;
}

// Rounds to T.
template <int N, typename T> static __device__ inline Pack<T, N> narrowed(const Acc<T> (&in)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; j++) narrow_to(pack.at[j], in[j]);
    return pack;
}

// Stores element by element; elements from `left` on are not written.
template <int N, typename T> static __device__ inline void store_each(T *to, const Pack<T, N> &pack, int64_t left) {
#pragma unroll
    for (int j = 0; j < N; j++)
        if (j < left) to[j] = pack.at[j];
}

// Load and store N elements, or the first `left` of them if fewer. `aligned`, determined by the host: the address is
// aligned for a Pack whenever all N elements exist.
template <int N, typename T>
static __device__ inline void load(Acc<T> (&out)[N], const T *from, int64_t left, bool aligned) {
    if (aligned && left >= N) load_pack(out, from);
    else load_each(out, from, left);
}
template <int N, typename T>
static __device__ inline void store(T *to, const Acc<T> (&in)[N], int64_t left, bool aligned) {
    Pack<T, N> pack = narrowed<N, T>(in);
    if (aligned && left >= N) *reinterpret_cast<Pack<T, N> *>(to) = pack;
    else store_each(to, pack, left);
}

// The same with a per-thread alignment check. They do not call the functions above, as that compiles to 5 % more
// instructions.
template <int N, typename T> static __device__ inline void load(Acc<T> (&out)[N], const T *from, int64_t left) {
    if (can_pack<N>(from, left)) load_pack(out, from);
    else load_each(out, from, left);
}
template <int N, typename T> static __device__ inline void store(T *to, const Acc<T> (&in)[N], int64_t left) {
    Pack<T, N> pack = narrowed<N, T>(in);
    if (can_pack<N>(to, left)) *reinterpret_cast<Pack<T, N> *>(to) = pack;
    else store_each(to, pack, left);
}

// ---- threads and grids ----

static __device__ inline int lane_index() {
    return static_cast<int>(threadIdx.x % WARP);
}
static __device__ inline int warp_index() { // within the block
    return static_cast<int>(threadIdx.x / WARP);
}

// Grid-stride loop: for (int64_t i = grid_thread(); i < n; i += grid_threads()).
static __device__ inline int64_t grid_thread() {
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
static __device__ inline int64_t grid_threads() {
    return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

// Number of blocks for n work items, `per_block` per block, for kernels with a grid-stride loop: at least 1, at most
// 2^30.
static inline unsigned grid_of(int64_t n, int64_t per_block) {
    return static_cast<unsigned>(max_i64(1, min_i64(ceil_div(n, per_block), 1 << 30)));
}

// The same for kernels without a loop: asserts that all blocks fit a grid.
static inline unsigned whole_grid(int64_t n, int64_t per_block = 1) {
    int64_t blocks = ceil_div(n, per_block);
    ASSERT(blocks > 0 && blocks <= INT32_MAX);
    return static_cast<unsigned>(blocks);
}

// Block size for n work items: whole warps, at most `max_threads`.
static inline int block_of(int64_t n, int max_threads) {
    return static_cast<int>(min_i64(round_up(n, WARP), max_threads));
}

// ---- reductions ----

// Sum over groups of `lanes` adjacent lanes (a power of two). All 32 lanes must call it. A butterfly reduction: the
// result is bitwise identical in all lanes of a group.
template <typename F> static __device__ inline F lanes_sum(F x, int lanes) {
    for (int bit = lanes / 2; bit > 0; bit /= 2) x += __shfl_xor_sync(FULL_MASK, x, bit);
    return x;
}
template <typename F> static __device__ inline F warp_sum(F x) {
    return lanes_sum(x, WARP);
}

static __device__ inline float larger(float a, float b) {
    return fmaxf(a, b);
}
// NaN propagates.
static __device__ inline double larger(double a, double b) {
    return b > a || isnan(b) ? b : a;
}

template <typename F> static __device__ inline F lanes_max(F x, int lanes) {
    for (int bit = lanes / 2; bit > 0; bit /= 2) x = larger(x, __shfl_xor_sync(FULL_MASK, x, bit));
    return x;
}
template <typename F> static __device__ inline F warp_max(F x) {
    return lanes_max(x, WARP);
}

// Block reduction: the sum over a block of whole warps, bitwise identical in every thread. `shared` has WARP elements.
template <typename F> static __device__ inline F block_sum(F x, F *shared) {
    x = warp_sum(x);
    if (lane_index() == 0) shared[warp_index()] = x;
    __syncthreads();
    x = warp_sum(lane_index() < static_cast<int>(blockDim.x) / WARP ? shared[lane_index()] : 0);
    __syncthreads(); // shared may now be reused
    return x;
}

// Maximum over a block of whole warps, of non-negative numbers. `shared` has WARP elements.
template <typename F> static __device__ inline F block_max(F x, F *shared) {
    x = warp_max(x);
    if (lane_index() == 0) shared[warp_index()] = x;
    __syncthreads();
    x = warp_max(lane_index() < static_cast<int>(blockDim.x) / WARP ? shared[lane_index()] : 0);
    __syncthreads(); // shared may now be reused
    return x;
}

// Sums of K values over a block of WARPS warps, or with WARPS = 1 over one warp of any block. The warps' sums are
// added in order through `shared` (K WARPS). Bitwise identical in every thread.
template <int WARPS, int K, typename F> static __device__ inline void sums_in_order(F (&x)[K], F *shared) {
#pragma unroll
    for (int k = 0; k < K; k++) x[k] = warp_sum(x[k]);
    if (WARPS == 1) return;
    if (lane_index() == 0)
        for (int k = 0; k < K; k++) shared[warp_index() * K + k] = x[k];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < K; k++) {
        x[k] = shared[k];
        for (int warp = 1; warp < WARPS; warp++) x[k] += shared[warp * K + k];
    }
    __syncthreads(); // shared may now be reused
}

#endif
