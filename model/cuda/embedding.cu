// Embedding of tokens and positions, and its gradient.
//
// The gradient of the tokens goes over the positions in the order of the batch's index, in which equal tokens are
// neighbours, in pieces of PIECE positions. The sum over a run of equal tokens within a piece goes to the token's row. A
// run that crosses pieces leaves a partial sum in each, and a second kernel adds them up in order. So no token, however
// frequent, is the work of one block, and pieces and sums depend on the batch alone.
#include "device/cuda/memory.h"
#include "model/cuda/chunk.h"
#include "model/cuda/ops.h"

constexpr int PIECE = 32, AHEAD = 4; // positions of a piece, and of them whose rows are read at once
constexpr int EMBED_THREADS = 256;

template <class T>
static __global__ void embedding_forward_kernel(T *out, const T *wte, const T *wpe, const int32_t *tokens, int T_,
                                                int C, int pos_offset, bool aligned) {
    constexpr int W = CHUNK<T>;
    int64_t i = blockIdx.x, token = tokens[i], t = pos_offset + (int64_t)(blockIdx.x % (unsigned)T_);
    for (int c = threadIdx.x * W; c < C; c += blockDim.x * W) {
        float x[W], p[W];
        chunk_load(x, wte + token * C + c, C - c, aligned);
        if (wpe) {
            chunk_load(p, wpe + t * C + c, C - c, aligned);
#pragma unroll
            for (int j = 0; j < W; j++) x[j] += p[j];
        }
        chunk_store(out + i * C + c, x, C - c, aligned);
    }
}

template <class T>
void embedding_forward_cuda(Stream *s, void *out, const void *wte, const void *wpe, const Batch *batch, int C,
                            int pos_offset) {
    CUDA_LAUNCH(embedding_forward_kernel<T>, grid_of((int64_t)batch->B * batch->T),
                row_threads(parts_of(C, CHUNK<T>), EMBED_THREADS), 0, cuda_stream(s), (T *)out, (const T *)wte,
                (const T *)wpe, batch->tokens, batch->T, C, pos_offset, all_aligned<T>(C, out, wte, wpe));
    CUDA_CHECK_LAUNCH();
}
template void embedding_forward_cuda<float>(Stream *, void *, const void *, const void *, const Batch *, int, int);
template void embedding_forward_cuda<__nv_bfloat16>(Stream *, void *, const void *, const void *, const Batch *,
                                                    int, int);

// partials (pieces, 2, C): 0 of the run that comes from the piece before, 1 of one that begins here and goes on.
template <class T>
static __global__ void token_kernel(float *dwte, float *partials, const T *dout, const int32_t *tokens,
                                    const int32_t *order, int n, int C, bool aligned) {
    constexpr int W = CHUNK<T>;
    CUDA_SHARED_ARRAY(int32_t, at, PIECE);
    CUDA_SHARED_ARRAY(int32_t, around, PIECE + 2); // the tokens, with those before and after; -1: none
    const int32_t *token = around + 1;
    int begin = blockIdx.x * PIECE, count = n - begin < PIECE ? n - begin : PIECE;
    for (int k = threadIdx.x; k < PIECE + 2; k += blockDim.x) {
        int j = begin + k - 1;
        int32_t position = j >= 0 && k <= count + 1 && j < n ? order[j] : -1;
        around[k] = position >= 0 ? tokens[position] : -1;
        if (k > 0 && k <= PIECE) at[k - 1] = position;
    }
    __syncthreads();
    int c = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    if (c >= C) return;
    bool from_before = token[-1] == token[0];
    float sum[W] = {};
    for (int k0 = 0; k0 < count; k0 += AHEAD) {
        float rows[AHEAD][W];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (k0 + k < count) chunk_load(rows[k], dout + (int64_t)at[k0 + k] * C + c, C - c, aligned);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (k0 + k >= count) break;
#pragma unroll
            for (int j = 0; j < W; j++) sum[j] += rows[k][j];
            int32_t now = token[k0 + k];
            bool last = k0 + k == count - 1, goes_on = token[k0 + k + 1] == now;
            if (goes_on && !last) continue;
            if (from_before || goes_on) {
                chunk_store(partials + ((int64_t)blockIdx.x * 2 + !from_before) * C + c, sum, C - c, aligned);
            } else {
                float old[W];
                chunk_load(old, dwte + (int64_t)now * C + c, C - c, aligned);
#pragma unroll
                for (int j = 0; j < W; j++) old[j] += sum[j];
                chunk_store(dwte + (int64_t)now * C + c, old, C - c, aligned);
            }
            from_before = false;
#pragma unroll
            for (int j = 0; j < W; j++) sum[j] = 0;
        }
    }
}

