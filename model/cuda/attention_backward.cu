// The backward pass of FlashAttention-2 (Dao 2023, algorithm 2) for bf16 on the tensor cores, head_dim 64 and 128, in
// two kernels without atomics: one over blocks of keys for dK and dV, one over blocks of queries for dQ. Both compute
// the scores and dP: 7 matrix products per tile instead of the 5 of a fused kernel. A deterministic fused kernel would
// have to reduce dQ in a fixed order through global memory: either with partial sums (per 128 keys, 4 bytes written and
// read for each element of dQ, at head_dim 128 one byte per 160 FLOPs, and B T^2 / 128 n_head head_dim floats of
// scratch) or with blocks waiting for each other. Two more products cost 40% more FLOPs but no memory and no
// synchronization.
//
// With K (or Q) as the left operand a warp holds whole rows of P^T (or dS) in registers, which are the left operand of
// the next products, so only the inputs pass through shared memory. Instructions per warp and tile:
//   dK, dV, 128 keys x 32 queries, head_dim 128: 128 mma, 80 ldmatrix.x4 (16 keys per warp: for 32, the 256 sums per
//   lane would not fit in registers); head_dim 64: 128 mma, 48 ldmatrix.x4
//   dQ, 128 queries x 32 keys, head_dim 128: 192 mma, 80 ldmatrix.x4; 64 keys, head_dim 64: 192 mma, 64 ldmatrix.x4
// On sm_80 (2 tensor core cycles per mma, 4 shared memory cycles per ldmatrix.x4) the first kernel is bound by shared
// memory at head_dim 128; all others are tensor-core bound.
//
// P and dS are rounded to bf16 for the products: a relative error of up to 2^-8 in each weight of the sums.
#include "device/cuda/kernel.h"
#include "model/cuda/attention_tiles.h"
#include "model/cuda/attention.h"

static constexpr float LOG2_E = 1.4426950408889634f;

enum { KEYS = 128, QUERIES = 128 }; // per block of the dK/dV kernel and of the dQ kernel

// dK and dV. A warp owns 16 MT keys and holds transposed scores, (keys, STEP queries).
template <int D> struct KeyBlock {
    static constexpr int MT = 128 / D, THREADS = WARP * KEYS / (16 * MT), STEP = 32, NT = STEP / 8;
    static constexpr int BYTES = (2 * KEYS + 4 * STEP) * D * 2 + 4 * STEP * static_cast<int>(sizeof(float));
};

// s (16, 8 NT), transposed scores (keys, queries), becomes P^T; dp becomes dS^T / scale. `diagonal`: position of the
// first key minus that of the first query. stats: lse log2(e) of the queries, then their delta.
template <int NT>
static __device__ inline void softmax_backward_transposed(float (&s)[NT][4], float (&dp)[NT][4], const float *stats,
                                                          int diagonal, float scale) {
    int lane = lane_index();
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = 8 * n + lane % 4 * 2 + j;
            float lse = stats[column], delta = stats[8 * NT + column];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float p = exp2_approx(fmaf(s[n][2 * i + j], scale, -lse));
                if (diagonal + lane / 4 + 8 * i > column) p = 0;
                s[n][2 * i + j] = p;
                dp[n][2 * i + j] = p * (dp[n][2 * i + j] - delta);
            }
        }
}

