// optim/cuda/rows.h - helpers of the optimizer kernels: rows divided into tiles of one warp each, vector loads of four
// elements, sums in a fixed order. Internal to the .cu files of optim/.
//
// A tile starts at a multiple of its length within the row, lane l of the warp handles elements 4 l .. 4 l + 3 of every
// 128, and the sums of lanes, tiles and rows are added in an order that depends on rows and cols alone: results do not
// depend on scheduling, on alignment or on the number of matrices per call.
#ifndef POLAR_OPTIM_CUDA_ROWS_H
#define POLAR_OPTIM_CUDA_ROWS_H

#include "device/cuda/kernel.h"
#include "device/cuda/memory.h"
#include "optim/ops.h"

enum {
    VECTOR = 4,  // elements per load or store of a thread
    BLOCK = 128, // threads of a block that processes row tiles
    BLOCK_WARPS = BLOCK / WARP,
    STRIDE = VECTOR * WARP,    // elements per load of a warp
    ELEMENT_TILE = 8 * STRIDE, // tile length without sums: short enough that a few long vectors fill a GPU
    SUM_TILE = 64 * STRIDE,    // tile length of sums: rows up to this length need no second pass
    TOTAL_BLOCK = 256          // threads of a block that reduces one number per row of a matrix
};

// ---- elements ----

// Stores master weights and, unless copy is NULL, their bf16 copies, rounded to nearest.
template <typename A>
__device__ inline void store_weights(A *master, __nv_bfloat16 *copy, const A (&p)[VECTOR], int64_t left) {
    store(master, p, left);
    if (copy == nullptr) return;
    float narrow[VECTOR];
    for (int v = 0; v < VECTOR; v++) narrow[v] = static_cast<float>(p[v]);
    store(copy, narrow, left);
}

// The bf16 weights of a batch; NULL if its weights are the master weights.
inline __nv_bfloat16 *weights_copy(const MatrixBatch *x) {
    if (x->weights_type != TYPE_BF16) {
        ASSERT(x->weights == x->master);
        return nullptr;
    }
    return static_cast<__nv_bfloat16 *>(x->weights);
}

// The sign of x: 0 for 0, NaN for NaN.
template <typename A> __device__ inline A sign_of(A x) {
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

// ---- row tiles ----

// The rows of `count` (rows, cols) matrices in n tiles: per_row tiles of `length` elements, the last of a row shorter.
struct Tiling {
    int64_t rows, cols, length, per_row, n;
};

inline Tiling tile_rows(int64_t count, int64_t rows, int64_t cols, int64_t length) {
    int64_t per_row = max_i64(1, ceil_div(cols, length));
    return {rows, cols, length, per_row, count * rows * per_row};
}

// Columns [first, end) of row `row` of matrix `matrix`; `batch_row` counts the rows of all matrices.
struct RowTile {
    int64_t matrix, row, batch_row, first, end;
};

__device__ inline RowTile tile_at(const Tiling &tiling, int64_t i) {
    int64_t batch_row = i / tiling.per_row, first = (i - batch_row * tiling.per_row) * tiling.length,
            matrix = batch_row / tiling.rows;
    int64_t end = first + tiling.length < tiling.cols ? first + tiling.length : tiling.cols;
    return {matrix, batch_row - matrix * tiling.rows, batch_row, first, end};
}

// Offset of the row of a tile in an array whose matrices are `stride` elements apart.
__device__ inline int64_t row_offset(const Tiling &tiling, const RowTile &tile, int64_t stride) {
    return tile.matrix * stride + tile.row * tiling.cols;
}

// Grid-stride loop over tiles, one per warp: for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps())
__device__ inline int64_t grid_warp() {
    return static_cast<int64_t>(blockIdx.x) * BLOCK_WARPS + warp_index();
}
__device__ inline int64_t grid_warps() {
    return static_cast<int64_t>(gridDim.x) * BLOCK_WARPS;
}

// Loop of a lane over its vectors of a tile: for (int64_t c = first_column(tile); c < tile.end; c += STRIDE)
__device__ inline int64_t first_column(const RowTile &tile) {
    return tile.first + VECTOR * lane_index();
}

inline unsigned tiling_grid(const Tiling &tiling) {
    return grid_of(tiling.n, BLOCK_WARPS);
}

// array + at, or NULL if the array is NULL.
template <typename T> __device__ inline T *offset_or_null(T *array, int64_t at) {
    return array ? array + at : nullptr;
}

// ---- sums ----

// Four running sums of a lane, one per element of a vector load.
struct LaneSums {
    double at[VECTOR] = {0, 0, 0, 0};
};

__device__ inline void add_squares(LaneSums &sums, const float (&x)[VECTOR]) {
    for (int v = 0; v < VECTOR; v++) sums.at[v] += static_cast<double>(x[v]) * static_cast<double>(x[v]);
}
__device__ inline void add_squares(LaneSums &sums, const double (&x)[VECTOR]) {
    for (int v = 0; v < VECTOR; v++) sums.at[v] += x[v] * x[v];
}

__device__ inline double warp_total(const LaneSums &sums) {
    return warp_sum((sums.at[0] + sums.at[1]) + (sums.at[2] + sums.at[3]));
}

// Scratch for the sums of tiles, which row_sums_fold adds up; NULL if a row is one tile, whose sum is that of the row.
inline int64_t row_partial_bytes(const Tiling &tiling) {
    return tiling.per_row == 1 ? 0 : tiling.n * static_cast<int64_t>(sizeof(double));
}
inline double *row_partial(Stream *s, const Tiling &tiling) {
    if (tiling.per_row == 1) return nullptr;
    return static_cast<double *>(cuda_scratch(s, static_cast<size_t>(row_partial_bytes(tiling))));
}
void row_sums_fold(Stream *s, double *row_sums, const double *partial, const Tiling &tiling);

// totals (count) = the sums of row_sums (count, rows), or their square roots.
void matrix_totals(Stream *s, double *totals, const double *row_sums, int count, int64_t rows, bool root);

// The summand of a row or column sum.
enum Term { TERM_VALUE, TERM_ABSOLUTE, TERM_SQUARE, TERM_PRODUCT, TERM_DISTANCE };

// sums (count, rows) of a term other than TERM_VALUE over the rows of x (matrices `stride` elements apart); the last
// two terms are x y and (x - y)^2 with a dense y. partial: row_partial, or as much memory of the caller.
template <typename T>
void row_term_sums(Stream *s, double *sums, double *partial, Term term, const T *x, const T *y, int64_t stride,
                   const Tiling &tiling);

// sums (count, cols) of one of the first three terms over the columns of dense matrices, divided by `divisor`. partial:
// column_partial_bytes of scratch.
size_t column_partial_bytes(int64_t count, int64_t rows, int64_t cols);
template <typename T>
void column_term_sums(Stream *s, double *sums, double *partial, Term term, const T *x, double divisor,
                      int64_t count, int64_t rows, int64_t cols);

#endif
