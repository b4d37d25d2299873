// optim/cuda/rows.h - what the optimizers' kernels share: rows cut into pieces of which each is one warp's work,
// elements four at a time, sums in a fixed order. For the .cu files of optim/ only.
//
// A piece of a row begins at a multiple of its length, lane l of the warp has elements 4 l .. 4 l + 3 of every 128, and
// sums of lanes, pieces and rows are added in an order that follows from rows and cols alone: results depend neither on
// how blocks and threads run, nor on where arrays stand, nor on how many matrices one call has.
#ifndef POLAR_OPTIM_CUDA_ROWS_H
#define POLAR_OPTIM_CUDA_ROWS_H

#include "device/cuda/kernel.h"
#include "device/cuda/memory.h"
#include "optim/ops.h"

enum {
    VECTOR = 4,  // elements that a thread loads and stores at once
    BLOCK = 128, // threads of a block that works on pieces
    BLOCK_WARPS = BLOCK / WARP,
    STRIDE = VECTOR * WARP,     // elements that a warp takes at once
    ELEMENT_PIECE = 8 * STRIDE, // of work that sums nothing: short enough for a few long vectors to fill a GPU
    SUM_PIECE = 64 * STRIDE,    // of sums: rows up to here need no second pass
    TOTAL_BLOCK = 256           // threads of a block that works on one number for each row of a matrix
};

// ---- elements ----

// Master weights and, where there are any, their copies in bf16, rounded to nearest.
template <typename A>
__device__ inline void store_weights(A *master, __nv_bfloat16 *copy, const A (&p)[VECTOR], int64_t left) {
    store(master, p, left);
    if (copy == nullptr) return;
    float narrow[VECTOR];
    for (int v = 0; v < VECTOR; v++) narrow[v] = static_cast<float>(p[v]);
    store(copy, narrow, left);
}

// The copies of a batch's weights; NULL where weights and master are one.
inline __nv_bfloat16 *weights_copy(const MatrixBatch *x) {
    if (x->weights_type != TYPE_BF16) {
        ASSERT(x->weights == x->master);
        return nullptr;
    }
    return static_cast<__nv_bfloat16 *>(x->weights);
}

// 0 of 0, NaN of NaN.
template <typename A> __device__ inline A sign_of(A x) {
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

// ---- pieces ----

// `count` (rows, cols) matrices cut into n pieces of rows, `pieces` of `length` elements a row, the last one shorter.
struct Cut {
    int64_t rows, cols, length, pieces, n;
};

inline Cut cut_rows(int64_t count, int64_t rows, int64_t cols, int64_t length) {
    int64_t pieces = max_i64(1, ceil_div(cols, length));
    return {rows, cols, length, pieces, count * rows * pieces};
}

// Columns [first, end) of row `row` of matrix `matrix`; `line` counts the rows of all matrices.
struct Piece {
    int64_t matrix, row, line, first, end;
};

__device__ inline Piece piece_at(const Cut &cut, int64_t i) {
    int64_t line = i / cut.pieces, first = (i - line * cut.pieces) * cut.length, matrix = line / cut.rows;
    int64_t end = first + cut.length < cut.cols ? first + cut.length : cut.cols;
    return {matrix, line - matrix * cut.rows, line, first, end};
}

// Where a row stands in memory when matrices are `stride` elements apart.
__device__ inline int64_t row_at(const Cut &cut, const Piece &piece, int64_t stride) {
    return piece.matrix * stride + piece.row * cut.cols;
}

// for (int64_t i = first_piece(); i < cut.n; i += piece_step())
__device__ inline int64_t first_piece() {
    return static_cast<int64_t>(blockIdx.x) * BLOCK_WARPS + warp_index();
}
__device__ inline int64_t piece_step() {
    return static_cast<int64_t>(gridDim.x) * BLOCK_WARPS;
}

// for (int64_t c = first_column(piece); c < piece.end; c += STRIDE)
__device__ inline int64_t first_column(const Piece &piece) {
    return piece.first + VECTOR * lane_index();
}

inline unsigned cut_grid(const Cut &cut) {
    return grid_of(cut.n, BLOCK_WARPS);
}

// An array that may not be there, from an element on.
template <typename T> __device__ inline T *from_element(T *array, int64_t at) {
    return array ? array + at : nullptr;
}

// ---- sums ----

// Four running sums of a lane, which the elements of each load go into.
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

// Scratch for the sums of pieces, which row_sums_fold adds up; NULL where a row is one piece: its sum is the row's.
inline int64_t row_partial_bytes(const Cut &cut) {
    return cut.pieces == 1 ? 0 : cut.n * static_cast<int64_t>(sizeof(double));
}
inline double *row_partial(Stream *s, const Cut &cut) {
    if (cut.pieces == 1) return nullptr;
    return static_cast<double *>(cuda_scratch(s, static_cast<size_t>(row_partial_bytes(cut))));
}
void row_sums_fold(Stream *s, double *row_sums, const double *partial, const Cut &cut);

// totals (count) = the sums of row_sums (count, rows), or their roots.
void matrix_totals(Stream *s, double *totals, const double *row_sums, int count, int64_t rows, bool root);

// What is added up over a row or a column.
enum Term { TERM_VALUE, TERM_ABSOLUTE, TERM_SQUARE, TERM_PRODUCT, TERM_DISTANCE };

// sums (count, rows) of a term, but the first, over the rows of x (matrices `stride` apart) and, for the last two, of a
// dense y: x y, or (x - y)^2. partial: row_partial, or as much memory of the caller's own.
template <typename T>
void row_term_sums(Stream *s, double *sums, double *partial, Term term, const T *x, const T *y, int64_t stride,
                   const Cut &cut);

// sums (count, cols) of one of the first three terms over the columns of dense matrices, divided by `divisor`; partial is
// column_partial_bytes of scratch.
size_t column_partial_bytes(int64_t count, int64_t rows, int64_t cols);
template <typename T>
void column_term_sums(Stream *s, double *sums, double *partial, Term term, const T *x, double divisor,
                      int64_t count, int64_t rows, int64_t cols);

#endif