template <int D>
__global__ void __launch_bounds__(KeyBlock<D>::THREADS, D == 64 ? 2 : 1)
    tensor_dkv_kernel(bf16 *dk, bf16 *dv, const bf16 *dout, const bf16 *q, const bf16 *k, const bf16 *v,
                      const float *lse, const float *delta, AttentionShape a, bool aligned, bool out_aligned) {
    typedef KeyBlock<D> Block;
    constexpr int MT = Block::MT, STEP = Block::STEP, NT = Block::NT, THREADS = Block::THREADS;
    CUDA_SHARED(bf16, k_tile); // (KEYS, D)
    bf16 *v_tile = k_tile + KEYS * D, *q_tiles = v_tile + KEYS * D, *dout_tiles = q_tiles + 2 * STEP * D;
    float *stats = reinterpret_cast<float *>(dout_tiles + 2 * STEP * D); // two stages of (2, STEP)
    int b = static_cast<int>(blockIdx.z), kv = static_cast<int>(blockIdx.y), group = a.n_head / a.n_kv_head;
    int key = static_cast<int>(blockIdx.x) * KEYS; // blocks with the most queries start first
    int thread = static_cast<int>(threadIdx.x), warp_row = warp_index() * 16 * MT;
    int64_t kv_at = b * a.kv_batch + key * a.kv_row + static_cast<int64_t>(kv) * D;

    // Loops over the query heads of the group in order, and within each from the first tile with a query that attends
    // to one of the keys.
    int first = max(0, key - a.q_offset) / STEP * STEP, steps = max(0, (a.q_len - first + STEP - 1) / STEP);
    float dk_sums[MT][D / 8][4], dv_sums[MT][D / 8][4];
    clear(dk_sums);
    clear(dv_sums);
    tile_load<D, KEYS, THREADS>(k_tile, k + kv_at, a.kv_row, a.kv_len - key, aligned);
    tile_load<D, KEYS, THREADS>(v_tile, v + kv_at, a.kv_row, a.kv_len - key, aligned);

    int next_h = kv * group, next_t = first, total = group * steps; // next tile to load
    float stat = 0;                                                 // its value for stats[thread]
    auto load_next = [&](int stage) {
        const bf16 *q_from = q + b * a.q_batch + next_t * a.q_row + static_cast<int64_t>(next_h) * D;
        const bf16 *dout_from = dout + b * a.out_batch + next_t * a.out_row + static_cast<int64_t>(next_h) * D;
        tile_load<D, STEP, THREADS>(q_tiles + stage * STEP * D, q_from, a.q_row, a.q_len - next_t, aligned);
        tile_load<D, STEP, THREADS>(dout_tiles + stage * STEP * D, dout_from, a.out_row, a.q_len - next_t, aligned);
        int64_t row = (static_cast<int64_t>(b) * a.n_head + next_h) * a.q_len;
        int query = next_t + thread % STEP;
        if (thread < STEP)
            stat = query < a.q_len ? lse[row + query] * LOG2_E : INFINITY; // P = 0 for missing queries
        else if (thread < 2 * STEP) stat = query < a.q_len ? delta[row + query] : 0;
        next_t += STEP;
        if (next_t >= a.q_len) next_t = first, next_h++;
    };
    if (total > 0) load_next(0);
    cp_async_commit();
    if (thread < 2 * STEP) stats[thread] = stat;

    int t = first;
#pragma unroll 1
    for (int step = 0; step < total; step++) {
        int stage = step % 2;
        cp_async_wait<0>();
        __syncthreads(); // this stage has arrived; the other one is no longer needed
        if (step + 1 < total) load_next(1 - stage);
        cp_async_commit();
        int diagonal = key + warp_row - a.q_offset - t;
        if (diagonal < STEP) {
            const bf16 *q_tile = q_tiles + stage * STEP * D, *dout_tile = dout_tiles + stage * STEP * D;
            float s[MT][NT][4], dp[MT][NT][4];
            uint32_t w[MT][NT / 2][4];
            clear(s);
            multiply_rows<D>(s, k_tile + warp_row * D, q_tile);
            clear(dp);
            multiply_rows<D>(dp, v_tile + warp_row * D, dout_tile);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                softmax_backward_transposed<NT>(s[m], dp[m], stats + stage * 2 * STEP, diagonal + 16 * m,
                                                static_cast<float>(a.scale) * LOG2_E);
                round_weights(w[m], s[m]);
            }
            multiply_weights<D>(dv_sums, w, dout_tile);
#pragma unroll
            for (int m = 0; m < MT; m++) round_weights(w[m], dp[m]);
            multiply_weights<D>(dk_sums, w, q_tile);
        }
        if (thread < 2 * STEP) stats[(1 - stage) * 2 * STEP + thread] = stat;
        t += STEP;
        if (t >= a.q_len) t = first;
    }

    float one[MT][2], scales[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) one[m][i] = 1, scales[m][i] = static_cast<float>(a.scale);
    cp_async_wait<0>();
    __syncthreads(); // if no query attends to the keys, the copies of k and v may still be in flight
    int count = a.kv_len - key - warp_row;
    kv_at += warp_row * a.kv_row;
    store_rows<D>(dk + kv_at, a.kv_row, count, dk_sums, scales, k_tile + warp_row * D, out_aligned);
    store_rows<D>(dv + kv_at, a.kv_row, count, dv_sums, one, v_tile + warp_row * D, out_aligned);
}

