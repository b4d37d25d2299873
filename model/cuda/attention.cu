// Attention on CUDA: selects the kernels, and computes delta for the backward pass.
#include "device/cuda/kernel.h"
#include "model/cuda/attention.h"

#include <type_traits>

enum { PER_LANE = 8, DELTA_THREADS = 256 };

// delta[b, h, t] = dot(dout, out) over the head. `lanes` lanes (a power of two) process a row: lane l takes elements
// [8 l, 8 l + 8), whatever their alignment, and a butterfly reduction adds the lanes' sums. Reads dout and out once.
template <typename T>
__global__ void delta_kernel(float *delta, const T *dout, const T *out, AttentionShape a, int lanes, int64_t rows) {
    int64_t row = (static_cast<int64_t>(blockIdx.x) * DELTA_THREADS + threadIdx.x) / lanes;
    int lane = static_cast<int>(threadIdx.x) % lanes, first = lane * PER_LANE;
    float sum = 0;
    if (row < rows && first < a.head_dim) {
        // The heads of a position are contiguous in memory, so h varies fastest for coalesced loads.
        int64_t h = row % a.n_head, t = row / a.n_head % a.q_len, b = row / a.n_head / a.q_len;
        int64_t at = b * a.out_batch + t * a.out_row + h * a.head_dim + first;
        bool aligned = pack_aligned<PER_LANE>(dout + at) && pack_aligned<PER_LANE>(out + at);
        float x[PER_LANE], y[PER_LANE];
        load(x, dout + at, a.head_dim - first, aligned);
        load(y, out + at, a.head_dim - first, aligned);
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) sum += x[i] * y[i];
    }
    sum = lanes_sum(sum, lanes);
    if (row < rows && lane == 0) {
        int64_t h = row % a.n_head, t = row / a.n_head % a.q_len, b = row / a.n_head / a.q_len;
        delta[(b * a.n_head + h) * a.q_len + t] = sum;
    }
}

template <typename T> static void launch_delta(cudaStream_t stream, const AttentionBackward &a) {
    const AttentionShape &shape = a.shape;
    int lanes = 1;
    while (lanes * PER_LANE < shape.head_dim) lanes *= 2;
    int64_t rows = static_cast<int64_t>(shape.B) * shape.n_head * shape.q_len;
    CUDA_LAUNCH(delta_kernel<T>, whole_grid(rows * lanes, DELTA_THREADS), DELTA_THREADS, 0, stream,
                static_cast<float *>(a.delta), static_cast<const T *>(a.dout), static_cast<const T *>(a.out), shape,
                lanes, rows);
    CUDA_CHECK_LAUNCH();
}

// The tensor-core kernels take the row maximum before scaling, so the scale must be positive.
template <typename T> static bool use_tensor_cores(const AttentionShape &a) {
    return std::is_same<T, __nv_bfloat16>::value && (a.head_dim == 64 || a.head_dim == 128) && a.scale > 0;
}

template <typename T> void attention_forward_cuda(Stream *s, const AttentionForward *a) {
    ASSERT(a->shape.head_dim <= CUDA_MAX_HEAD_DIM);
    if (use_tensor_cores<T>(a->shape)) attention_tensor_forward(cuda_stream(s), *a);
    else attention_simple_forward<T>(cuda_stream(s), *a);
}

template <typename T> void attention_backward_cuda(Stream *s, const AttentionBackward *a) {
    ASSERT(a->shape.head_dim <= CUDA_MAX_HEAD_DIM);
    launch_delta<T>(cuda_stream(s), *a);
    if (use_tensor_cores<T>(a->shape)) attention_tensor_backward(cuda_stream(s), *a);
    else attention_simple_backward<T>(cuda_stream(s), *a);
}

CUDA_INSTANCES(attention_forward_cuda)
CUDA_INSTANCES(attention_backward_cuda)
