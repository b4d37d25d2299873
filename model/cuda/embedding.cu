// Token and position embedding and its gradient.
//
// The token gradient traverses the positions sorted by token (the batch's index), in pieces of PIECE positions. The sum
// of a run of equal tokens inside a piece is added to the token's row directly. A run that spans several pieces leaves
// a partial sum in each, and a second kernel adds them in order. So a frequent token is spread over many blocks, and
// the order of the sums depends on the batch only.
#include "device/cuda/kernel.h"
#include "device/cuda/memory.h"
#include "model/cuda/ops.h"

constexpr int PIECE = 32, PREFETCH = 4; // positions per piece; rows that are loaded ahead
constexpr int EMBED_THREADS = 256;

template <typename T>
static __global__ void embedding_forward_kernel(T *out, const T *wte, const T *wpe, const int32_t *tokens, int T_,
                                                int C, int pos_offset, bool aligned) {
    constexpr int W = PACK<T>;
    int64_t i = blockIdx.x, token = tokens[i],
            t = pos_offset + static_cast<int64_t>(blockIdx.x % static_cast<unsigned>(T_));
    for (int c = threadIdx.x * W; c < C; c += blockDim.x * W) {
        float x[W], p[W];
        load(x, wte + token * C + c, C - c, aligned);
        if (wpe) {
            load(p, wpe + t * C + c, C - c, aligned);
#pragma unroll
            for (int j = 0; j < W; j++) x[j] += p[j];
        }
        store(out + i * C + c, x, C - c, aligned);
    }
}

template <typename T> void embedding_forward_cuda(Stream *s, const EmbeddingForward *a) {
    const Batch *batch = a->batch;
    T *out = static_cast<T *>(a->out);
    const T *wte = static_cast<const T *>(a->wte), *wpe = static_cast<const T *>(a->wpe);
    CUDA_LAUNCH(embedding_forward_kernel<T>, whole_grid(static_cast<int64_t>(batch->B) * batch->T),
                block_of(ceil_div(a->C, PACK<T>), EMBED_THREADS), 0, cuda_stream(s), out, wte, wpe, batch->tokens,
                batch->T, a->C, a->pos_offset, aligned_16(a->C * sizeof(T), out, wte, wpe));
    CUDA_CHECK_LAUNCH();
}

// partials (pieces, 2, C): index 0 is the run continued from the previous piece, 1 the run that continues in the next.
template <typename T>
static __global__ void token_gradient_kernel(float *dwte, float *partials, const T *dout, const int32_t *tokens,
                                             const int32_t *order, int n, int C, bool aligned) {
    constexpr int W = PACK<T>;
    CUDA_SHARED_ARRAY(int32_t, positions, PIECE);
    CUDA_SHARED_ARRAY(int32_t, padded_tokens, PIECE + 2); // with one neighbour on each side; -1: none
    const int32_t *token = padded_tokens + 1;
    int begin = blockIdx.x * PIECE, count = n - begin < PIECE ? n - begin : PIECE;
    for (int k = threadIdx.x; k < PIECE + 2; k += blockDim.x) {
        int j = begin + k - 1;
        int32_t position = j >= 0 && k <= count + 1 && j < n ? order[j] : -1;
        padded_tokens[k] = position >= 0 ? tokens[position] : -1;
        if (k > 0 && k <= PIECE) positions[k - 1] = position;
    }
    __syncthreads();
    int c = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    if (c >= C) return;
    bool continued = token[-1] == token[0];
    float sum[W] = {};
    for (int k0 = 0; k0 < count; k0 += PREFETCH) {
        float rows[PREFETCH][W];
#pragma unroll
        for (int k = 0; k < PREFETCH; k++)
            if (k0 + k < count)
                load(rows[k], dout + static_cast<int64_t>(positions[k0 + k]) * C + c, C - c, aligned);
#pragma unroll
        for (int k = 0; k < PREFETCH; k++) {
            if (k0 + k >= count) break;
#pragma unroll
            for (int j = 0; j < W; j++) sum[j] += rows[k][j];
            int32_t current = token[k0 + k];
            bool last = k0 + k == count - 1, continues = token[k0 + k + 1] == current;
            if (continues && !last) continue;
            if (continued || continues) {
                store(partials + (static_cast<int64_t>(blockIdx.x) * 2 + !continued) * C + c, sum, C - c, aligned);
            } else {
                float old[W];
                load(old, dwte + static_cast<int64_t>(current) * C + c, C - c, aligned);
#pragma unroll
                for (int j = 0; j < W; j++) old[j] += sum[j];
                store(dwte + static_cast<int64_t>(current) * C + c, old, C - c, aligned);
            }
            continued = false;
#pragma unroll
            for (int j = 0; j < W; j++) sum[j] = 0;
        }
    }
}