// dQ. A warp owns 32 queries.
template <int D> struct QueryBlock {
    static constexpr int MT = 2, THREADS = 128, STEP = D == 64 ? 64 : 32, NT = STEP / 8;
    static constexpr int BYTES = (2 * QUERIES + 2 * STEP) * D * 2 + QUERIES * static_cast<int>(sizeof(float));
};

// dp (16, 8 NT) = dP - delta becomes dS / scale, using the scores s (queries, keys). `last`: position of the first
// query minus that of the first key. lse includes the factor log2(e).
template <int NT>
static __device__ inline void softmax_backward(float (&dp)[NT][4], const float (&s)[NT][4], const float (&lse)[2],
                                               int last, float scale) {
    int lane = lane_index();
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float p = exp2_approx(fmaf(s[n][i], scale, -lse[i / 2]));
            if (8 * n + lane % 4 * 2 + i % 2 > last + lane / 4 + i / 2 * 8) p = 0;
            dp[n][i] *= p;
        }
}

template <int D>
__global__ void __launch_bounds__(QueryBlock<D>::THREADS, 2)
    tensor_dq_kernel(bf16 *dq, const bf16 *dout, const bf16 *q, const bf16 *k, const bf16 *v, const float *lse,
                     const float *delta, AttentionShape a, bool aligned, bool out_aligned) {
    typedef QueryBlock<D> Block;
    constexpr int MT = Block::MT, STEP = Block::STEP, NT = Block::NT, THREADS = Block::THREADS;
    CUDA_SHARED(bf16, q_tile); // (QUERIES, D)
    bf16 *dout_tile = q_tile + QUERIES * D, *k_tile = dout_tile + QUERIES * D, *v_tile = k_tile + STEP * D;
    float *deltas = reinterpret_cast<float *>(v_tile + STEP * D); // (QUERIES): in shared memory to save registers
    int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y), kv = h / (a.n_head / a.n_kv_head);
    int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * QUERIES;
    int lane = lane_index(), warp_row = warp_index() * 16 * MT, count = a.q_len - first;
    // Position of the warp's first query; if the warp has no query, so small that it attends to no key.
    int position = warp_row < count ? a.q_offset + first + warp_row : -16 * MT;
    int keys = min(a.q_offset + first + min(count, static_cast<int>(QUERIES)), a.kv_len);
    int64_t q_at = b * a.q_batch + first * a.q_row + static_cast<int64_t>(h) * D;
    int64_t out_at = b * a.out_batch + first * a.out_row + static_cast<int64_t>(h) * D;
    // Offset of the tile in k and v.
    int64_t at = b * a.kv_batch + static_cast<int64_t>(kv) * D + thread_start<D>(a.kv_row);

    tile_load<D, QUERIES, THREADS>(q_tile, q + q_at, a.q_row, count, aligned);
    tile_load<D, QUERIES, THREADS>(dout_tile, dout + out_at, a.out_row, count, aligned);
    tile_load_part<D, STEP, THREADS>(v_tile, v + at, a.kv_row, keys, aligned);
    cp_async_commit();
    float sums[MT][D / 8][4], row_lse[MT][2], scales[MT][2];
    clear(sums);
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = warp_row + 16 * m + lane / 4 + 8 * i;
            int64_t query = (static_cast<int64_t>(b) * a.n_head + h) * a.q_len + first + row;
            row_lse[m][i] = row < count ? lse[query] * LOG2_E : INFINITY; // P = 0 for missing queries
            if (lane % 4 == 0) deltas[row] = row < count ? delta[query] : 0;
            scales[m][i] = static_cast<float>(a.scale);
        }

