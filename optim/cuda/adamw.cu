// AdamW and stochastic gradient descent on CUDA. Bytes for each parameter in float: AdamW reads 16 (p, m, v, g) and
// writes 12, SGD reads 12 and writes 8; 2 more are written where the weights are a copy in bf16.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename A> struct AdamwScalars {
    A clip, lr, b1, b2, g1, g2; // g1 = 1 - b1, g2 = 1 - b2
    A c1, c2;                   // 1 / bias corrections
};

template <typename A> __device__ inline AdamwScalars<A> adamw_scalars(const MatrixBatch &x) {
    const StepInputs &in = *x.inputs;
    const StepReport &report = *x.report;
    int g = x.group;
    return {static_cast<A>(report.clip_scale),
            static_cast<A>(in.lr[g]),
            static_cast<A>(in.beta1[g]),
            static_cast<A>(in.beta2[g]),
            static_cast<A>(1 - in.beta1[g]),
            static_cast<A>(1 - in.beta2[g]),
            1 / static_cast<A>(report.bias_correction1[g]),
            1 / static_cast<A>(report.bias_correction2[g])};
}

template <typename A>
__global__ void __launch_bounds__(BLOCK) adamw_kernel(MatrixBatch x, __nv_bfloat16 *copy, Cut cut, A eps, A decay) {
    if (x.report->ok == 0) return;
    AdamwScalars<A> k = adamw_scalars<A>(x);
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        int64_t at = row_at(cut, piece, x.stride);
        A *master = static_cast<A *>(x.master) + at;
        A *first = static_cast<A *>(x.state[0]) + row_at(cut, piece, x.state_stride[0]);
        A *second = static_cast<A *>(x.state[1]) + row_at(cut, piece, x.state_stride[1]);
        const A *grads = static_cast<const A *>(x.grads) + at;
#pragma unroll 2
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left = piece.end - c;
            A p[VECTOR], m[VECTOR], v[VECTOR], g[VECTOR];
            load(p, master + c, left);
            load(m, first + c, left);
            load(v, second + c, left);
            load(g, grads + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A clipped = k.clip * g[e];
                m[e] = k.b1 * m[e] + k.g1 * clipped;
                v[e] = k.b2 * v[e] + k.g2 * (clipped * clipped);
                p[e] -= k.lr * (m[e] * k.c1 / (sqrt(v[e] * k.c2) + eps) + decay * p[e]);
            }
            store(first + c, m, left);
            store(second + c, v, left);
            store_weights(master + c, from_element(copy, at + c), p, left);
        }
    }
}

template <typename A> void adamw_update_cuda(Stream *s, const MatrixBatch *x, double eps, double weight_decay) {
    Cut cut = cut_rows(x->count, x->rows, x->cols, ELEMENT_PIECE);
    CUDA_LAUNCH(adamw_kernel<A>, cut_grid(cut), BLOCK, 0, cuda_stream(s), *x, weights_copy(x), cut,
                static_cast<A>(eps), static_cast<A>(weight_decay));
    CUDA_CHECK_LAUNCH();
}

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

template <typename A> void sgd_update_cuda(Stream *s, const MatrixBatch *x, bool nesterov, double weight_decay) {
    Cut cut = cut_rows(x->count, x->rows, x->cols, ELEMENT_PIECE);
    CUDA_LAUNCH(sgd_kernel<A>, cut_grid(cut), BLOCK, 0, cuda_stream(s), *x, weights_copy(x), cut, nesterov,
                static_cast<A>(weight_decay));
    CUDA_CHECK_LAUNCH();
}

#define INSTANCES(A)                                                                                               \
    template void adamw_update_cuda<A>(Stream *, const MatrixBatch *, double, double);                             \
    template void sgd_update_cuda<A>(Stream *, const MatrixBatch *, bool, double);
INSTANCES(float)
INSTANCES(double)
