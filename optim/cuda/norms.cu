// Norms of the polar methods' matrices and what scales them, on CUDA.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

// Of a row or column of a matrix of almost nothing: its factor stays within float.
#define MIN_SUM 1e-30

static __device__ inline double largest_of(const double *x, int64_t n, double *shared) {
    double most = 0;
    for (int64_t i = threadIdx.x; i < n; i += TOTAL_BLOCK) most = larger(most, x[i]);
    return block_max(most, shared);
}

// A block for each matrix.
__global__ void norms_kernel(double *norms, const double *columns, const double *lines, int64_t rows,
                             int64_t cols) {
    CUDA_SHARED_ARRAY(double, shared, WARP);
    double one = largest_of(columns + blockIdx.x * cols, cols, shared);
    double infinity = largest_of(lines + blockIdx.x * rows, rows, shared);
    if (threadIdx.x != 0) return;
    norms[2 * blockIdx.x] = one;
    norms[2 * blockIdx.x + 1] = infinity;
}

template <typename T> void matrix_norms_cuda(Stream *s, const MatrixNorms *a) {
    const T *from = static_cast<const T *>(a->x);
    int64_t count = a->count, rows = a->rows, cols = a->cols;
    int64_t columns = count * cols, lines = count * rows;
    Cut cut = cut_rows(count, rows, cols, SUM_PIECE);
    size_t sums = static_cast<size_t>(columns + lines) * sizeof(double);
    size_t partial = column_partial_bytes(count, rows, cols), pieces = static_cast<size_t>(cut.n) * sizeof(double);
    double *memory = static_cast<double *>(cuda_scratch(s, sums + (partial > pieces ? partial : pieces)));
    double *rest = memory + columns + lines;
    column_term_sums<T>(s, memory, rest, TERM_ABSOLUTE, from, 1, count, rows, cols);
    row_term_sums<T>(s, memory + columns, rest, TERM_ABSOLUTE, from, from, rows * cols, cut);
    CUDA_LAUNCH(norms_kernel, static_cast<unsigned>(count), TOTAL_BLOCK, 0, cuda_stream(s), a->norms, memory,
                memory + columns, rows, cols);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
__global__ void __launch_bounds__(BLOCK) divide_by_bound_kernel(T *x, const double *norms, Cut cut) {
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        double bound = sqrt(norms[2 * piece.matrix]) * sqrt(norms[2 * piece.matrix + 1]);
        if (bound == 0) continue;
        T *row = x + piece.line * cut.cols;
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            Acc<T> y[VECTOR];
            load(y, row + c, piece.end - c);
            for (int e = 0; e < VECTOR; e++) y[e] = static_cast<Acc<T>>(static_cast<double>(y[e]) / bound);
            store(row + c, y, piece.end - c);
        }
    }
}

template <typename T> void divide_by_bound_cuda(Stream *s, const DivideByBound *a) {
    Cut cut = cut_rows(a->count, a->rows, a->cols, ELEMENT_PIECE);
    CUDA_LAUNCH(divide_by_bound_kernel<T>, cut_grid(cut), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->x),
                a->norms, cut);
    CUDA_CHECK_LAUNCH();
}

__global__ void inverse_roots_kernel(double *factors, int64_t n) {
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) factors[i] = 1 / sqrt(larger(MIN_SUM, factors[i]));
}

template <typename T> void inverse_root_sums_cuda(Stream *s, const InverseRootSums *a) {
    const T *from = static_cast<const T *>(a->a);
    int64_t n = a->n, lines = a->count * n;
    Cut cut = cut_rows(a->count, n, n, SUM_PIECE);
    row_term_sums<T>(s, a->factors, row_partial(s, cut), TERM_ABSOLUTE, from, from, n * n, cut);
    CUDA_LAUNCH(inverse_roots_kernel, grid_of(lines, BLOCK), BLOCK, 0, cuda_stream(s), a->factors, lines);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
    scale_sides_kernel(T *x, const double *left, const double *right, Cut cut) {
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        T *row = x + piece.line * cut.cols;
        const double *across = from_element(right, piece.matrix * cut.cols);
        double factor = left ? left[piece.line] : 1;
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left_over = piece.end - c;
            Acc<T> y[VECTOR];
            load(y, row + c, left_over);
            for (int e = 0; e < VECTOR && e < left_over; e++)
                y[e] = static_cast<Acc<T>>(static_cast<double>(y[e]) * factor * (right ? across[c + e] : 1));
            store(row + c, y, left_over);
        }
    }
}

template <typename T> void scale_sides_cuda(Stream *s, const ScaleSides *a) {
    Cut cut = cut_rows(a->count, a->rows, a->cols, ELEMENT_PIECE);
    CUDA_LAUNCH(scale_sides_kernel<T>, cut_grid(cut), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->x), a->left,
                a->right, cut);
    CUDA_CHECK_LAUNCH();
}

template <typename T> void distance_cuda(Stream *s, const Distance *a) {
    Cut cut = cut_rows(a->count, a->rows, a->cols, SUM_PIECE);
    row_term_sums<T>(s, a->row_sums, row_partial(s, cut), TERM_DISTANCE, static_cast<const T *>(a->x),
                     static_cast<const T *>(a->y), a->rows * a->cols, cut);
    matrix_totals(s, a->distances, a->row_sums, a->count, a->rows, true);
}

CUDA_INSTANCES(matrix_norms_cuda)
CUDA_INSTANCES(divide_by_bound_cuda)
CUDA_INSTANCES(inverse_root_sums_cuda)
CUDA_INSTANCES(scale_sides_cuda)
CUDA_INSTANCES(distance_cuda)
