// Lion on CUDA. Bytes for each parameter in float: 12 are read (p, m, g) and 8 written, 2 more where the weights are a copy
// in bf16.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename A> struct LionScalars { A clip_scale, lr, beta1, one_minus_beta1, beta2, one_minus_beta2; };

template <typename A> __device__ inline LionScalars<A> lion_scalars(const MatrixBatch &x) {
    const StepInputs &in = *x.inputs;
    int g = x.group;
    return {static_cast<A>(x.report->clip_scale), static_cast<A>(in.lr[g]),    static_cast<A>(in.beta1[g]),
            static_cast<A>(1 - in.beta1[g]),      static_cast<A>(in.beta2[g]), static_cast<A>(1 - in.beta2[g])};
}

template <typename A>
__global__ void __launch_bounds__(BLOCK) lion_kernel(MatrixBatch x, __nv_bfloat16 *copy, Cut cut, A weight_decay) {
    if (x.report->ok == 0) return;
    LionScalars<A> k = lion_scalars<A>(x);
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        int64_t at = row_at(cut, piece, x.stride);
        A *master = static_cast<A *>(x.master) + at;
        A *momentum = static_cast<A *>(x.state[0]) + row_at(cut, piece, x.state_stride[0]);
        const A *grads = static_cast<const A *>(x.grads) + at;
#pragma unroll 2
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left = piece.end - c;
            A p[VECTOR], m[VECTOR], g[VECTOR];
            load(p, master + c, left);
            load(m, momentum + c, left);
            load(g, grads + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A clipped = k.clip_scale * g[e];
                // the direction: momentum and gradient, of which only the sign counts
                A u = k.beta1 * m[e] + k.one_minus_beta1 * clipped;
                // decoupled weight decay
                p[e] -= k.lr * (sign_of(u) + weight_decay * p[e]);
                // the momentum of the next step
                m[e] = k.beta2 * m[e] + k.one_minus_beta2 * clipped;
            }
            store(momentum + c, m, left);
            store_weights(master + c, from_element(copy, at + c), p, left);
        }
    }
}

template <typename T> void lion_update_cuda(Stream *s, const ElementUpdate *a) {
    using A = Acc<T>;
    const MatrixBatch *x = a->batch;
    Cut cut = cut_rows(x->count, x->rows, x->cols, ELEMENT_PIECE);
    CUDA_LAUNCH(lion_kernel<A>, cut_grid(cut), BLOCK, 0, cuda_stream(s), *x, weights_copy(x), cut,
                static_cast<A>(a->weight_decay));
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(lion_update_cuda)
