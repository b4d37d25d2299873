// Attention for any head_dim up to 256 in fp32, by tiles of 64 queries and 64 keys: the same algorithm as on the CPU
// (Dao et al. 2022, algorithms 1 and 4). A block of 16 x 16 threads holds a tile of scores in registers, thread (ty,
// tx) the elements (ty + 16 i, tx + 16 j), and in the same layout the 64 output rows of the block. Operands pass
// through shared memory in slices of 32 or 64 columns, so the size of the buffers does not depend on head_dim.
#include "device/cuda/kernel.h"
#include "model/cuda/attention.h"

enum {
    TILE = 64,     // queries and keys of a tile
    SIDE = 16,     // threads per tile dimension
    MICRO = 4,     // TILE / SIDE: scores of a thread per dimension
    THREADS = 256, // SIDE^2
    DEPTH = 32,    // columns of Q and K loaded at a time for scores
    SLICE = 64,    // columns of V loaded at a time for weighted sums
    PAD = 1,       // row padding against bank conflicts of column accesses
    BUFFER = 2 * TILE * (DEPTH + PAD),
    WEIGHTS = TILE * (TILE + PAD)
};

// `count` rows of head_dim elements; the rows after them are treated as zeros.
template <typename T> struct Rows {
    const T *at;
    int64_t stride;
    int count;
};

// The first element of a head in an array with these strides.
template <typename T> static __device__ T *head_start(T *x, int64_t batch, int64_t b, int64_t h, int head_dim) {
    return x + b * batch + h * head_dim;
}

template <typename T> static __device__ Rows<T> rows_from(const T *head, int64_t stride, int first, int len) {
    return Rows<T>{head + first * stride, stride, min(static_cast<int>(TILE), len - first)};
}

// Copies columns [d, d + width) of the rows to `to` (TILE, width) with row stride to_row, zero-padded.
template <typename T>
static __device__ void load_columns(float *to, int to_row, const Rows<T> &x, int d, int width, int head_dim) {
    for (int i = static_cast<int>(threadIdx.x); i < TILE * width; i += THREADS) {
        int row = i / width, column = i % width;
        bool valid = row < x.count && d + column < head_dim;
        to[row * to_row + column] = valid ? static_cast<float>(x.at[row * x.stride + d + column]) : 0.0f;
    }
}

// scores = A B^T for two tiles of rows.
template <typename T>
static __device__ void score_tile(float (&scores)[MICRO][MICRO], const Rows<T> &a, const Rows<T> &b, int head_dim,
                                  float *buffer) {
    int tx = static_cast<int>(threadIdx.x) % SIDE, ty = static_cast<int>(threadIdx.x) / SIDE;
    float *left = buffer, *right = buffer + TILE * (DEPTH + PAD);
#pragma unroll
    for (int i = 0; i < MICRO; i++)
#pragma unroll
        for (int j = 0; j < MICRO; j++) scores[i][j] = 0;
    for (int d = 0; d < head_dim; d += DEPTH) {
        __syncthreads(); // all threads have read the buffer
        load_columns(left, DEPTH + PAD, a, d, DEPTH, head_dim);
        load_columns(right, DEPTH + PAD, b, d, DEPTH, head_dim);
        __syncthreads();
#pragma unroll 8
        for (int e = 0; e < DEPTH; e++) {
            float x[MICRO], y[MICRO];
#pragma unroll
            for (int i = 0; i < MICRO; i++) {
                x[i] = left[(ty + SIDE * i) * (DEPTH + PAD) + e];
                y[i] = right[(tx + SIDE * i) * (DEPTH + PAD) + e];
            }
#pragma unroll
            for (int i = 0; i < MICRO; i++)
#pragma unroll
                for (int j = 0; j < MICRO; j++) scores[i][j] += x[i] * y[j];
        }
    }
}

