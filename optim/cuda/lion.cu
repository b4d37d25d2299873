// Lion on CUDA. Traffic per float parameter: reads 12 bytes (p, m, g) and writes 8, or 10 with bf16 weights.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename A> struct LionScalars { A clip_scale, lr, beta1, one_minus_beta1, beta2, one_minus_beta2; };

template <typename A> __device__ inline LionScalars<A> lion_scalars(const MatrixBatch &batch) {
    const StepInputs &inputs = *batch.inputs;
    int group = batch.group;
    return {static_cast<A>(batch.report->clip_scale), static_cast<A>(inputs.lr[group]),
            static_cast<A>(inputs.beta1[group]),      static_cast<A>(1 - inputs.beta1[group]),
            static_cast<A>(inputs.beta2[group]),      static_cast<A>(1 - inputs.beta2[group])};
}

template <typename A>
__global__ void __launch_bounds__(BLOCK)
    lion_kernel(MatrixBatch batch, __nv_bfloat16 *copy, Tiling tiling, A weight_decay) {
    if (batch.report->ok == 0) return;
    LionScalars<A> scalars = lion_scalars<A>(batch);
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        int64_t at = row_offset(tiling, tile, batch.stride);
        A *master = static_cast<A *>(batch.master) + at;
        A *momentum = static_cast<A *>(batch.state[0]) + row_offset(tiling, tile, batch.state_stride[0]);
        const A *grads = static_cast<const A *>(batch.grads) + at;
#pragma unroll 2
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            A p[VECTOR], m[VECTOR], g[VECTOR];
            load(p, master + c, left);
            load(m, momentum + c, left);
            load(g, grads + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A clipped = scalars.clip_scale * g[e];
                // update direction: sign of the interpolation between momentum and gradient
                A u = scalars.beta1 * m[e] + scalars.one_minus_beta1 * clipped;
                // decoupled weight decay
                p[e] -= scalars.lr * (sign_of(u) + weight_decay * p[e]);
                // momentum
                m[e] = scalars.beta2 * m[e] + scalars.one_minus_beta2 * clipped;
            }
            store(momentum + c, m, left);
            store_weights(master + c, offset_or_null(copy, at + c), p, left);
        }
    }
}

template <typename T> void lion_update_cuda(Stream *s, const ElementUpdate *args) {
    using A = Acc<T>;
    const MatrixBatch *batch = args->batch;
    Tiling tiling = tile_rows(batch->count, batch->rows, batch->cols, ELEMENT_TILE);
    CUDA_LAUNCH(lion_kernel<A>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), *batch, weights_copy(batch), tiling,
                static_cast<A>(args->weight_decay));
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(lion_update_cuda)