#pragma unroll 1
    for (int key = 0; key < keys; key += STEP) {
        bool visible = key < position + 16 * MT;
        float s[MT][NT][4], dp[MT][NT][4];
        cp_async_wait<0>();
        __syncthreads(); // V has arrived; K of the previous tile is no longer needed
        tile_load_part<D, STEP, THREADS>(k_tile, k + at, a.kv_row, keys - key, aligned);
        cp_async_commit();
        if (visible) {
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float row_delta = deltas[warp_row + 16 * m + lane / 4 + i / 2 * 8];
#pragma unroll
                    for (int n = 0; n < NT; n++) dp[m][n][i] = -row_delta;
                }
            multiply_rows<D>(dp, dout_tile + warp_row * D, v_tile);
        }
        cp_async_wait<0>();
        __syncthreads(); // K has arrived; V is no longer needed
        at += STEP * a.kv_row;
        if (key + STEP < keys) {
            tile_load_part<D, STEP, THREADS>(v_tile, v + at, a.kv_row, keys - key - STEP, aligned);
            cp_async_commit();
        }
        if (!visible) continue;
        clear(s);
        multiply_rows<D>(s, q_tile + warp_row * D, k_tile);
        uint32_t w[MT][NT / 2][4];
#pragma unroll
        for (int m = 0; m < MT; m++) {
            softmax_backward<NT>(dp[m], s[m], row_lse[m], position + 16 * m - key,
                                 static_cast<float>(a.scale) * LOG2_E);
            round_weights(w[m], dp[m]);
        }
        multiply_weights<D>(sums, w, k_tile);
    }
    store_rows<D>(dq + q_at + warp_row * a.q_row, a.q_row, count - warp_row, sums, scales, q_tile + warp_row * D,
                  out_aligned);
}

template <int D> static void launch_backward(cudaStream_t stream, const AttentionBackward &a) {
    const AttentionShape &shape = a.shape;
    bf16 *dq = static_cast<bf16 *>(a.dq), *dk = static_cast<bf16 *>(a.dk), *dv = static_cast<bf16 *>(a.dv);
    const bf16 *q = static_cast<const bf16 *>(a.q), *dout = static_cast<const bf16 *>(a.dout);
    const bf16 *k = static_cast<const bf16 *>(a.k), *v = static_cast<const bf16 *>(a.v);
    const float *lse = static_cast<const float *>(a.lse), *delta = static_cast<const float *>(a.delta);
    unsigned n_head = static_cast<unsigned>(shape.n_head), n_kv_head = static_cast<unsigned>(shape.n_kv_head);
    unsigned B = static_cast<unsigned>(shape.B);
    ASSERT(n_head <= MAX_GRID_YZ && B <= MAX_GRID_YZ);
    dim3 key_grid(whole_grid(shape.kv_len, KEYS), n_kv_head, B),
        query_grid(whole_grid(shape.q_len, QUERIES), n_head, B);
    bool aligned = rows_aligned(q, shape.q_row, shape.q_batch) && rows_aligned(k, shape.kv_row, shape.kv_batch) &&
                   rows_aligned(v, shape.kv_row, shape.kv_batch) &&
                   rows_aligned(dout, shape.out_row, shape.out_batch);
    bool dkv_aligned =
        rows_aligned(dk, shape.kv_row, shape.kv_batch) && rows_aligned(dv, shape.kv_row, shape.kv_batch);
    CUDA_CHECK(cudaFuncSetAttribute(tensor_dkv_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    KeyBlock<D>::BYTES));
    CUDA_CHECK(cudaFuncSetAttribute(tensor_dq_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    QueryBlock<D>::BYTES));
    CUDA_LAUNCH(tensor_dkv_kernel<D>, key_grid, KeyBlock<D>::THREADS, KeyBlock<D>::BYTES, stream, dk, dv, dout, q,
                k, v, lse, delta, shape, aligned, dkv_aligned);
    CUDA_CHECK_LAUNCH();
    CUDA_LAUNCH(tensor_dq_kernel<D>, query_grid, QueryBlock<D>::THREADS, QueryBlock<D>::BYTES, stream, dq, dout, q,
                k, v, lse, delta, shape, aligned, rows_aligned(dq, shape.q_row, shape.q_batch));
    CUDA_CHECK_LAUNCH();
}

void attention_tensor_backward(cudaStream_t stream, const AttentionBackward &a) {
    if (a.shape.head_dim == 64) launch_backward<64>(stream, a);
    else launch_backward<128>(stream, a);
}
