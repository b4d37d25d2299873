// Centering and normalization on CUDA: the shifts or factors of rows or columns are computed first, in double; then one
// pass applies them and sums the squares of the stored results.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

enum ApplyMode { SHIFT_COLUMNS, SCALE_COLUMNS, SCALE_ROWS, NORMALIZE_BY_MOMENTS };

// Arguments of the pass: coefficients of columns (count, cols) or rows (count, rows), or second moments of elements.
template <typename A> struct ApplyArgs {
    const StepReport *report; // NULL: applied even if the step is bad
    const double *coefficients;
    A *moments;
    int64_t stride;
    const StepInputs *inputs;
    int group;
    double eps;
};

template <typename T, ApplyMode MODE>
__global__ void __launch_bounds__(BLOCK) apply_kernel(T *o, double *sums, ApplyArgs<Acc<T>> args, Tiling tiling) {
    using A = Acc<T>;
    if (args.report && args.report->ok == 0) return;
    double beta2 = MODE == NORMALIZE_BY_MOMENTS ? args.inputs->beta2[args.group] : 0;
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        T *row = o + tile.batch_row * tiling.cols;
        const double *by_column =
            MODE == SCALE_ROWS ? nullptr : offset_or_null(args.coefficients, tile.matrix * tiling.cols);
        A *moments = offset_or_null(args.moments, row_offset(tiling, tile, args.stride));
        double by_row = MODE == SCALE_ROWS ? args.coefficients[tile.batch_row] : 0;
        LaneSums lane;
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            A y[VECTOR], v[VECTOR];
            load(y, row + c, left);
            if constexpr (MODE == NORMALIZE_BY_MOMENTS) load(v, moments + c, left);
            for (int e = 0; e < VECTOR && e < left; e++) {
                double x = static_cast<double>(y[e]);
                if constexpr (MODE == SHIFT_COLUMNS) x -= by_column[c + e];
                if constexpr (MODE == SCALE_COLUMNS) x *= by_column[c + e];
                if constexpr (MODE == SCALE_ROWS) x *= by_row;
                if constexpr (MODE == NORMALIZE_BY_MOMENTS) {
                    double moment = beta2 * static_cast<double>(v[e]) + (1 - beta2) * (x * x);
                    v[e] = static_cast<A>(moment);
                    x /= sqrt(moment) + args.eps;
                }
                y[e] = rounded<T>(static_cast<A>(x));
            }
            if constexpr (MODE == NORMALIZE_BY_MOMENTS) store(moments + c, v, left);
            store(row + c, y, left);
            add_squares(lane, y);
        }
        double total = warp_total(lane);
        if (lane_index() == 0) sums[i] = total;
    }
}

template <typename T, ApplyMode MODE>
static void apply(Stream *s, void *o, double *row_sums, double *partial, const ApplyArgs<Acc<T>> &args,
                  const Tiling &tiling) {
    CUDA_LAUNCH((apply_kernel<T, MODE>), tiling_grid(tiling), BLOCK, 0, cuda_stream(s), static_cast<T *>(o),
                tiling.per_row > 1 ? partial : row_sums, args, tiling);
    CUDA_CHECK_LAUNCH();
    row_sums_fold(s, row_sums, partial, tiling);
}

// Scratch: one double per column or row, followed by partial sums of columns or row tiles.
struct Scratch {
    double *coefficients, *partial;
};

static int64_t coefficient_count(int64_t count, int64_t rows, int64_t cols, bool columns) {
    return count * (columns ? cols : rows);
}

int64_t normalize_scratch_cuda(int64_t count, int64_t rows, int64_t cols, bool columns) {
    const int64_t size = sizeof(double);
    int64_t tile_bytes = tile_rows(count, rows, cols, SUM_TILE).n * size,
            sums = columns ? static_cast<int64_t>(column_partial_bytes(count, rows, cols)) : 0;
    return coefficient_count(count, rows, cols, columns) * size + (tile_bytes > sums ? tile_bytes : sums);
}

