// Stochastic gradient descent with momentum on CUDA. Bytes for each parameter in float: 12 are read and 8 written, 2 more
// where the weights are a copy in bf16.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename A>
__global__ void __launch_bounds__(BLOCK)
    sgd_kernel(MatrixBatch x, __nv_bfloat16 *copy, Cut cut, bool nesterov, A decay) {
    if (x.report->ok == 0) return;
    A clip = static_cast<A>(x.report->clip_scale), lr = static_cast<A>(x.inputs->lr[x.group]);
    A momentum = static_cast<A>(x.inputs->momentum[x.group]);
    A direct = nesterov ? 1 : 0, through = nesterov ? momentum : 1; // p -= lr (direct d + through b)
    bool keeps = x.state[0] != nullptr;                             // without momentum b is d
    if (!keeps) direct = 1, through = 0;
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        int64_t at = row_at(cut, piece, x.stride);
        A *master = static_cast<A *>(x.master) + at;
        A *state = from_element(static_cast<A *>(x.state[0]), row_at(cut, piece, x.state_stride[0]));
        const A *grads = static_cast<const A *>(x.grads) + at;
#pragma unroll 2
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left = piece.end - c;
            A p[VECTOR], b[VECTOR] = {}, g[VECTOR];
            load(p, master + c, left);
            load(g, grads + c, left);
            if (keeps) load(b, state + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A d = clip * g[e] + decay * p[e];
                b[e] = momentum * b[e] + d;
                p[e] -= lr * (direct * d + through * b[e]);
            }
            if (keeps) store(state + c, b, left);
            store_weights(master + c, from_element(copy, at + c), p, left);
        }
    }
}

template <typename T> void sgd_update_cuda(Stream *s, const ElementUpdate *a) {
    using A = Acc<T>;
    const MatrixBatch *x = a->batch;
    Cut cut = cut_rows(x->count, x->rows, x->cols, ELEMENT_PIECE);
    CUDA_LAUNCH(sgd_kernel<A>, cut_grid(cut), BLOCK, 0, cuda_stream(s), *x, weights_copy(x), cut, a->nesterov,
                static_cast<A>(a->weight_decay));
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(sgd_update_cuda)
