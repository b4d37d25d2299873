// What the polar family does to a matrix before its polar factor is taken, and the momentum of polar factors, on CUDA.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

// M = b M + c g, U = direct g + through M.
template <typename A> struct MomentumScalars { A clip, b, c, direct, through; };

template <typename A>
__device__ inline MomentumScalars<A> momentum_scalars(const MatrixBatch &x, bool ema, bool nesterov) {
    double b = x.inputs->momentum[x.group], c = ema ? 1 - b : 1;
    if (x.state[0] == nullptr) b = 0, c = 1, nesterov = false;
    return {static_cast<A>(x.report->clip_scale), static_cast<A>(b), static_cast<A>(c),
            static_cast<A>(nesterov ? c : 0), static_cast<A>(nesterov ? b : 1)};
}

// Momentum, look-ahead, the change of type and the norms of rows in one pass: of a bf16 factor's parameter 8 bytes are
// read (g, m) and 6 written (m, u), the floor. The sums are those of U as it is stored.
template <typename T>
__global__ void __launch_bounds__(BLOCK)
    momentum_kernel(T *u, double *sums, MatrixBatch x, Cut cut, bool ema, bool nesterov) {
    using A = Acc<T>;
    if (x.report->ok == 0) return;
    MomentumScalars<A> k = momentum_scalars<A>(x, ema, nesterov);
    bool keeps = x.state[0] != nullptr;
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        const A *grads = static_cast<const A *>(x.grads) + row_at(cut, piece, x.stride);
        A *momentum = from_element(static_cast<A *>(x.state[0]), row_at(cut, piece, x.state_stride[0]));
        T *out = u + piece.line * cut.cols;
        LaneSums lane;
#pragma unroll 2
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left = piece.end - c;
            A g[VECTOR], m[VECTOR] = {}, y[VECTOR];
            load(g, grads + c, left);
            if (keeps) load(m, momentum + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A clipped = k.clip * g[e];
                m[e] = k.b * m[e] + k.c * clipped;
                y[e] = rounded<T>(k.direct * clipped + k.through * m[e]);
            }
            if (keeps) store(momentum + c, m, left);
            store(out + c, y, left);
            add_squares(lane, y);
        }
        double total = warp_total(lane);
        if (lane_index() == 0) sums[i] = total;
    }
}

template <typename T> void polar_momentum_cuda(Stream *s, const PolarMomentum *a) {
    const MatrixBatch *x = a->batch;
    Cut cut = cut_rows(x->count, x->rows, x->cols, SUM_PIECE);
    double *partial = row_partial(s, cut);
    CUDA_LAUNCH(momentum_kernel<T>, cut_grid(cut), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->u),
                partial ? partial : a->row_sums, *x, cut, a->ema, a->nesterov);
    CUDA_CHECK_LAUNCH();
    row_sums_fold(s, a->row_sums, partial, cut);
}

// In float a factor that would be no normal number acts in two steps.
template <typename A> struct Scale { A first, second; };

template <typename A> __device__ inline Scale<A> scale_of(double factor) {
    if (sizeof(A) == sizeof(double)) return {static_cast<A>(factor), 1};
    bool small = factor < 1e-30;
    return {static_cast<A>(small ? factor * 0x1p64 : factor), static_cast<A>(small ? 0x1p-64 : 1)};
}

// A pass of its own, 2 bytes read and 2 written of a bf16 parameter: a norm is known when the whole momentum is, and it is
// not left to the first products, since those of a batch have one alpha and one beta for all matrices.
template <typename T>
__global__ void __launch_bounds__(BLOCK)
    scale_kernel(T *x, const double *norms, Cut cut, double factor, double eps) {
    using A = Acc<T>;
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        Scale<A> scale = scale_of<A>(1 / (norms[piece.matrix] * factor + eps));
        T *row = x + piece.line * cut.cols;
#pragma unroll 4
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            A y[VECTOR];
            load(y, row + c, piece.end - c);
            for (int e = 0; e < VECTOR; e++) y[e] = y[e] * scale.first * scale.second;
            store(row + c, y, piece.end - c);
        }
    }
}

template <typename T> void polar_scale_cuda(Stream *s, const PolarScale *a) {
    double *norms = static_cast<double *>(cuda_scratch(s, static_cast<size_t>(a->count) * sizeof(double)));
    Cut cut = cut_rows(a->count, a->rows, a->cols, ELEMENT_PIECE);
    matrix_totals(s, norms, a->row_sums, a->count, a->rows, true);
    CUDA_LAUNCH(scale_kernel<T>, cut_grid(cut), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->x), norms, cut,
                a->factor, a->eps);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
__global__ void __launch_bounds__(BLOCK) average_kernel(T *o, MatrixBatch x, Cut cut, bool ema) {
    using A = Acc<T>;
    if (x.report->ok == 0) return;
    double momentum = x.inputs->momentum[x.group];
    A b = static_cast<A>(momentum), c1 = static_cast<A>(ema ? 1 - momentum : 1);
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        A *state = static_cast<A *>(x.state[0]) + row_at(cut, piece, x.state_stride[0]);
        T *row = o + piece.line * cut.cols;
#pragma unroll 2
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left = piece.end - c;
            A m[VECTOR], y[VECTOR];
            load(m, state + c, left);
            load(y, row + c, left);
            for (int e = 0; e < VECTOR; e++) m[e] = b * m[e] + c1 * y[e];
            store(state + c, m, left);
            store(row + c, m, left);
        }
    }
}

template <typename T> void polar_average_cuda(Stream *s, const PolarAverage *a) {
    const MatrixBatch *x = a->batch;
    Cut cut = cut_rows(x->count, x->rows, x->cols, ELEMENT_PIECE);
    CUDA_LAUNCH(average_kernel<T>, cut_grid(cut), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->o), *x, cut,
                a->ema);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(polar_momentum_cuda)
CUDA_INSTANCES(polar_scale_cuda)
CUDA_INSTANCES(polar_average_cuda)
