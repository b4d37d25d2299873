// From the polar factor to the weights on CUDA: the factors of its rows, decay and update.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

// Keeps a factor within float: rows of denormal numbers would ask for more.
#define MAX_FACTOR 1e30

// The sum of x[r] y[r]^2 over a matrix's rows, or of x where y is NULL; the same in every thread of the block.
static __device__ inline double rows_total(const double *x, const double *y, int64_t rows, double *shared) {
    double sum = 0;
    for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) sum += y ? x[r] * y[r] * y[r] : x[r];
    return block_sum(sum, shared);
}

// The factor of a rule on a matrix with the norm of its polar factor.
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

// The factor on the whole matrix once its rows carry `factors`; norm_sums: of what its norm shall be, if not its own.
static __device__ inline double matrix_scale(const double *factors, const double *row_sums, const double *norm_sums,
                                             int64_t rows, int64_t cols, double shape, const RowScaling &scaling,
                                             double *shared) {
    if (row_sums == nullptr) return shape;
    double norm = sqrt(rows_total(row_sums, factors, rows, shared)); // ||s O||_F
    double given = norm_sums ? sqrt(rows_total(norm_sums, nullptr, rows, shared)) : 0;
    if (norm == 0) return 0;
    if (scaling.rule == SCALE_RMS)
        return scaling.rms * sqrt(static_cast<double>(rows) * static_cast<double>(cols)) / norm;
    // The released code adds this eps; it matters to none but matrices of almost nothing.
    return norm_sums ? shape * given / (norm + 1e-10) : shape;
}

// A block has a matrix, a thread every TOTAL_BLOCK-th of its rows in all of the loops.
template <typename A>
__global__ void __launch_bounds__(TOTAL_BLOCK)
    row_factors_kernel(double *all_factors, const double *all_sums, MatrixBatch x, RowScaling scaling) {
    CUDA_SHARED_ARRAY(double, shared, WARP);
    if (x.report->ok == 0) return;
    int64_t j = blockIdx.x, rows = x.rows, cols = x.cols;
    double *factors = all_factors + j * rows;
    const double *sums = from_element(all_sums, j * rows);
    const double *norm_sums = scaling.normalize ? sums : from_element(scaling.norm_sums, j * rows);
    if (scaling.normalize) {
        A *v = static_cast<A *>(x.state[1]) + j * x.state_stride[1];
        double beta2 = x.inputs->beta2[x.group];
        for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) {
            v[r] = static_cast<A>(beta2 * static_cast<double>(v[r]) +
                                  (1 - beta2) * (sums[r] / static_cast<double>(cols)));
            factors[r] = 1 / (sqrt(static_cast<double>(v[r])) + scaling.eps);
        }
    } else {
        for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) factors[r] = 1;
    }
    double shape = rule_factor(scaling, from_element(scaling.row_dots, j * rows), rows, cols, shared);
    double scale = matrix_scale(factors, sums, norm_sums, rows, cols, shape, scaling, shared);
    for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) {
        double factor = factors[r] * scale;
        factors[r] = factor > MAX_FACTOR ? MAX_FACTOR : factor; // fmin would hide a NaN
    }
}

template <typename T> void row_factors_cuda(Stream *s, const RowFactors *a) {
    const RowScaling *scaling = &a->scaling;
    ASSERT(a->row_sums || (scaling->rule != SCALE_RMS && !scaling->normalize && !scaling->norm_sums));
    ASSERT(!scaling->normalize || !scaling->norm_sums);
    CUDA_LAUNCH(row_factors_kernel<Acc<T>>, static_cast<unsigned>(a->batch->count), TOTAL_BLOCK, 0, cuda_stream(s),
                a->factors, a->row_sums, *a->batch, *scaling);
    CUDA_CHECK_LAUNCH();
}

// Of a parameter with a bf16 factor and bf16 weights 6 bytes are read (o, p) and 6 written (p, weights).
template <typename T, bool CAUTIOUS>
__global__ void __launch_bounds__(BLOCK) update_kernel(MatrixBatch x, __nv_bfloat16 *copy, const T *o,
                                                       const double *factors, Cut cut, double weight_decay) {
    using A = Acc<T>;
    if (x.report->ok == 0) return;
    double lr = x.inputs->lr[x.group];
    A decay = static_cast<A>(lr * weight_decay);
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        int64_t at = row_at(cut, piece, x.stride);
        A *master = static_cast<A *>(x.master) + at, scale = static_cast<A>(lr * factors[piece.line]);
        const T *row = o + piece.line * cut.cols;
#pragma unroll 4
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left = piece.end - c;
            A p[VECTOR], u[VECTOR];
            load(p, master + c, left);
            load(u, row + c, left);
            for (int e = 0; e < VECTOR; e++) {
                A here = !CAUTIOUS || u[e] * p[e] >= 0 ? decay : 0;
                p[e] -= here * p[e] + scale * u[e];
            }
            store_weights(master + c, from_element(copy, at + c), p, left);
        }
    }
}

template <typename T> void polar_update_cuda(Stream *s, const PolarUpdate *a) {
    const MatrixBatch *x = a->batch;
    Cut cut = cut_rows(x->count, x->rows, x->cols, ELEMENT_PIECE);
    auto kernel = a->cautious ? update_kernel<T, true> : update_kernel<T, false>;
    CUDA_LAUNCH(kernel, cut_grid(cut), BLOCK, 0, cuda_stream(s), *x, weights_copy(x), static_cast<const T *>(a->o),
                a->factors, cut, a->weight_decay);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(row_factors_cuda)
CUDA_INSTANCES(polar_update_cuda)
