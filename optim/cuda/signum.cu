// Signum on CUDA. Traffic per float parameter: reads 12 bytes (p, m, g) and writes 8, or 10 with bf16 weights.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename A>
__global__ void __launch_bounds__(BLOCK)
    signum_kernel(MatrixBatch batch, __nv_bfloat16 *copy, Tiling tiling, A weight_decay) {
    if (batch.report->ok == 0) return;
    bool has_momentum = batch.state[0] != nullptr; // without momentum m is the gradient
    double b = has_momentum ? batch.inputs->momentum[batch.group] : 0;
    A clip_scale = static_cast<A>(batch.report->clip_scale), lr = static_cast<A>(batch.inputs->lr[batch.group]);
    A momentum = static_cast<A>(b), one_minus_momentum = static_cast<A>(1 - b);
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
            A p[VECTOR], m[VECTOR] = {}, g[VECTOR];
            load(p, master + c, left);
            load(g, grads + c, left);
            if (has_momentum) load(m, state + c, left);
            for (int e = 0; e < VECTOR; e++) {
                // momentum: moving average of the gradient
                m[e] = momentum * m[e] + one_minus_momentum * (clip_scale * g[e]);
                // decoupled weight decay
                p[e] -= lr * (sign_of(m[e]) + weight_decay * p[e]);
            }
            if (has_momentum) store(state + c, m, left);
            store_weights(master + c, offset_or_null(copy, at + c), p, left);
        }
    }
}

template <typename T> void signum_update_cuda(Stream *s, const ElementUpdate *args) {
    using A = Acc<T>;
    const MatrixBatch *batch = args->batch;
    Tiling tiling = tile_rows(batch->count, batch->rows, batch->cols, ELEMENT_TILE);
    CUDA_LAUNCH(signum_kernel<A>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), *batch, weights_copy(batch),
                tiling, static_cast<A>(args->weight_decay));
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(signum_update_cuda)