static Scratch allocate_scratch(Stream *s, int64_t count, int64_t rows, int64_t cols, bool columns) {
    size_t bytes = static_cast<size_t>(normalize_scratch_cuda(count, rows, cols, columns));
    double *memory = static_cast<double *>(cuda_scratch(s, bytes));
    return {memory, memory + coefficient_count(count, rows, cols, columns)};
}

template <typename T> void center_columns_cuda(Stream *s, const CenterColumns *args) {
    int64_t rows = args->rows, cols = args->cols;
    Tiling tiling = tile_rows(args->count, rows, cols, SUM_TILE);
    Scratch scratch = allocate_scratch(s, args->count, rows, cols, true);
    column_term_sums<T>(s, scratch.coefficients, scratch.partial, TERM_VALUE, static_cast<const T *>(args->o),
                        static_cast<double>(rows), args->count, rows, cols);
    ApplyArgs<Acc<T>> apply_args = {};
    apply_args.coefficients = scratch.coefficients;
    apply<T, SHIFT_COLUMNS>(s, args->o, args->row_sums, scratch.partial, apply_args, tiling);
}

// factors (count, n) = 1 / (sqrt(v) + eps) from sums of squares of rows or columns, with the unrounded
// v = b2 v + (1 - b2) sum / divisor; without moments v = sum. factors may alias sums.
template <typename A>
__global__ void factors_kernel(double *factors, const double *sums, MatrixBatch batch, bool moments, double divisor,
                               int64_t n, double eps) {
    if (batch.report->ok == 0) return;
    double beta2 = batch.inputs->beta2[batch.group];
    for (int64_t i = grid_thread(); i < batch.count * n; i += grid_threads()) {
        double moment = sums[i];
        if (moments) {
            A *v = static_cast<A *>(batch.state[1]) + i / n * batch.state_stride[1] + i % n;
            moment = beta2 * static_cast<double>(*v) + (1 - beta2) * (moment / divisor);
            *v = static_cast<A>(moment);
        }
        factors[i] = 1 / (sqrt(moment) + eps);
    }
}

template <typename A>
static void make_factors(Stream *s, double *factors, const double *sums, const MatrixBatch *batch, bool moments,
                         int64_t divisor, int64_t n, double eps) {
    CUDA_LAUNCH(factors_kernel<A>, grid_of(batch->count * n, BLOCK), BLOCK, 0, cuda_stream(s), factors, sums,
                *batch, moments, static_cast<double>(divisor), n, eps);
    CUDA_CHECK_LAUNCH();
}

template <typename T> void normalize_cuda(Stream *s, const Normalize *args) {
    using A = Acc<T>;
    const MatrixBatch *batch = args->batch;
    int64_t rows = batch->rows, cols = batch->cols;
    Tiling tiling = tile_rows(batch->count, rows, cols, SUM_TILE);
    bool columns = args->by == NORMALIZE_COLUMNS;
    Scratch scratch = allocate_scratch(s, batch->count, rows, cols, columns);
    ApplyArgs<A> apply_args = {batch->report,
                               scratch.coefficients,
                               static_cast<A *>(batch->state[1]),
                               batch->state_stride[1],
                               batch->inputs,
                               batch->group,
                               args->eps};
    if (args->by == NORMALIZE_ELEMENTS) {
        apply<T, NORMALIZE_BY_MOMENTS>(s, args->o, args->row_sums, scratch.partial, apply_args, tiling);
    } else if (columns) {
        column_term_sums<T>(s, scratch.coefficients, scratch.partial, TERM_SQUARE, static_cast<const T *>(args->o),
                            1, batch->count, rows, cols);
        make_factors<A>(s, scratch.coefficients, scratch.coefficients, batch, true, rows, cols, args->eps);
        apply<T, SCALE_COLUMNS>(s, args->o, args->row_sums, scratch.partial, apply_args, tiling);
    } else {
        make_factors<A>(s, scratch.coefficients, args->row_sums, batch, args->by == NORMALIZE_ROWS, cols, rows,
                        args->eps);
        apply<T, SCALE_ROWS>(s, args->o, args->row_sums, scratch.partial, apply_args, tiling);
    }
}

CUDA_INSTANCES(center_columns_cuda)
CUDA_INSTANCES(normalize_cuda)