// Writes the block's tile of weights to shared memory; visible after the next barrier.
static __device__ void store_weights(float *weights, const float (&w)[MICRO][MICRO]) {
    int tx = static_cast<int>(threadIdx.x) % SIDE, ty = static_cast<int>(threadIdx.x) / SIDE;
#pragma unroll
    for (int i = 0; i < MICRO; i++)
#pragma unroll
        for (int j = 0; j < MICRO; j++) weights[(ty + SIDE * i) * (TILE + PAD) + tx + SIDE * j] = w[i][j];
}

// sums (TILE, DIM) += weights (TILE, TILE) times the rows; sums[i][j] is element (ty + 16 i, tx + 16 j).
template <int DIM, typename T>
static __device__ void add_weighted_rows(float (&sums)[MICRO][DIM / SIDE], const float *weights, const Rows<T> &x,
                                         int head_dim, float *buffer) {
    int tx = static_cast<int>(threadIdx.x) % SIDE, ty = static_cast<int>(threadIdx.x) / SIDE;
#pragma unroll
    for (int slice = 0; slice < DIM / SLICE; slice++) {
        __syncthreads(); // the buffer is free, the weights are visible
        load_columns(buffer, SLICE, x, slice * SLICE, SLICE, head_dim);
        __syncthreads();
#pragma unroll 4
        for (int e = 0; e < TILE; e++) {
            float w[MICRO], y[MICRO];
#pragma unroll
            for (int i = 0; i < MICRO; i++) {
                w[i] = weights[(ty + SIDE * i) * (TILE + PAD) + e];
                y[i] = buffer[e * SLICE + tx + SIDE * i];
            }
#pragma unroll
            for (int i = 0; i < MICRO; i++)
#pragma unroll
                for (int j = 0; j < MICRO; j++) sums[i][slice * MICRO + j] += w[i] * y[j];
        }
    }
}

// Rows [0, count) of `to` = factor[i] * sums.
template <int DIM, typename T>
static __device__ void store_rows(T *to, int64_t stride, int count, const float (&sums)[MICRO][DIM / SIDE],
                                  const float (&factor)[MICRO], int head_dim) {
    int tx = static_cast<int>(threadIdx.x) % SIDE, ty = static_cast<int>(threadIdx.x) / SIDE;
#pragma unroll
    for (int i = 0; i < MICRO; i++)
#pragma unroll
        for (int j = 0; j < DIM / SIDE; j++) {
            int row = ty + SIDE * i, column = tx + SIDE * j;
            if (row < count && column < head_dim) to[row * stride + column] = (T)(sums[i][j] * factor[i]);
        }
}

// The queries of a block: a tile of the sequence, head and batch entry. Tiles with the most keys start first.
struct QueryTile {
    int b, h, kv, first, keys; // kv: key/value head; keys: number of keys the tile attends to
};

static __device__ QueryTile query_tile(const AttentionShape &a) {
    QueryTile t;
    t.b = static_cast<int>(blockIdx.z), t.h = static_cast<int>(blockIdx.y), t.kv = t.h / (a.n_head / a.n_kv_head);
    t.first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * TILE;
    t.keys = min(a.q_offset + t.first + TILE, a.kv_len);
    return t;
}

