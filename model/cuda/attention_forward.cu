// FlashAttention-2 (Dao 2023, algorithm 1) for bf16 on the tensor cores, head_dim 64 and 128.
//
// A block of 4 warps processes 128 queries, 32 per warp, against tiles of 64 keys. With two rows of mma blocks per
// warp, each ldmatrix.x4 of K or V feeds four mma: per tile and warp at head_dim 128 there are 256 mma, 80 ldmatrix.x4
// and 64 exp2 per lane. On an sm_80 SM a warp-tile costs 512 tensor core cycles, 320 shared memory cycles and 128 exp2
// cycles, so it is tensor-core bound as long as loads and softmax overlap with the other block (2 per SM: 255
// registers, 64 KB each). On sm_90 mma.sync reaches about 0.6 of the peak of wgmma, and shared memory is close to being
// the bound. V of a tile is copied while its scores are computed, K of the next tile during softmax and P V.
#include "device/cuda/kernel.h"
#include "model/cuda/attention_tiles.h"
#include "model/cuda/attention.h"

enum { QUERIES = 128, KEYS = 64, THREADS = 128, MT = 2, WARP_ROWS = 16 * MT, NT = KEYS / 8 };

// Causal mask of scores (16, KEYS): row r keeps the columns <= last + r, the others become -infinity.
static __device__ inline void apply_causal_mask(float (&s)[NT][4], int last) {
    int lane = lane_index();
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (8 * n + lane % 4 * 2 + i % 2 > last + lane / 4 + i / 2 * 8) s[n][i] = -INFINITY;
}

// Online softmax step: s becomes exp(s - max) with the new maximum; sum (this lane's part) and o are rescaled to it.
// Every query attends to a key of the first tile, so its maximum is finite from then on. `scale` includes the factor
// log2(e).
template <int D>
static __device__ inline void softmax_rows(float (&o)[D / 8][4], float (&max)[2], float (&sum)[2],
                                           float (&s)[NT][4], float scale) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float new_max = max[i], total = 0;
#pragma unroll
        for (int n = 0; n < NT; n++) new_max = fmaxf(new_max, fmaxf(s[n][2 * i], s[n][2 * i + 1]));
        new_max = lanes_max(new_max, 4);
        float rescale = exp2_approx((max[i] - new_max) * scale), top = new_max * scale;
        max[i] = new_max;
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int j = 2 * i; j < 2 * i + 2; j++) {
                s[n][j] = exp2_approx(fmaf(s[n][j], scale, -top));
                total += s[n][j];
            }
        sum[i] = sum[i] * rescale + total;
#pragma unroll
        for (int n = 0; n < D / 8; n++) o[n][2 * i] *= rescale, o[n][2 * i + 1] *= rescale;
    }
}

// P is rounded to bf16 for P V, after its row sums are taken: each weight in out has a relative error of up to 2^-8.
template <int D>
__global__ void __launch_bounds__(THREADS, 2)
    tensor_forward_kernel(bf16 *out, float *lse, const bf16 *q, const bf16 *k, const bf16 *v, AttentionShape a,
                          bool aligned, bool out_aligned) {
    CUDA_SHARED(bf16, q_tile); // (QUERIES, D)
    bf16 *k_tile = q_tile + QUERIES * D, *v_tile = k_tile + KEYS * D;
    int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y), kv = h / (a.n_head / a.n_kv_head);
    int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * QUERIES; // blocks with the most keys start first
    int lane = lane_index(), warp_row = warp_index() * WARP_ROWS, count = a.q_len - first;
    // Position of the warp's first query; if the warp has no query, so small that it attends to no key.
    int position = warp_row < count ? a.q_offset + first + warp_row : -WARP_ROWS;
    int keys = min(a.q_offset + first + min(count, static_cast<int>(QUERIES)), a.kv_len);
    q += b * a.q_batch + first * a.q_row + static_cast<int64_t>(h) * D;
    // Offset of the tile in k and v.
    int64_t at = b * a.kv_batch + static_cast<int64_t>(kv) * D + thread_start<D>(a.kv_row);

    float o[MT][D / 8][4], max[MT][2], sum[MT][2],
        scale = static_cast<float>(a.scale * 1.4426950408889634); // of the scores, times log2(e) for exp2
    clear(o);
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) max[m][i] = -INFINITY, sum[m][i] = 0;

    tile_load<D, QUERIES, THREADS>(q_tile, q, a.q_row, count, aligned);
    tile_load_part<D, KEYS, THREADS>(k_tile, k + at, a.kv_row, keys, aligned);
    cp_async_commit();
