// Momentum and scaling of the input of the polar factor, and the momentum of polar factors, on CUDA.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

// M = m_decay M + m_gain g,  U = u_gain g + u_weight M
template <typename A> struct MomentumScalars { A clip_scale, m_decay, m_gain, u_gain, u_weight; };

template <typename A>
__device__ inline MomentumScalars<A> momentum_scalars(const MatrixBatch &batch, bool ema, bool nesterov) {
    double b = batch.inputs->momentum[batch.group], c = ema ? 1 - b : 1;
    if (batch.state[0] == nullptr) b = 0, c = 1, nesterov = false;
    return {static_cast<A>(batch.report->clip_scale), static_cast<A>(b), static_cast<A>(c),
            static_cast<A>(nesterov ? c : 0), static_cast<A>(nesterov ? b : 1)};
}

// Momentum, Nesterov, type conversion and row sums in one pass: with u in bf16 it reads 8 bytes per parameter (g, m)
// and writes 6 (m, u), the minimum. The sums are those of U after rounding.
template <typename T>
__global__ void __launch_bounds__(BLOCK)
    momentum_kernel(T *u, double *sums, MatrixBatch batch, Tiling tiling, bool ema, bool nesterov) {
    using A = Acc<T>;
    if (batch.report->ok == 0) return;
    MomentumScalars<A> scalars = momentum_scalars<A>(batch, ema, nesterov);
    bool has_momentum = batch.state[0] != nullptr;
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        const A *grads = static_cast<const A *>(batch.grads) + row_offset(tiling, tile, batch.stride);
        A *momentum =
            offset_or_null(static_cast<A *>(batch.state[0]), row_offset(tiling, tile, batch.state_stride[0]));
        T *out = u + tile.batch_row * tiling.cols;
        LaneSums lane;
#pragma unroll 2
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            A g[VECTOR], m[VECTOR] = {}, y[VECTOR];
            load(g, grads + c, left);
            if (has_momentum) load(m, momentum + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A clipped = scalars.clip_scale * g[e];
                m[e] = scalars.m_decay * m[e] + scalars.m_gain * clipped;
                y[e] = rounded<T>(scalars.u_gain * clipped + scalars.u_weight * m[e]);
            }
            if (has_momentum) store(momentum + c, m, left);
            store(out + c, y, left);
            add_squares(lane, y);
        }
        double total = warp_total(lane);
        if (lane_index() == 0) sums[i] = total;
    }
}

template <typename T> void polar_momentum_cuda(Stream *s, const PolarMomentum *args) {
    const MatrixBatch *batch = args->batch;
    Tiling tiling = tile_rows(batch->count, batch->rows, batch->cols, SUM_TILE);
    double *partial = row_partial(s, tiling);
    CUDA_LAUNCH(momentum_kernel<T>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), static_cast<T *>(args->u),
                partial ? partial : args->row_sums, *batch, tiling, args->ema, args->nesterov);
    CUDA_CHECK_LAUNCH();
    row_sums_fold(s, args->row_sums, partial, tiling);
}

// A factor that would be denormal in float is split into two.
template <typename A> struct Scale { A first, second; };

template <typename A> __device__ inline Scale<A> scale_of(double factor) {
    if (sizeof(A) == sizeof(double)) return {static_cast<A>(factor), 1};
    bool small = factor < 1e-30;
    return {static_cast<A>(small ? factor * 0x1p64 : factor), static_cast<A>(small ? 0x1p-64 : 1)};
}

// A separate pass, which reads and writes 2 bytes per bf16 parameter: the norm is known only after the whole momentum
// kernel, and the first GEMMs cannot apply it, since a batched GEMM has one alpha and one beta for all matrices.
template <typename T>
__global__ void __launch_bounds__(BLOCK)
    scale_kernel(T *x, const double *norms, Tiling tiling, double factor, double eps) {
    using A = Acc<T>;
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        Scale<A> scale = scale_of<A>(1 / (norms[tile.matrix] * factor + eps));
        T *row = x + tile.batch_row * tiling.cols;
#pragma unroll 4
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            A y[VECTOR];
            load(y, row + c, tile.end - c);
            for (int e = 0; e < VECTOR; e++) y[e] = y[e] * scale.first * scale.second;
            store(row + c, y, tile.end - c);
        }
    }
}

template <typename T> void polar_scale_cuda(Stream *s, const PolarScale *args) {
    double *norms = static_cast<double *>(cuda_scratch(s, static_cast<size_t>(args->count) * sizeof(double)));
    Tiling tiling = tile_rows(args->count, args->rows, args->cols, ELEMENT_TILE);
    matrix_totals(s, norms, args->row_sums, args->count, args->rows, true);
    CUDA_LAUNCH(scale_kernel<T>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), static_cast<T *>(args->x), norms,
                tiling, args->factor, args->eps);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
__global__ void __launch_bounds__(BLOCK) average_kernel(T *o, MatrixBatch batch, Tiling tiling, bool ema) {
    using A = Acc<T>;
    if (batch.report->ok == 0) return;
    double momentum = batch.inputs->momentum[batch.group];
    A b = static_cast<A>(momentum), gain = static_cast<A>(ema ? 1 - momentum : 1);
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        A *state = static_cast<A *>(batch.state[0]) + row_offset(tiling, tile, batch.state_stride[0]);
        T *row = o + tile.batch_row * tiling.cols;
#pragma unroll 2
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            A m[VECTOR], y[VECTOR];
            load(m, state + c, left);
            load(y, row + c, left);
            for (int e = 0; e < VECTOR; e++) m[e] = b * m[e] + gain * y[e];
            store(state + c, m, left);
            store(row + c, m, left);
        }
    }
}

template <typename T> void polar_average_cuda(Stream *s, const PolarAverage *args) {
    const MatrixBatch *batch = args->batch;
    Tiling tiling = tile_rows(batch->count, batch->rows, batch->cols, ELEMENT_TILE);
    CUDA_LAUNCH(average_kernel<T>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), static_cast<T *>(args->o), *batch,
                tiling, args->ema);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(polar_momentum_cuda)
CUDA_INSTANCES(polar_scale_cuda)
CUDA_INSTANCES(polar_average_cuda)
