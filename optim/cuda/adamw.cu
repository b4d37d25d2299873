// AdamW on CUDA. Bytes for each parameter in float: 16 are read (p, m, v, g) and 12 written, 2 more where the weights are a
// copy in bf16.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename A> struct AdamwScalars {
    A clip_scale, lr;
    A beta1, one_minus_beta1, inv_bias1; // of the first moment; inv_bias: 1 / bias correction
    A beta2, one_minus_beta2, inv_bias2; // of the second
};

template <typename A> __device__ inline AdamwScalars<A> adamw_scalars(const MatrixBatch &x) {
    const StepInputs &in = *x.inputs;
    const StepReport &report = *x.report;
    int g = x.group;
    return {static_cast<A>(report.clip_scale),
            static_cast<A>(in.lr[g]),
            static_cast<A>(in.beta1[g]),
            static_cast<A>(1 - in.beta1[g]),
            1 / static_cast<A>(report.bias_correction1[g]),
            static_cast<A>(in.beta2[g]),
            static_cast<A>(1 - in.beta2[g]),
            1 / static_cast<A>(report.bias_correction2[g])};
}

template <typename A>
__global__ void __launch_bounds__(BLOCK)
    adamw_kernel(MatrixBatch x, __nv_bfloat16 *copy, Cut cut, A eps, A weight_decay) {
    if (x.report->ok == 0) return;
    AdamwScalars<A> k = adamw_scalars<A>(x);
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        int64_t at = row_at(cut, piece, x.stride);
        A *master = static_cast<A *>(x.master) + at;
        A *first = static_cast<A *>(x.state[0]) + row_at(cut, piece, x.state_stride[0]);
        A *second = static_cast<A *>(x.state[1]) + row_at(cut, piece, x.state_stride[1]);
        const A *grads = static_cast<const A *>(x.grads) + at;
#pragma unroll(sizeof(A) == sizeof(float) ? 2 : 1) // two packs of doubles do not fit the registers
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left = piece.end - c;
            A p[VECTOR], m[VECTOR], v[VECTOR], g[VECTOR];
            load(p, master + c, left);
            load(m, first + c, left);
            load(v, second + c, left);
            load(g, grads + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A clipped = k.clip_scale * g[e];
                // first moment: average of the gradient
                m[e] = k.beta1 * m[e] + k.one_minus_beta1 * clipped;
                // second moment: average of its square
                v[e] = k.beta2 * v[e] + k.one_minus_beta2 * (clipped * clipped);
                // both corrected for their start at zero; decoupled weight decay
                p[e] -= k.lr * (m[e] * k.inv_bias1 / (sqrt(v[e] * k.inv_bias2) + eps) + weight_decay * p[e]);
            }
            store(first + c, m, left);
            store(second + c, v, left);
            store_weights(master + c, from_element(copy, at + c), p, left);
        }
    }
}

template <typename T> void adamw_update_cuda(Stream *s, const ElementUpdate *a) {
    using A = Acc<T>;
    const MatrixBatch *x = a->batch;
    Cut cut = cut_rows(x->count, x->rows, x->cols, ELEMENT_PIECE);
    CUDA_LAUNCH(adamw_kernel<A>, cut_grid(cut), BLOCK, 0, cuda_stream(s), *x, weights_copy(x), cut,
                static_cast<A>(a->eps), static_cast<A>(a->weight_decay));
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(adamw_update_cuda)