#pragma unroll 1
    for (int key = 0; key < keys; key += KEYS) {
        bool visible = key < position + WARP_ROWS;
        float s[MT][NT][4];
        cp_async_wait<0>();
        __syncthreads(); // K has arrived; V of the previous tile is no longer needed
        tile_load_part<D, KEYS, THREADS>(v_tile, v + at, a.kv_row, keys - key, aligned);
        cp_async_commit();
        if (visible) {
            clear(s);
            multiply_rows<D>(s, q_tile + warp_row * D, k_tile);
        }
        cp_async_wait<0>();
        __syncthreads(); // V has arrived; K is no longer needed
        at += KEYS * a.kv_row;
        if (key + KEYS < keys) {
            tile_load_part<D, KEYS, THREADS>(k_tile, k + at, a.kv_row, keys - key - KEYS, aligned);
            cp_async_commit();
        }
        if (!visible) continue;
        bool masked = key + KEYS - 1 > position;
        uint32_t p[MT][NT / 2][4];
#pragma unroll
        for (int m = 0; m < MT; m++) {
            if (masked) apply_causal_mask(s[m], position + 16 * m - key);
            softmax_rows<D>(o[m], max[m], sum[m], s[m], scale);
            round_weights(p[m], s[m]);
        }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
        __syncwarp(); // keeps ptxas from hoisting so many loads of V that it spills; not needed for sm_80
#endif
        multiply_weights<D>(o, p, v_tile);
    }

    lse += (static_cast<int64_t>(b) * a.n_head + h) * a.q_len + first;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = warp_row + 16 * m + lane / 4 + 8 * i;
            float total = sum[m][i];
            total += __shfl_xor_sync(FULL_MASK, total, 1); // adjacent lanes first, unlike lanes_sum
            total += __shfl_xor_sync(FULL_MASK, total, 2);
            if (lane % 4 == 0 && row < count) lse[row] = max[m][i] * static_cast<float>(a.scale) + logf(total);
            sum[m][i] = 1 / total;
        }
    out += b * a.out_batch + (first + warp_row) * a.out_row + static_cast<int64_t>(h) * D;
    store_rows<D>(out, a.out_row, count - warp_row, o, sum, q_tile + warp_row * D, out_aligned);
}

template <int D> static void launch_forward(cudaStream_t stream, const AttentionForward &a) {
    const AttentionShape &shape = a.shape;
    bf16 *out = static_cast<bf16 *>(a.out);
    const bf16 *q = static_cast<const bf16 *>(a.q);
    const bf16 *k = static_cast<const bf16 *>(a.k), *v = static_cast<const bf16 *>(a.v);
    ASSERT(shape.n_head <= MAX_GRID_YZ && shape.B <= MAX_GRID_YZ);
    dim3 grid(whole_grid(shape.q_len, QUERIES), static_cast<unsigned>(shape.n_head),
              static_cast<unsigned>(shape.B));
    bool aligned = rows_aligned(q, shape.q_row, shape.q_batch) && rows_aligned(k, shape.kv_row, shape.kv_batch) &&
                   rows_aligned(v, shape.kv_row, shape.kv_batch);
    int bytes = (QUERIES + 2 * KEYS) * D * static_cast<int>(sizeof(bf16));
    CUDA_CHECK(cudaFuncSetAttribute(tensor_forward_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    CUDA_LAUNCH(tensor_forward_kernel<D>, grid, THREADS, bytes, stream, out, static_cast<float *>(a.lse), q, k, v,
                shape, aligned, rows_aligned(out, shape.out_row, shape.out_batch));
    CUDA_CHECK_LAUNCH();
}

void attention_tensor_forward(cudaStream_t stream, const AttentionForward &a) {
    if (a.shape.head_dim == 64) launch_forward<64>(stream, a);
    else launch_forward<128>(stream, a);
}