template <typename T, int DIM>
__global__ void __launch_bounds__(THREADS)
    simple_forward_kernel(T *out, float *lse, const T *q, const T *k, const T *v, AttentionShape a) {
    CUDA_SHARED_ARRAY(float, buffer, BUFFER);
    CUDA_SHARED_ARRAY(float, weights, WEIGHTS);
    int tx = static_cast<int>(threadIdx.x) % SIDE, ty = static_cast<int>(threadIdx.x) / SIDE;
    QueryTile t = query_tile(a);
    Rows<T> queries = rows_from(head_start(q, a.q_batch, t.b, t.h, a.head_dim), a.q_row, t.first, a.q_len);
    const T *k_head = head_start(k, a.kv_batch, t.b, t.kv, a.head_dim);
    const T *v_head = head_start(v, a.kv_batch, t.b, t.kv, a.head_dim);
    float scale = static_cast<float>(a.scale), sums[MICRO][DIM / SIDE] = {}, max[MICRO], total[MICRO];
#pragma unroll
    for (int i = 0; i < MICRO; i++) max[i] = -INFINITY, total[i] = 0;

    for (int key = 0; key < t.keys; key += TILE) {
        float s[MICRO][MICRO];
        score_tile(s, queries, rows_from(k_head, a.kv_row, key, a.kv_len), a.head_dim, buffer);
#pragma unroll
        for (int i = 0; i < MICRO; i++) {
            int last_visible = a.q_offset + t.first + ty + SIDE * i - key; // column of the query's last key
            float new_max = -INFINITY, sum = 0;
#pragma unroll
            for (int j = 0; j < MICRO; j++) {
                s[i][j] = tx + SIDE * j <= last_visible ? s[i][j] * scale : -INFINITY;
                new_max = fmaxf(new_max, s[i][j]);
            }
            // Every query attends to a key of the first tile: the maximum is finite from then on.
            new_max = fmaxf(max[i], lanes_max(new_max, SIDE));
#pragma unroll
            for (int j = 0; j < MICRO; j++) {
                s[i][j] = expf(s[i][j] - new_max);
                sum += s[i][j];
            }
            float rescale = expf(max[i] - new_max);
            total[i] = total[i] * rescale + lanes_sum(sum, SIDE);
            max[i] = new_max;
#pragma unroll
            for (int d = 0; d < DIM / SIDE; d++) sums[i][d] *= rescale;
        }
        store_weights(weights, s);
        add_weighted_rows<DIM>(sums, weights, rows_from(v_head, a.kv_row, key, a.kv_len), a.head_dim, buffer);
    }

    float inverse[MICRO];
#pragma unroll
    for (int i = 0; i < MICRO; i++) {
        int row = ty + SIDE * i;
        inverse[i] = 1 / total[i];
        if (tx == 0 && row < queries.count)
            lse[(static_cast<int64_t>(t.b) * a.n_head + t.h) * a.q_len + t.first + row] = max[i] + logf(total[i]);
    }
    store_rows<DIM>(head_start(out, a.out_batch, t.b, t.h, a.head_dim) + t.first * a.out_row, a.out_row,
                    queries.count, sums, inverse, a.head_dim);
}

// dQ = scale dS K with dS = P (dO V^T - delta); P is recomputed from the scores and their log-sum-exp.
template <typename T, int DIM>
__global__ void __launch_bounds__(THREADS)
    simple_dq_kernel(T *dq, const T *dout, const T *q, const T *k, const T *v, const float *lse, const float *delta,
                     AttentionShape a) {
    CUDA_SHARED_ARRAY(float, buffer, BUFFER);
    CUDA_SHARED_ARRAY(float, weights, WEIGHTS);
    int tx = static_cast<int>(threadIdx.x) % SIDE, ty = static_cast<int>(threadIdx.x) / SIDE;
    QueryTile t = query_tile(a);
    Rows<T> queries = rows_from(head_start(q, a.q_batch, t.b, t.h, a.head_dim), a.q_row, t.first, a.q_len);
    Rows<T> douts = rows_from(head_start(dout, a.out_batch, t.b, t.h, a.head_dim), a.out_row, t.first, a.q_len);
    const T *k_head = head_start(k, a.kv_batch, t.b, t.kv, a.head_dim);
    const T *v_head = head_start(v, a.kv_batch, t.b, t.kv, a.head_dim);
    int64_t row = (static_cast<int64_t>(t.b) * a.n_head + t.h) * a.q_len + t.first;
    float scale = static_cast<float>(a.scale), sums[MICRO][DIM / SIDE] = {}, row_lse[MICRO], row_delta[MICRO],
          factor[MICRO];
#pragma unroll
    for (int i = 0; i < MICRO; i++) {
        bool valid = ty + SIDE * i < queries.count;
        row_lse[i] = valid ? lse[row + ty + SIDE * i] : 0;
        row_delta[i] = valid ? delta[row + ty + SIDE * i] : 0;
        factor[i] = scale;
    }

    for (int key = 0; key < t.keys; key += TILE) {
        float s[MICRO][MICRO], ds[MICRO][MICRO];
        Rows<T> keys = rows_from(k_head, a.kv_row, key, a.kv_len);
        score_tile(s, queries, keys, a.head_dim, buffer);
        score_tile(ds, douts, rows_from(v_head, a.kv_row, key, a.kv_len), a.head_dim, buffer);
#pragma unroll
        for (int i = 0; i < MICRO; i++) {
            int last_visible = a.q_offset + t.first + ty + SIDE * i - key;
#pragma unroll
            for (int j = 0; j < MICRO; j++) {
                float p = tx + SIDE * j <= last_visible ? expf(s[i][j] * scale - row_lse[i]) : 0;
                ds[i][j] = p * (ds[i][j] - row_delta[i]);
            }
        }
        store_weights(weights, ds);
        add_weighted_rows<DIM>(sums, weights, keys, a.head_dim, buffer);
    }
    store_rows<DIM>(head_start(dq, a.q_batch, t.b, t.h, a.head_dim) + t.first * a.q_row, a.q_row, queries.count,
                    sums, factor, a.head_dim);
}

