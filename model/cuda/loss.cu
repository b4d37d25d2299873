// Cross-entropy fused with its gradient: a block takes a row of logits, reads it once for the loss, and once more
// (mostly from the cache) to overwrite it by the gradient.
#include "device/cuda/kernel.h"
#include "model/cuda/math.h"
#include "model/cuda/ops.h"

#include <float.h>

// Two blocks of so many fill a multiprocessor: the rows that all of them are at fit the cache between the two readings.
constexpr int MOST_LOSS_THREADS = 1024;

// Losses are summed by one block.
constexpr int LOSS_SUM_THREADS = 512;

// The largest of some logits, and the sum of exp(logit - max). Without any: the smallest float, 0.
struct SoftmaxSum {
    float max, sum;
};

static __device__ inline SoftmaxSum merged(SoftmaxSum a, SoftmaxSum b) {
    float max = fmaxf(a.max, b.max);
    return SoftmaxSum{max, a.sum * expf(a.max - max) + b.sum * expf(b.max - max)};
}

// Over the threads of the block, in a fixed tree; the lower of two stands first, so that both compute the same.
static __device__ SoftmaxSum block_softmax(SoftmaxSum own, SoftmaxSum *shared) {
    int lane = lane_index(), warp = warp_index();
#pragma unroll
    for (int bit = 1; bit < WARP; bit *= 2) {
        SoftmaxSum other = {__shfl_xor_sync(FULL_MASK, own.max, bit), __shfl_xor_sync(FULL_MASK, own.sum, bit)};
        own = lane & bit ? merged(other, own) : merged(own, other);
    }
    if (lane == 0) shared[warp] = own;
    __syncthreads();
    own = shared[0];
    for (int w = 1; w < static_cast<int>(blockDim.x) / WARP; w++) own = merged(own, shared[w]);
    return own;
}

// CAPPED: logits are computed twice, as the gradient needs z where the row has room for one number.
template <typename T, bool CAPPED>
static __global__ void __launch_bounds__(MOST_LOSS_THREADS, 2)
    cross_entropy_kernel(float *losses, T *logits, const int32_t *targets, float scale, Cap cap, int V, int Vp,
                         bool aligned) {
    constexpr int W = PACK<T>;
    CUDA_SHARED_ARRAY(SoftmaxSum, shared, MOST_LOSS_THREADS / WARP);
    T *row = logits + static_cast<int64_t>(blockIdx.x) * Vp;
    const int target = targets[blockIdx.x], step = blockDim.x * W;
    if (target < 0) {
        float zeros[W] = {};
        for (int c = threadIdx.x * W; scale != 0 && c < Vp; c += step) store(row + c, zeros, Vp - c, aligned);
        if (threadIdx.x == 0) losses[blockIdx.x] = 0;
        return;
    }
    SoftmaxSum own = {-FLT_MAX, 0};
    for (int c = threadIdx.x * W; c < V; c += step) {
        float z[W], sum = 0, max = own.max;
        load(z, row + c, Vp - c, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) {
            if (CAPPED) z[j] = capped(z[j], cap);
            if (c + j < V) max = fmaxf(max, z[j]);
        }
#pragma unroll
        for (int j = 0; j < W; j++)
            if (c + j < V) sum += expf(z[j] - max);
        own = SoftmaxSum{max, own.sum * expf(own.max - max) + sum};
    }
    float z_target = 0;
    if (threadIdx.x == 0) { // before the gradient takes its place
        z_target = widened(row[target]);
        if (CAPPED) z_target = capped(z_target, cap);
    }
    SoftmaxSum all = block_softmax(own, shared);
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(all.sum) + (all.max - z_target);
    if (scale == 0) return;
    float factor = scale / all.sum;
    for (int c = threadIdx.x * W; c < Vp; c += step) {
        float z[W];
        load(z, row + c, Vp - c, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) {
            if (CAPPED) z[j] = capped(z[j], cap);
            float gradient = factor * expf(z[j] - all.max) - (c + j == target ? scale : 0);
            if (CAPPED) gradient *= cap_slope(z[j], cap);
            z[j] = c + j < V ? gradient : 0;
        }
        store(row + c, z, Vp - c, aligned);
    }
}

template <typename T> void cross_entropy_cuda(Stream *s, const CrossEntropy *a) {
    T *logits = static_cast<T *>(a->logits);
    int threads = block_of(ceil_div(a->Vp, PACK<T>), MOST_LOSS_THREADS);
    auto kernel = a->cap > 0 ? cross_entropy_kernel<T, true> : cross_entropy_kernel<T, false>;
    CUDA_LAUNCH(kernel, whole_grid(a->n), threads, 0, cuda_stream(s), static_cast<float *>(a->losses), logits,
                a->targets, static_cast<float>(a->scale), cap_of(a->cap_kind, a->cap), a->V, a->Vp,
                aligned_16(a->Vp * sizeof(T), logits));
    CUDA_CHECK_LAUNCH();
}

static __global__ void __launch_bounds__(LOSS_SUM_THREADS)
    loss_sum_kernel(double *total, const float *losses, int64_t n) {
    CUDA_SHARED_ARRAY(double, shared, LOSS_SUM_THREADS / WARP);
    double sum[1] = {0};
    for (int64_t i = threadIdx.x; i < n; i += LOSS_SUM_THREADS) sum[0] += losses[i];
    sums_in_order<LOSS_SUM_THREADS / WARP>(sum, shared);
    if (threadIdx.x == 0) *total += sum[0];
}

// Losses have one type whatever T is.
template <typename T> void loss_sum_cuda(Stream *s, const LossSum *a) {
    CUDA_LAUNCH(loss_sum_kernel, 1, LOSS_SUM_THREADS, 0, cuda_stream(s), a->total,
                static_cast<const float *>(a->losses), a->n);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(cross_entropy_cuda)
CUDA_INSTANCES(loss_sum_cuda)