// Adds up the run that begins in piece blockIdx.x and goes on, if there is one.
static __global__ void run_kernel(float *dwte, const float *partials, const int32_t *tokens, const int32_t *order,
                                  int pieces, int C, bool aligned) {
    constexpr int W = CHUNK<float>;
    int piece = blockIdx.x, c = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    if (c >= C) return;
    auto token_at = [&](int j) { return tokens[order[j]]; };
    int32_t token = token_at((piece + 1) * PIECE - 1);
    if (token_at((piece + 1) * PIECE) != token) return;
    if (piece > 0 && token_at(piece * PIECE) == token && token_at(piece * PIECE - 1) == token) return;
    // The run ends in the last of the pieces that begin with its token, as the tokens ascend.
    int last = piece + 1, beyond = pieces;
    while (beyond - last > 1) {
        int middle = (last + beyond) / 2;
        if (token_at(middle * PIECE) == token) last = middle;
        else beyond = middle;
    }
    float sum[W];
    chunk_load(sum, partials + ((int64_t)piece * 2 + 1) * C + c, C - c, aligned);
#pragma unroll 8
    for (int p = piece + 1; p <= last; p++) {
        float part[W];
        chunk_load(part, partials + (int64_t)p * 2 * C + c, C - c, aligned);
        for (int j = 0; j < W; j++) sum[j] += part[j];
    }
    float old[W];
    chunk_load(old, dwte + (int64_t)token * C + c, C - c, aligned);
    for (int j = 0; j < W; j++) old[j] += sum[j];
    chunk_store(dwte + (int64_t)token * C + c, old, C - c, aligned);
}

template <class T>
static __global__ void position_kernel(float *dwpe, const T *dout, int B, int T_, int C, bool aligned) {
    constexpr int W = CHUNK<T>;
    int64_t t = blockIdx.x;
    for (int c = threadIdx.x * W; c < C; c += blockDim.x * W) {
        float sum[W], row[W];
        chunk_load(sum, dwpe + t * C + c, C - c, aligned);
#pragma unroll 4
        for (int b = 0; b < B; b++) {
            chunk_load(row, dout + ((int64_t)b * T_ + t) * C + c, C - c, aligned);
            for (int j = 0; j < W; j++) sum[j] += row[j];
        }
        chunk_store(dwpe + t * C + c, sum, C - c, aligned);
    }
}

int64_t embedding_backward_scratch_cuda(int64_t N, int C) {
    return (int64_t)parts_of(N, PIECE) * 2 * C * (int64_t)sizeof(float);
}

template <class T>
void embedding_backward_cuda(Stream *s, void *dwte_, void *dwpe_, const void *dout_, const Batch *batch, int C) {
    float *dwte = (float *)dwte_, *dwpe = (float *)dwpe_; // (Vp, C), (context, C)
    const T *dout = (const T *)dout_;                     // (B, T, C)
    int64_t n = (int64_t)batch->B * batch->T;
    int pieces = (int)parts_of(n, PIECE), threads = row_threads(parts_of(C, CHUNK<T>), EMBED_THREADS);
    int threads_f32 = row_threads(parts_of(C, CHUNK<float>), EMBED_THREADS);
    ASSERT(n <= INT32_MAX - PIECE);
    float *partials = (float *)cuda_scratch(s, (size_t)embedding_backward_scratch_cuda(n, C));
    bool aligned = all_aligned<T>(C, dwte, dwpe, dout);
    dim3 grid(grid_of(pieces), (unsigned)parts_of(C, threads * CHUNK<T>));
    CUDA_LAUNCH(token_kernel<T>, grid, threads, 0, cuda_stream(s), dwte, partials, dout, batch->tokens,
                batch->order, (int)n, C, aligned);
    CUDA_CHECK_LAUNCH();
    if (pieces > 1) {
        dim3 runs(grid_of(pieces - 1), (unsigned)parts_of(C, threads_f32 * CHUNK<float>));
        CUDA_LAUNCH(run_kernel, runs, threads_f32, 0, cuda_stream(s), dwte, partials, batch->tokens, batch->order,
                    pieces, C, all_aligned<float>(C, dwte));
        CUDA_CHECK_LAUNCH();
    }
    if (dwpe == NULL) return;
    CUDA_LAUNCH(position_kernel<T>, grid_of(batch->T), threads, 0, cuda_stream(s), dwpe, dout, batch->B, batch->T,
                C, aligned);
    CUDA_CHECK_LAUNCH();
}
template void embedding_backward_cuda<float>(Stream *, void *, void *, const void *, const Batch *, int);
template void embedding_backward_cuda<__nv_bfloat16>(Stream *, void *, void *, const void *, const Batch *, int);
