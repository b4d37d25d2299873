// SGD with momentum on CUDA. Traffic per float parameter: reads 12 bytes (p, b, g), writes 8, or 10 with bf16 weights.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename A>
__global__ void __launch_bounds__(BLOCK)
    sgd_kernel(MatrixBatch batch, __nv_bfloat16 *copy, Tiling tiling, bool nesterov, A weight_decay) {
    if (batch.report->ok == 0) return;
    A clip_scale = static_cast<A>(batch.report->clip_scale), lr = static_cast<A>(batch.inputs->lr[batch.group]);
    A momentum = static_cast<A>(batch.inputs->momentum[batch.group]);
    A d_weight = nesterov ? 1 : 0, b_weight = nesterov ? momentum : 1; // p -= lr (d_weight d + b_weight b)
    bool has_momentum = batch.state[0] != nullptr;                     // without momentum b is d
    if (!has_momentum) d_weight = 1, b_weight = 0;
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        int64_t at = row_offset(tiling, tile, batch.stride);
        A *master = static_cast<A *>(batch.master) + at;
        A *state =
            offset_or_null(static_cast<A *>(batch.state[0]), row_offset(tiling, tile, batch.state_stride[0]));
        const A *grads = static_cast<const A *>(batch.grads) + at;
#pragma unroll 2
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            A p[VECTOR], b[VECTOR] = {}, g[VECTOR];
            load(p, master + c, left);
            load(g, grads + c, left);
            if (has_momentum) load(b, state + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A d = clip_scale * g[e] + weight_decay * p[e];
                b[e] = momentum * b[e] + d;
                p[e] -= lr * (d_weight * d + b_weight * b[e]);
            }
            if (has_momentum) store(state + c, b, left);
            store_weights(master + c, offset_or_null(copy, at + c), p, left);
        }
    }
}

template <typename T> void sgd_update_cuda(Stream *s, const ElementUpdate *args) {
    using A = Acc<T>;
    const MatrixBatch *batch = args->batch;
    Tiling tiling = tile_rows(batch->count, batch->rows, batch->cols, ELEMENT_TILE);
    CUDA_LAUNCH(sgd_kernel<A>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), *batch, weights_copy(batch), tiling,
                args->nesterov, static_cast<A>(args->weight_decay));
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(sgd_update_cuda)
