// From the polar factor to the weights on CUDA: row factors, decay and update.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

// Keeps factors within the range of a float: rows of denormal numbers would exceed it.
#define MAX_FACTOR 1e30

// The sum of x[r] y[r]^2 over the rows of a matrix, or of x[r] if y is NULL; every thread of the block gets it.
static __device__ inline double rows_total(const double *x, const double *y, int64_t rows, double *shared) {
    double sum = 0;
    for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) sum += y ? x[r] * y[r] * y[r] : x[r];
    return block_sum(sum, shared);
}

// The scale rule of a matrix, without SCALE_RMS.
static __device__ inline double rule_factor(const RowScaling &scaling, const double *dots, int64_t rows,
                                            int64_t cols, double *shared) {
    double m = static_cast<double>(rows), n = static_cast<double>(cols), dot;
    switch (scaling.rule) {
    case SCALE_MAX:
        return scaling.rms * sqrt(fmax(m, n));
    case SCALE_SPECTRAL:
        return sqrt(m / n);
    case SCALE_FROBENIUS:
        return 1;
    case SCALE_NUCLEAR:
        dot = rows_total(dots, nullptr, rows, shared);
        return dot > 0 ? pow(dot, scaling.power) : 0;
    default:
        return sqrt(fmax(1.0, m / n));
    }
}

// The factor on the whole matrix after the row factors. norm_sums: row sums of squares whose norm is restored, or NULL.
static __device__ inline double matrix_scale(const double *factors, const double *row_sums, const double *norm_sums,
                                             int64_t rows, int64_t cols, double shape, const RowScaling &scaling,
                                             double *shared) {
    if (row_sums == nullptr) return shape;
    double norm = sqrt(rows_total(row_sums, factors, rows, shared)); // ||s O||_F
    double target_norm = norm_sums ? sqrt(rows_total(norm_sums, nullptr, rows, shared)) : 0;
    if (norm == 0) return 0;
    if (scaling.rule == SCALE_RMS)
        return scaling.rms * sqrt(static_cast<double>(rows) * static_cast<double>(cols)) / norm;
    // The released code adds this eps; it only matters for matrices of nearly zero norm.
    return norm_sums ? shape * target_norm / (norm + 1e-10) : shape;
}

// One block per matrix; in every loop a thread handles the same rows, every TOTAL_BLOCK-th.
template <typename A>
__global__ void __launch_bounds__(TOTAL_BLOCK)
    row_factors_kernel(double *all_factors, const double *all_sums, MatrixBatch batch, RowScaling scaling) {
    CUDA_SHARED_ARRAY(double, shared, WARP);
    if (batch.report->ok == 0) return;
    int64_t j = blockIdx.x, rows = batch.rows, cols = batch.cols;
    double *factors = all_factors + j * rows;
    const double *sums = offset_or_null(all_sums, j * rows);
    const double *norm_sums = scaling.normalize ? sums : offset_or_null(scaling.norm_sums, j * rows);
    if (scaling.normalize) {
        A *v = static_cast<A *>(batch.state[1]) + j * batch.state_stride[1];
        double beta2 = batch.inputs->beta2[batch.group];
        for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) {
            v[r] = static_cast<A>(beta2 * static_cast<double>(v[r]) +
                                  (1 - beta2) * (sums[r] / static_cast<double>(cols)));
            factors[r] = 1 / (sqrt(static_cast<double>(v[r])) + scaling.eps);
        }
    } else {
        for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) factors[r] = 1;
    }
    double shape = rule_factor(scaling, offset_or_null(scaling.row_dots, j * rows), rows, cols, shared);
    double scale = matrix_scale(factors, sums, norm_sums, rows, cols, shape, scaling, shared);
    for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) {
        double factor = factors[r] * scale;
        factors[r] = factor > MAX_FACTOR ? MAX_FACTOR : factor; // fmin would drop a NaN
    }
}

template <typename T> void row_factors_cuda(Stream *s, const RowFactors *args) {
    const RowScaling *scaling = &args->scaling;
    ASSERT(args->row_sums || (scaling->rule != SCALE_RMS && !scaling->normalize && !scaling->norm_sums));
    ASSERT(!scaling->normalize || !scaling->norm_sums);
    CUDA_LAUNCH(row_factors_kernel<Acc<T>>, static_cast<unsigned>(args->batch->count), TOTAL_BLOCK, 0,
                cuda_stream(s), args->factors, args->row_sums, *args->batch, *scaling);
    CUDA_CHECK_LAUNCH();
}

// With a bf16 factor and bf16 weights it reads 6 bytes per parameter (o, p) and writes 6 (p, weights).
template <typename T, bool CAUTIOUS>
__global__ void __launch_bounds__(BLOCK) update_kernel(MatrixBatch batch, __nv_bfloat16 *copy, const T *o,
                                                       const double *factors, Tiling tiling, double weight_decay) {
    using A = Acc<T>;
    if (batch.report->ok == 0) return;
    double lr = batch.inputs->lr[batch.group];
    A decay = static_cast<A>(lr * weight_decay);
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        int64_t at = row_offset(tiling, tile, batch.stride);
        A *master = static_cast<A *>(batch.master) + at, scale = static_cast<A>(lr * factors[tile.batch_row]);
        const T *row = o + tile.batch_row * tiling.cols;
#pragma unroll 4
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            A p[VECTOR], u[VECTOR];
            load(p, master + c, left);
            load(u, row + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A element_decay = !CAUTIOUS || u[e] * p[e] >= 0 ? decay : 0;
                p[e] -= element_decay * p[e] + scale * u[e];
            }
            store_weights(master + c, offset_or_null(copy, at + c), p, left);
        }
    }
}

template <typename T> void polar_update_cuda(Stream *s, const PolarUpdate *args) {
    const MatrixBatch *batch = args->batch;
    Tiling tiling = tile_rows(batch->count, batch->rows, batch->cols, ELEMENT_TILE);
    auto kernel = args->cautious ? update_kernel<T, true> : update_kernel<T, false>;
    CUDA_LAUNCH(kernel, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), *batch, weights_copy(batch),
                static_cast<const T *>(args->o), args->factors, tiling, args->weight_decay);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(row_factors_cuda)
CUDA_INSTANCES(polar_update_cuda)
