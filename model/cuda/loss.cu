// Cross-entropy fused with its gradient: one block per row of logits reads it once for the loss and once more, mostly
// from L2, to overwrite it with the gradient.
#include "device/cuda/kernel.h"
#include "model/cuda/math.h"
#include "model/cuda/ops.h"

#include <float.h>

// Two blocks of this size fill an SM: few enough rows are in flight to stay in the cache between the two reads.
constexpr int MAX_LOSS_THREADS = 1024;

// Losses are summed by a single block of this size.
constexpr int LOSS_SUM_THREADS = 512;

// Online softmax state: the maximum of some logits and the sum of exp(logit - max). No logits: {-FLT_MAX, 0}.
struct SoftmaxSum {
    float max, sum;
};

static __device__ inline SoftmaxSum merge(SoftmaxSum a, SoftmaxSum b) {
    float max = fmaxf(a.max, b.max);
    return SoftmaxSum{max, a.sum * expf(a.max - max) + b.sum * expf(b.max - max)};
}

// Block reduction in a fixed tree. The operand of the lower lane comes first, so both lanes get the same bits.
static __device__ SoftmaxSum block_softmax(SoftmaxSum own, SoftmaxSum *shared) {
    int lane = lane_index(), warp = warp_index();
#pragma unroll
    for (int bit = 1; bit < WARP; bit *= 2) {
        SoftmaxSum other = {__shfl_xor_sync(FULL_MASK, own.max, bit), __shfl_xor_sync(FULL_MASK, own.sum, bit)};
        own = lane & bit ? merge(other, own) : merge(own, other);
    }
    if (lane == 0) shared[warp] = own;
    __syncthreads();
    own = shared[0];
    for (int w = 1; w < static_cast<int>(blockDim.x) / WARP; w++) own = merge(own, shared[w]);
    return own;
}

// CAPPED: soft-capped logits are computed twice, because the gradient needs z and the row only holds x.
template <typename T, bool CAPPED>
static __global__ void __launch_bounds__(MAX_LOSS_THREADS, 2)
    cross_entropy_kernel(float *losses, T *logits, const int32_t *targets, float scale, SoftcapParams cap, int V,
                         int Vp, bool aligned) {
    constexpr int W = PACK<T>;
    CUDA_SHARED_ARRAY(SoftmaxSum, shared, MAX_LOSS_THREADS / WARP);
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
            if (CAPPED) z[j] = softcapped(z[j], cap);
            if (c + j < V) max = fmaxf(max, z[j]);
        }
#pragma unroll
        for (int j = 0; j < W; j++)
            if (c + j < V) sum += expf(z[j] - max);
        own = SoftmaxSum{max, own.sum * expf(own.max - max) + sum};
    }
    float z_target = 0;
    if (threadIdx.x == 0) { // before the gradient overwrites it
        z_target = widened(row[target]);
        if (CAPPED) z_target = softcapped(z_target, cap);
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
            if (CAPPED) z[j] = softcapped(z[j], cap);
            float gradient = factor * expf(z[j] - all.max) - (c + j == target ? scale : 0);
            if (CAPPED) gradient *= softcap_derivative(z[j], cap);
            z[j] = c + j < V ? gradient : 0;
        }
        store(row + c, z, Vp - c, aligned);
    }
}

template <typename T> void cross_entropy_cuda(Stream *s, const CrossEntropy *a) {
    T *logits = static_cast<T *>(a->logits);
    int threads = block_of(ceil_div(a->Vp, PACK<T>), MAX_LOSS_THREADS);
    auto kernel = a->cap > 0 ? cross_entropy_kernel<T, true> : cross_entropy_kernel<T, false>;
    CUDA_LAUNCH(kernel, whole_grid(a->n), threads, 0, cuda_stream(s), static_cast<float *>(a->losses), logits,
                a->targets, static_cast<float>(a->scale), softcap_params(a->cap_kind, a->cap), a->V, a->Vp,
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

// Losses are fp32 for every T.
template <typename T> void loss_sum_cuda(Stream *s, const LossSum *a) {
    CUDA_LAUNCH(loss_sum_kernel, 1, LOSS_SUM_THREADS, 0, cuda_stream(s), a->total,
                static_cast<const float *>(a->losses), a->n);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(cross_entropy_cuda)
CUDA_INSTANCES(loss_sum_cuda)