// dV = P^T dO and dK = scale dS^T Q for 64 keys of a key/value head, summed over its query heads in order and within
// each over the queries in order.
template <typename T, int DIM>
__global__ void __launch_bounds__(THREADS)
    simple_dkv_kernel(T *dk, T *dv, const T *dout, const T *q, const T *k, const T *v, const float *lse,
                      const float *delta, AttentionShape a) {
    CUDA_SHARED_ARRAY(float, buffer, BUFFER);
    CUDA_SHARED_ARRAY(float, weights, WEIGHTS);
    int tx = static_cast<int>(threadIdx.x) % SIDE, ty = static_cast<int>(threadIdx.x) / SIDE;
    int b = static_cast<int>(blockIdx.z), kv = static_cast<int>(blockIdx.y),
        key = static_cast<int>(blockIdx.x) * TILE, group = a.n_head / a.n_kv_head;
    Rows<T> keys = rows_from(head_start(k, a.kv_batch, b, kv, a.head_dim), a.kv_row, key, a.kv_len);
    Rows<T> values = rows_from(head_start(v, a.kv_batch, b, kv, a.head_dim), a.kv_row, key, a.kv_len);
    int first = max(0, key - a.q_offset) / TILE * TILE; // first tile with a query that attends to one of the keys
    float scale = static_cast<float>(a.scale), dk_sums[MICRO][DIM / SIDE] = {}, dv_sums[MICRO][DIM / SIDE] = {};

    for (int h = kv * group; h < (kv + 1) * group; h++) {
        const T *q_head = head_start(q, a.q_batch, b, h, a.head_dim);
        const T *dout_head = head_start(dout, a.out_batch, b, h, a.head_dim);
        int64_t row = (static_cast<int64_t>(b) * a.n_head + h) * a.q_len;
        for (int t = first; t < a.q_len; t += TILE) {
            float p[MICRO][MICRO], ds[MICRO][MICRO];
            Rows<T> queries = rows_from(q_head, a.q_row, t, a.q_len);
            Rows<T> douts = rows_from(dout_head, a.out_row, t, a.q_len);
            score_tile(p, keys, queries, a.head_dim, buffer);
            score_tile(ds, values, douts, a.head_dim, buffer);
#pragma unroll
            for (int j = 0; j < MICRO; j++) {
                int query = t + tx + SIDE * j;
                bool valid = query < a.q_len;
                float query_lse = valid ? lse[row + query] : 0, query_delta = valid ? delta[row + query] : 0;
#pragma unroll
                for (int i = 0; i < MICRO; i++) {
                    bool visible = valid && key + ty + SIDE * i <= a.q_offset + query;
                    p[i][j] = visible ? expf(p[i][j] * scale - query_lse) : 0;
                    ds[i][j] = p[i][j] * (ds[i][j] - query_delta);
                }
            }
            store_weights(weights, p);
            add_weighted_rows<DIM>(dv_sums, weights, douts, a.head_dim, buffer);
            __syncthreads(); // all threads have read the weights
            store_weights(weights, ds);
            add_weighted_rows<DIM>(dk_sums, weights, queries, a.head_dim, buffer);
        }
    }
    float one[MICRO], scales[MICRO];
#pragma unroll
    for (int i = 0; i < MICRO; i++) one[i] = 1, scales[i] = scale;
    store_rows<DIM>(head_start(dk, a.kv_batch, b, kv, a.head_dim) + key * a.kv_row, a.kv_row, keys.count, dk_sums,
                    scales, a.head_dim);
    store_rows<DIM>(head_start(dv, a.kv_batch, b, kv, a.head_dim) + key * a.kv_row, a.kv_row, keys.count, dv_sums,
                    one, a.head_dim);
}