// Adds the partial sums of the run that begins in piece blockIdx.x and continues in the next, if there is one.
static __global__ void run_gradient_kernel(float *dwte, const float *partials, const int32_t *tokens,
                                           const int32_t *order, int pieces, int C, bool aligned) {
    constexpr int W = PACK<float>;
    int piece = blockIdx.x, c = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    if (c >= C) return;
    auto token_at = [&](int j) { return tokens[order[j]]; };
    int32_t token = token_at((piece + 1) * PIECE - 1);
    if (token_at((piece + 1) * PIECE) != token) return;
    if (piece > 0 && token_at(piece * PIECE) == token && token_at(piece * PIECE - 1) == token) return;
    // Tokens are sorted, so the run ends in the last piece that begins with its token: binary search.
    int last = piece + 1, end = pieces;
    while (end - last > 1) {
        int middle = (last + end) / 2;
        if (token_at(middle * PIECE) == token) last = middle;
        else end = middle;
    }
    float sum[W];
    load(sum, partials + (static_cast<int64_t>(piece) * 2 + 1) * C + c, C - c, aligned);
#pragma unroll 8
    for (int p = piece + 1; p <= last; p++) {
        float part[W];
        load(part, partials + static_cast<int64_t>(p) * 2 * C + c, C - c, aligned);
        for (int j = 0; j < W; j++) sum[j] += part[j];
    }
    float old[W];
    load(old, dwte + static_cast<int64_t>(token) * C + c, C - c, aligned);
    for (int j = 0; j < W; j++) old[j] += sum[j];
    store(dwte + static_cast<int64_t>(token) * C + c, old, C - c, aligned);
}

template <typename T>
static __global__ void position_gradient_kernel(float *dwpe, const T *dout, int B, int T_, int C, bool aligned) {
    constexpr int W = PACK<T>;
    int64_t t = blockIdx.x;
    for (int c = threadIdx.x * W; c < C; c += blockDim.x * W) {
        float sum[W], row[W];
        load(sum, dwpe + t * C + c, C - c, aligned);
#pragma unroll 4
        for (int b = 0; b < B; b++) {
            load(row, dout + (static_cast<int64_t>(b) * T_ + t) * C + c, C - c, aligned);
            for (int j = 0; j < W; j++) sum[j] += row[j];
        }
        store(dwpe + t * C + c, sum, C - c, aligned);
    }
}

int64_t embedding_backward_scratch_cuda(int64_t N, int C) {
    return static_cast<int64_t>(ceil_div(N, PIECE)) * 2 * C * static_cast<int64_t>(sizeof(float));
}

template <typename T> void embedding_backward_cuda(Stream *s, const EmbeddingBackward *a) {
    const Batch *batch = a->batch;
    int C = a->C;
    float *dwte = static_cast<float *>(a->dwte), *dwpe = static_cast<float *>(a->dwpe); // (Vp, C), (context, C)
    const T *dout = static_cast<const T *>(a->dout);                                    // (B, T, C)
    int64_t n = static_cast<int64_t>(batch->B) * batch->T;
    int pieces = static_cast<int>(ceil_div(n, PIECE)), threads = block_of(ceil_div(C, PACK<T>), EMBED_THREADS);
    int threads_f32 = block_of(ceil_div(C, PACK<float>), EMBED_THREADS);
    ASSERT(n <= INT32_MAX - PIECE);
    float *partials =
        static_cast<float *>(cuda_scratch(s, static_cast<size_t>(embedding_backward_scratch_cuda(n, C))));
    bool aligned = aligned_16(C * sizeof(T), dwte, dwpe, dout);
    dim3 grid(whole_grid(pieces), static_cast<unsigned>(ceil_div(C, threads * PACK<T>)));
    CUDA_LAUNCH(token_gradient_kernel<T>, grid, threads, 0, cuda_stream(s), dwte, partials, dout, batch->tokens,
                batch->order, static_cast<int>(n), C, aligned);
    CUDA_CHECK_LAUNCH();
    if (pieces > 1) {
        dim3 runs(whole_grid(pieces - 1), static_cast<unsigned>(ceil_div(C, threads_f32 * PACK<float>)));
        CUDA_LAUNCH(run_gradient_kernel, runs, threads_f32, 0, cuda_stream(s), dwte, partials, batch->tokens,
                    batch->order, pieces, C, aligned_16(C * sizeof(float), dwte));
        CUDA_CHECK_LAUNCH();
    }
    if (dwpe == nullptr) return;
    CUDA_LAUNCH(position_gradient_kernel<T>, whole_grid(batch->T), threads, 0, cuda_stream(s), dwpe, dout, batch->B,
                batch->T, C, aligned);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(embedding_forward_cuda)
CUDA_INSTANCES(embedding_backward_cuda)
