// Matrix norms, scaling and distances for the polar methods on CUDA.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

// Lower bound of a sum, so that its factor stays within the range of a float.
#define MIN_SUM 1e-30

static __device__ inline double block_max_of(const double *x, int64_t n, double *shared) {
    double largest = 0;
    for (int64_t i = threadIdx.x; i < n; i += TOTAL_BLOCK) largest = larger(largest, x[i]);
    return block_max(largest, shared);
}

// One block per matrix.
__global__ void norms_kernel(double *norms, const double *column_sums, const double *row_sums, int64_t rows,
                             int64_t cols) {
    CUDA_SHARED_ARRAY(double, shared, WARP);
    double one = block_max_of(column_sums + blockIdx.x * cols, cols, shared);
    double infinity = block_max_of(row_sums + blockIdx.x * rows, rows, shared);
    if (threadIdx.x != 0) return;
    norms[2 * blockIdx.x] = one;
    norms[2 * blockIdx.x + 1] = infinity;
}

template <typename T> void matrix_norms_cuda(Stream *s, const MatrixNorms *a) {
    const T *from = static_cast<const T *>(a->x);
    int64_t count = a->count, rows = a->rows, cols = a->cols;
    int64_t columns = count * cols, batch_rows = count * rows;
    Tiling tiling = tile_rows(count, rows, cols, SUM_TILE);
    size_t sums = static_cast<size_t>(columns + batch_rows) * sizeof(double);
    size_t partial = column_partial_bytes(count, rows, cols),
           tile_bytes = static_cast<size_t>(tiling.n) * sizeof(double);
    double *memory = static_cast<double *>(cuda_scratch(s, sums + (partial > tile_bytes ? partial : tile_bytes)));
    double *rest = memory + columns + batch_rows;
    column_term_sums<T>(s, memory, rest, TERM_ABSOLUTE, from, 1, count, rows, cols);
    row_term_sums<T>(s, memory + columns, rest, TERM_ABSOLUTE, from, from, rows * cols, tiling);
    CUDA_LAUNCH(norms_kernel, static_cast<unsigned>(count), TOTAL_BLOCK, 0, cuda_stream(s), a->norms, memory,
                memory + columns, rows, cols);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
__global__ void __launch_bounds__(BLOCK) divide_by_bound_kernel(T *x, const double *norms, Tiling tiling) {
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        double bound = sqrt(norms[2 * tile.matrix]) * sqrt(norms[2 * tile.matrix + 1]);
        if (bound == 0) continue;
        T *row = x + tile.batch_row * tiling.cols;
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            Acc<T> y[VECTOR];
            load(y, row + c, tile.end - c);
            for (int e = 0; e < VECTOR; e++) y[e] = static_cast<Acc<T>>(static_cast<double>(y[e]) / bound);
            store(row + c, y, tile.end - c);
        }
    }
}

template <typename T> void divide_by_bound_cuda(Stream *s, const DivideByBound *a) {
    Tiling tiling = tile_rows(a->count, a->rows, a->cols, ELEMENT_TILE);
    CUDA_LAUNCH(divide_by_bound_kernel<T>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->x),
                a->norms, tiling);
    CUDA_CHECK_LAUNCH();
}

__global__ void inverse_roots_kernel(double *factors, int64_t n) {
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) factors[i] = 1 / sqrt(larger(MIN_SUM, factors[i]));
}

template <typename T> void inverse_root_sums_cuda(Stream *s, const InverseRootSums *a) {
    const T *from = static_cast<const T *>(a->a);
    int64_t n = a->n, batch_rows = a->count * n;
    Tiling tiling = tile_rows(a->count, n, n, SUM_TILE);
    row_term_sums<T>(s, a->factors, row_partial(s, tiling), TERM_ABSOLUTE, from, from, n * n, tiling);
    CUDA_LAUNCH(inverse_roots_kernel, grid_of(batch_rows, BLOCK), BLOCK, 0, cuda_stream(s), a->factors, batch_rows);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
    scale_sides_kernel(T *x, const double *left, const double *right, Tiling tiling) {
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        T *row = x + tile.batch_row * tiling.cols;
        const double *across = offset_or_null(right, tile.matrix * tiling.cols);
        double factor = left ? left[tile.batch_row] : 1;
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t remaining = tile.end - c;
            Acc<T> y[VECTOR];
            load(y, row + c, remaining);
            for (int e = 0; e < VECTOR && e < remaining; e++)
                y[e] = static_cast<Acc<T>>(static_cast<double>(y[e]) * factor * (right ? across[c + e] : 1));
            store(row + c, y, remaining);
        }
    }
}

template <typename T> void scale_sides_cuda(Stream *s, const ScaleSides *a) {
    Tiling tiling = tile_rows(a->count, a->rows, a->cols, ELEMENT_TILE);
    CUDA_LAUNCH(scale_sides_kernel<T>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->x),
                a->left, a->right, tiling);
    CUDA_CHECK_LAUNCH();
}

template <typename T> void distance_cuda(Stream *s, const Distance *a) {
    Tiling tiling = tile_rows(a->count, a->rows, a->cols, SUM_TILE);
    row_term_sums<T>(s, a->row_sums, row_partial(s, tiling), TERM_DISTANCE, static_cast<const T *>(a->x),
                     static_cast<const T *>(a->y), a->rows * a->cols, tiling);
    matrix_totals(s, a->distances, a->row_sums, a->count, a->rows, true);
}

CUDA_INSTANCES(matrix_norms_cuda)
CUDA_INSTANCES(divide_by_bound_cuda)
CUDA_INSTANCES(inverse_root_sums_cuda)
CUDA_INSTANCES(scale_sides_cuda)
CUDA_INSTANCES(distance_cuda)