// Grid of one block per tile of `len` rows, head and sequence.
static dim3 tile_grid(int len, int heads, int B) {
    ASSERT(heads <= MAX_GRID_YZ && B <= MAX_GRID_YZ);
    return dim3(whole_grid(len, TILE), static_cast<unsigned>(heads), static_cast<unsigned>(B));
}

template <typename T, int DIM> static void launch_forward(cudaStream_t stream, const AttentionForward &a) {
    const AttentionShape &shape = a.shape;
    CUDA_LAUNCH((simple_forward_kernel<T, DIM>), tile_grid(shape.q_len, shape.n_head, shape.B), THREADS, 0, stream,
                static_cast<T *>(a.out), static_cast<float *>(a.lse), static_cast<const T *>(a.q),
                static_cast<const T *>(a.k), static_cast<const T *>(a.v), shape);
    CUDA_CHECK_LAUNCH();
}

template <typename T, int DIM> static void launch_backward(cudaStream_t stream, const AttentionBackward &a) {
    const AttentionShape &shape = a.shape;
    T *dq = static_cast<T *>(a.dq), *dk = static_cast<T *>(a.dk), *dv = static_cast<T *>(a.dv);
    const T *q = static_cast<const T *>(a.q), *k = static_cast<const T *>(a.k), *v = static_cast<const T *>(a.v);
    const T *dout = static_cast<const T *>(a.dout);
    const float *lse = static_cast<const float *>(a.lse), *delta = static_cast<const float *>(a.delta);
    CUDA_LAUNCH((simple_dkv_kernel<T, DIM>), tile_grid(shape.kv_len, shape.n_kv_head, shape.B), THREADS, 0, stream,
                dk, dv, dout, q, k, v, lse, delta, shape);
    CUDA_CHECK_LAUNCH();
    CUDA_LAUNCH((simple_dq_kernel<T, DIM>), tile_grid(shape.q_len, shape.n_head, shape.B), THREADS, 0, stream, dq,
                dout, q, k, v, lse, delta, shape);
    CUDA_CHECK_LAUNCH();
}

template <typename T> void attention_simple_forward(cudaStream_t stream, const AttentionForward &a) {
    if (a.shape.head_dim <= 64) launch_forward<T, 64>(stream, a);
    else if (a.shape.head_dim <= 128) launch_forward<T, 128>(stream, a);
    else launch_forward<T, 256>(stream, a);
}

template <typename T> void attention_simple_backward(cudaStream_t stream, const AttentionBackward &a) {
    if (a.shape.head_dim <= 64) launch_backward<T, 64>(stream, a);
    else if (a.shape.head_dim <= 128) launch_backward<T, 128>(stream, a);
    else launch_backward<T, 256>(stream, a);
}

CUDA_INSTANCES(attention_simple_forward)
CUDA_INSTANCES(attention_simple_backward)
