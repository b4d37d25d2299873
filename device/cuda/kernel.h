// device/cuda/kernel.h - the vocabulary of our kernels: vectors loaded and stored at once, sums over a warp and over a
// block in fixed orders, grids and loops over them. For .cu files.
//
// Who adds what in which order depends on shapes only, neither on how blocks and threads run nor on where arrays stand:
// an array that is not aligned is loaded and stored element by element by the same threads.
#ifndef POLAR_DEVICE_CUDA_KERNEL_H
#define POLAR_DEVICE_CUDA_KERNEL_H

#include "base/error.h"
#include "base/integers.h"
#include "device/cuda/check.h"
#include "device/cuda/launch.h"
#include "device/cuda/types.h"

// ---- vectors ----

// N neighbours in memory, moved by accesses of 16 bytes, or by one where they are fewer bytes.
template <typename T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack { T at[N]; };

// Elements of 16 bytes, which is what a thread loads at once.
template <typename T> constexpr int PACK = 16 / static_cast<int>(sizeof(T));

// Whether the arrays (nullptr: not there) begin at multiples of 16 bytes, and so do their rows: `stride` is the bytes from
// one to the next, or several such distances or-ed together.
template <typename... P> static inline bool aligned_16(size_t stride, const P *...arrays) {
    uintptr_t bits = stride;
    const void *const all[] = {static_cast<const void *>(arrays)...};
    for (const void *p : all) bits |= reinterpret_cast<uintptr_t>(p);
    return bits % 16 == 0;
}

// Whether one access to a Pack<T, N> at p is allowed; and whether also all N elements of it are among the `left` ones there.
template <int N, typename T> static __device__ inline bool pack_aligned(const T *p) {
    return reinterpret_cast<uintptr_t>(p) % alignof(Pack<T, N>) == 0;
}
template <int N, typename T> static __device__ inline bool can_pack(const T *p, int64_t left) {
    return left >= N && pack_aligned<N>(p);
}

// out = the N elements at `from`, which are aligned as a pack.
template <int N, typename T> static __device__ inline void load_pack(Acc<T> (&out)[N], const T *from) {
    Pack<T, N> pack = *reinterpret_cast<const Pack<T, N> *>(from);
#pragma unroll
    for (int j = 0; j < N; j++) out[j] = widened(pack.at[j]);
}

// One by one; those from `left` on count as zeros and are not read.
template <int N, typename T>
static __device__ inline void load_each(Acc<T> (&out)[N], const T *from, int64_t left) {
#pragma unroll
    for (int j = 0; j < N; j++) out[j] = j < left ? widened(from[j]) : 0;
}

template <int N, typename T> static __device__ inline Pack<T, N> narrowed(const Acc<T> (&in)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; j++) narrow_to(pack.at[j], in[j]);
    return pack;
}

// The elements of a pack from `left` on are not written.
template <int N, typename T> static __device__ inline void store_each(T *to, const Pack<T, N> &pack, int64_t left) {
#pragma unroll
    for (int j = 0; j < N; j++)
        if (j < left) to[j] = pack.at[j];
}

// out = the N elements at `from`, and those at `to` = in, of which `left` are there. `aligned`, which the host has found:
// whether they are aligned as a pack where all N are there.
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

// The same where the thread itself looks whether the place is aligned. Not by a call of the ones above, of which the compiler
// makes a twentieth more instructions.
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
static __device__ inline int warp_index() { // in its block
    return static_cast<int>(threadIdx.x / WARP);
}

// for (int64_t i = grid_thread(); i < n; i += grid_threads()): a thread for every element, as far as the grid goes.
static __device__ inline int64_t grid_thread() {
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
static __device__ inline int64_t grid_threads() {
    return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

// Blocks for n pieces of work, `per_block` of them in each, for kernels that loop over the grid: at least one, and no
// more than a grid may have.
static inline unsigned grid_of(int64_t n, int64_t per_block) {
    return static_cast<unsigned>(max_i64(1, min_i64(ceil_div(n, per_block), 1 << 30)));
}

// The same for kernels that do not loop: all of the blocks.
static inline unsigned whole_grid(int64_t n, int64_t per_block = 1) {
    int64_t blocks = ceil_div(n, per_block);
    ASSERT(blocks > 0 && blocks <= INT32_MAX);
    return static_cast<unsigned>(blocks);
}

// Threads of a block for n pieces of work: whole warps, no more than `most`.
static inline int block_of(int64_t n, int most) {
    return static_cast<int>(min_i64(round_up(n, WARP), most));
}

// ---- sums and maxima ----

// The sum over a group of `lanes` neighbours (a power of two) of a warp, all 32 of which come here: by halves, so that all
// get the same bits.
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
// Once it is NaN, it stays.
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

// The sum over a block of whole warps, whose sums are added by halves as those of lanes are: the same bits in every
// thread. `shared` has room for WARP numbers.
template <typename F> static __device__ inline F block_sum(F x, F *shared) {
    x = warp_sum(x);
    if (lane_index() == 0) shared[warp_index()] = x;
    __syncthreads();
    x = warp_sum(lane_index() < static_cast<int>(blockDim.x) / WARP ? shared[lane_index()] : 0);
    __syncthreads(); // shared may be used again
    return x;
}

// The largest, of numbers that are not negative.
template <typename F> static __device__ inline F block_max(F x, F *shared) {
    x = warp_max(x);
    if (lane_index() == 0) shared[warp_index()] = x;
    __syncthreads();
    x = warp_max(lane_index() < static_cast<int>(blockDim.x) / WARP ? shared[lane_index()] : 0);
    __syncthreads(); // shared may be used again
    return x;
}

// The sums of K numbers over WARPS warps, which are the whole block, or over one warp of any block. The sums of warps are
// added one after the other, by way of `shared` (K WARPS). The same bits in every thread.
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
    __syncthreads(); // shared may be used again
}

#endif
