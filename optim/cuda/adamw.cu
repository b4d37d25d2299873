// AdamW on CUDA. Traffic per float parameter: reads 16 bytes (p, m, v, g) and writes 12, or 14 with bf16 weights.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename A> struct AdamwScalars {
    A clip_scale, lr;
    A beta1, one_minus_beta1, inv_bias1; // first moment; inv_bias: 1 / bias correction
    A beta2, one_minus_beta2, inv_bias2; // second moment
};

template <typename A> __device__ inline AdamwScalars<A> adamw_scalars(const MatrixBatch &batch) {
    const StepInputs &inputs = *batch.inputs;
    const StepReport &report = *batch.report;
    int group = batch.group;
    return {static_cast<A>(report.clip_scale),
            static_cast<A>(inputs.lr[group]),
            static_cast<A>(inputs.beta1[group]),
            static_cast<A>(1 - inputs.beta1[group]),
            1 / static_cast<A>(report.bias_correction1[group]),
            static_cast<A>(inputs.beta2[group]),
            static_cast<A>(1 - inputs.beta2[group]),
            1 / static_cast<A>(report.bias_correction2[group])};
}

template <typename A>
__global__ void __launch_bounds__(BLOCK)
    adamw_kernel(MatrixBatch batch, __nv_bfloat16 *copy, Tiling tiling, A eps, A weight_decay) {
    if (batch.report->ok == 0) return;
    AdamwScalars<A> scalars = adamw_scalars<A>(batch);
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        int64_t at = row_offset(tiling, tile, batch.stride);
        A *master = static_cast<A *>(batch.master) + at;
        A *first = static_cast<A *>(batch.state[0]) + row_offset(tiling, tile, batch.state_stride[0]);
        A *second = static_cast<A *>(batch.state[1]) + row_offset(tiling, tile, batch.state_stride[1]);
        const A *grads = static_cast<const A *>(batch.grads) + at;
#pragma unroll(sizeof(A) == sizeof(float) ? 2 : 1) // two packs of doubles would spill registers
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            A p[VECTOR], m[VECTOR], v[VECTOR], g[VECTOR];
            load(p, master + c, left);
            load(m, first + c, left);
            load(v, second + c, left);
            load(g, grads + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A clipped = scalars.clip_scale * g[e];
                // first moment: moving average of the gradient
                m[e] = scalars.beta1 * m[e] + scalars.one_minus_beta1 * clipped;
                // second moment: moving average of its square
                v[e] = scalars.beta2 * v[e] + scalars.one_minus_beta2 * (clipped * clipped);
                // bias-corrected moments; decoupled weight decay
                p[e] -= scalars.lr *
                        (m[e] * scalars.inv_bias1 / (sqrt(v[e] * scalars.inv_bias2) + eps) + weight_decay * p[e]);
            }
            store(first + c, m, left);
            store(second + c, v, left);
            store_weights(master + c, offset_or_null(copy, at + c), p, left);
        }
    }
}

template <typename T> void adamw_update_cuda(Stream *s, const ElementUpdate *args) {
    using A = Acc<T>;
    const MatrixBatch *batch = args->batch;
    Tiling tiling = tile_rows(batch->count, batch->rows, batch->cols, ELEMENT_TILE);
    CUDA_LAUNCH(adamw_kernel<A>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), *batch, weights_copy(batch), tiling,
                static_cast<A>(args->eps), static_cast<A>(args->weight_decay));
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(adamw_update_cuda)
