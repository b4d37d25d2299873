// Attention on CUDA: delta of the backward pass, and the choice of kernels.
#include "base/error.h"
#include "device/cuda/kernel.h"
#include "model/cuda/attention.h"

#include <limits.h>
#include <type_traits>

enum { PER_LANE = 8, DELTA_THREADS = 256 };

// delta[b, h, t] = sum of dout out over the head. `lanes` lanes, a power of two, share a row: lane l takes the elements
// [8 l, 8 l + 8) whatever their alignment, and the lanes' sums are added by halves. Reads dout and out once.
template <typename T>
__global__ void delta_kernel(float *delta, const T *dout, const T *out, AttentionShape a, int lanes, int64_t rows) {
    int64_t row = ((int64_t)blockIdx.x * DELTA_THREADS + threadIdx.x) / lanes;
    int lane = (int)threadIdx.x % lanes, first = lane * PER_LANE;
    float sum = 0;
    if (row < rows && first < a.head_dim) {
        // The rows of a position's heads lie side by side, so neighbours in the grid are neighbours in memory.
        int64_t h = row % a.n_head, t = row / a.n_head % a.q_len, b = row / a.n_head / a.q_len;
        int64_t at = b * a.out_batch + t * a.out_row + h * a.head_dim + first;
        bool aligned = ((uintptr_t)(dout + at) | (uintptr_t)(out + at)) % 16 == 0;
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

template <typename T>
static void launch_delta(cudaStream_t stream, float *delta, const T *dout, const T *out, const AttentionShape &a) {
    int lanes = 1;
    while (lanes * PER_LANE < a.head_dim) lanes *= 2;
    int64_t rows = (int64_t)a.B * a.n_head * a.q_len, blocks = (rows * lanes + DELTA_THREADS - 1) / DELTA_THREADS;
    ASSERT(blocks <= INT_MAX);
    CUDA_LAUNCH(delta_kernel<T>, (unsigned)blocks, DELTA_THREADS, 0, stream, delta, dout, out, a, lanes, rows);
    CUDA_CHECK_LAUNCH();
}

// The maximum is taken before the scale is applied, so it must not turn the order around.
template <typename T> static bool suits_tensor_cores(const AttentionShape &a) {
    return std::is_same<T, __nv_bfloat16>::value && (a.head_dim == 64 || a.head_dim == 128) && a.scale > 0;
}

template <typename T>
void attention_forward_cuda(Stream *s, void *out, void *lse, const void *q, const void *k, const void *v,
                            const AttentionShape *shape) {
    ASSERT(shape->head_dim <= CUDA_MAX_HEAD_DIM);
    cudaStream_t stream = (cudaStream_t)s->handle;
    if (suits_tensor_cores<T>(*shape)) {
        attention_tensor_forward(stream, (__nv_bfloat16 *)out, (float *)lse, (const __nv_bfloat16 *)q,
                                 (const __nv_bfloat16 *)k, (const __nv_bfloat16 *)v, *shape);
    } else {
        attention_simple_forward(stream, (T *)out, (float *)lse, (const T *)q, (const T *)k, (const T *)v, *shape);
    }
}

template <typename T>
void attention_backward_cuda(Stream *s, void *dq, void *dk, void *dv, void *delta, const void *dout, const void *q,
                             const void *k, const void *v, const void *out, const void *lse,
                             const AttentionShape *shape) {
    ASSERT(shape->head_dim <= CUDA_MAX_HEAD_DIM);
    cudaStream_t stream = (cudaStream_t)s->handle;
    launch_delta(stream, (float *)delta, (const T *)dout, (const T *)out, *shape);
    if (suits_tensor_cores<T>(*shape)) {
        attention_tensor_backward(stream, (__nv_bfloat16 *)dq, (__nv_bfloat16 *)dk, (__nv_bfloat16 *)dv,
                                  (const __nv_bfloat16 *)dout, (const __nv_bfloat16 *)q, (const __nv_bfloat16 *)k,
                                  (const __nv_bfloat16 *)v, (const float *)lse, (const float *)delta, *shape);
    } else {
        attention_simple_backward(stream, (T *)dq, (T *)dk, (T *)dv, (const T *)dout, (const T *)q, (const T *)k,
                                  (const T *)v, (const float *)lse, (const float *)delta, *shape);
    }
}

#define INSTANTIATE(T)                                                                                             \
    template void attention_forward_cuda<T>(Stream *, void *, void *, const void *, const void *, const void *,    \
                                            const AttentionShape *);                                               \
    template void attention_backward_cuda<T>(Stream *, void *, void *, void *, void *, const void *, const void *, \
                                             const void *, const void *, const void *, const void *,               \
                                             const AttentionShape *);
INSTANTIATE(float)
INSTANTIATE(__nv_bfloat16)
