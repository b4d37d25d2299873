// Row and column sums, and the bad-step check with the clip scale, on CUDA. Every element is read once.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

// ---- rows ----

template <typename A> __device__ inline double term_of(Term term, A x, A y) {
    double a = static_cast<double>(x), b = static_cast<double>(y);
    switch (term) {
    case TERM_VALUE:
        return a;
    case TERM_ABSOLUTE:
        return fabs(a);
    case TERM_SQUARE:
        return a * a;
    case TERM_PRODUCT:
        return a * b;
    default:
        return (a - b) * (a - b);
    }
}

// sums[i] = the sum over row tile i of x; y is dense and only read by terms of two operands.
template <typename T, Term TERM>
__global__ void tile_sums_kernel(double *sums, const T *x, const T *y, int64_t stride, Tiling tiling) {
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        const T *row = x + row_offset(tiling, tile, stride), *other = y + tile.batch_row * tiling.cols;
        LaneSums lane;
#pragma unroll 4
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            Acc<T> a[VECTOR], b[VECTOR] = {};
            load(a, row + c, tile.end - c);
            if constexpr (TERM >= TERM_PRODUCT) load(b, other + c, tile.end - c);
            for (int v = 0; v < VECTOR; v++) lane.at[v] += term_of(TERM, a[v], b[v]);
        }
        double total = warp_total(lane);
        if (lane_index() == 0) sums[i] = total;
    }
}

__global__ void fold_tiles_kernel(double *row_sums, const double *partial, int64_t batch_rows, int64_t per_row) {
    for (int64_t r = grid_thread(); r < batch_rows; r += grid_threads()) {
        double sum = 0;
        for (int64_t k = 0; k < per_row; k++) sum += partial[r * per_row + k];
        row_sums[r] = sum;
    }
}

void row_sums_fold(Stream *s, double *row_sums, const double *partial, const Tiling &tiling) {
    if (tiling.per_row == 1) return;
    int64_t batch_rows = tiling.n / tiling.per_row;
    CUDA_LAUNCH(fold_tiles_kernel, grid_of(batch_rows, BLOCK), BLOCK, 0, cuda_stream(s), row_sums, partial,
                batch_rows, tiling.per_row);
    CUDA_CHECK_LAUNCH();
}

template <typename T, Term TERM>
static void launch_row_sums(Stream *s, double *sums, double *partial, const T *x, const T *y, int64_t stride,
                            const Tiling &tiling) {
    CUDA_LAUNCH((tile_sums_kernel<T, TERM>), tiling_grid(tiling), BLOCK, 0, cuda_stream(s),
                tiling.per_row > 1 ? partial : sums, x, y, stride, tiling);
    CUDA_CHECK_LAUNCH();
    row_sums_fold(s, sums, partial, tiling);
}

template <typename T>
void row_term_sums(Stream *s, double *sums, double *partial, Term term, const T *x, const T *y, int64_t stride,
                   const Tiling &tiling) {
    switch (term) {
    case TERM_ABSOLUTE:
        return launch_row_sums<T, TERM_ABSOLUTE>(s, sums, partial, x, y, stride, tiling);
    case TERM_SQUARE:
        return launch_row_sums<T, TERM_SQUARE>(s, sums, partial, x, y, stride, tiling);
    case TERM_PRODUCT:
        return launch_row_sums<T, TERM_PRODUCT>(s, sums, partial, x, y, stride, tiling);
    case TERM_DISTANCE:
        return launch_row_sums<T, TERM_DISTANCE>(s, sums, partial, x, y, stride, tiling);
    default:
        ASSERT(!"not a term of row sums");
    }
}

template <typename T> void row_sum_squares_cuda(Stream *s, const RowSumSquares *a) {
    const T *from = static_cast<const T *>(a->x);
    Tiling tiling = tile_rows(a->count, a->rows, a->cols, SUM_TILE);
    row_term_sums<T>(s, a->sums, row_partial(s, tiling), TERM_SQUARE, from, from, a->stride, tiling);
}

template <typename T> void row_dots_cuda(Stream *s, const RowDots *a) {
    Tiling tiling = tile_rows(a->count, a->rows, a->cols, SUM_TILE);
    row_term_sums<T>(s, a->sums, row_partial(s, tiling), TERM_PRODUCT, static_cast<const T *>(a->a),
                     static_cast<const T *>(a->b), a->rows * a->cols, tiling);
}

// ---- matrices ----

__global__ void totals_kernel(double *totals, const double *row_sums, int64_t rows, bool root) {
    CUDA_SHARED_ARRAY(double, shared, WARP);
    const double *sums = row_sums + blockIdx.x * rows;
    double sum = 0;
#pragma unroll 4
    for (int64_t r = threadIdx.x; r < rows; r += TOTAL_BLOCK) sum += sums[r];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) totals[blockIdx.x] = root ? sqrt(sum) : sum;
}

void matrix_totals(Stream *s, double *totals, const double *row_sums, int count, int64_t rows, bool root) {
    CUDA_LAUNCH(totals_kernel, static_cast<unsigned>(count), TOTAL_BLOCK, 0, cuda_stream(s), totals, row_sums, rows,
                root);
    CUDA_CHECK_LAUNCH();
}

// ---- columns ----

enum { CHUNK_ROWS = 64 }; // rows per partial column sum

static int64_t chunk_count(int64_t rows) {
    return ceil_div(rows, CHUNK_ROWS);
}

int64_t row_scratch_cuda(int64_t count, int64_t rows, int64_t cols) {
    int64_t partial = row_partial_bytes(tile_rows(count, rows, cols, SUM_TILE));
    int64_t norms = count * static_cast<int64_t>(sizeof(double)); // for polar_scale
    return partial > norms ? partial : norms;
}

size_t column_partial_bytes(int64_t count, int64_t rows, int64_t cols) {
    return static_cast<size_t>(count * chunk_count(rows) * cols) * sizeof(double);
}

// partial (count, chunks, cols): a warp handles 32 columns of a chunk of rows.
template <typename T, Term TERM>
__global__ void chunk_sums_kernel(double *partial, const T *x, int64_t count, int64_t rows, int64_t cols) {
    int64_t chunks = ceil_div(rows, CHUNK_ROWS), tiles = ceil_div(cols, WARP);
    for (int64_t i = grid_warp(); i < count * chunks * tiles; i += grid_warps()) {
        int64_t batch_row = i / tiles, c = (i - batch_row * tiles) * WARP + lane_index();
        if (c >= cols) continue;
        int64_t matrix = batch_row / chunks, first = (batch_row - matrix * chunks) * CHUNK_ROWS;
        int64_t end = first + CHUNK_ROWS < rows ? first + CHUNK_ROWS : rows;
        const T *from = x + matrix * rows * cols + c;
        double sum = 0;
#pragma unroll 8
        for (int64_t r = first; r < end; r++) {
            Acc<T> value = widened(from[r * cols]);
            sum += term_of(TERM, value, value);
        }
        partial[batch_row * cols + c] = sum;
    }
}

__global__ void column_fold_kernel(double *sums, const double *partial, int64_t count, int64_t chunks, int64_t cols,
                                   double divisor) {
    for (int64_t i = grid_thread(); i < count * cols; i += grid_threads()) {
        int64_t matrix = i / cols;
        const double *from = partial + matrix * chunks * cols + (i - matrix * cols);
        double sum = 0;
#pragma unroll 8
        for (int64_t k = 0; k < chunks; k++) sum += from[k * cols];
        sums[i] = sum / divisor;
    }
}

template <typename T, Term TERM>
static void launch_chunk_sums(Stream *s, double *partial, const T *x, int64_t count, int64_t rows, int64_t cols) {
    int64_t warps = count * chunk_count(rows) * ceil_div(cols, WARP);
    CUDA_LAUNCH((chunk_sums_kernel<T, TERM>), grid_of(warps, BLOCK_WARPS), BLOCK, 0, cuda_stream(s), partial, x,
                count, rows, cols);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
void column_term_sums(Stream *s, double *sums, double *partial, Term term, const T *x, double divisor,
                      int64_t count, int64_t rows, int64_t cols) {
    if (term == TERM_VALUE) launch_chunk_sums<T, TERM_VALUE>(s, partial, x, count, rows, cols);
    else if (term == TERM_ABSOLUTE) launch_chunk_sums<T, TERM_ABSOLUTE>(s, partial, x, count, rows, cols);
    else launch_chunk_sums<T, TERM_SQUARE>(s, partial, x, count, rows, cols);
    CUDA_LAUNCH(column_fold_kernel, grid_of(count * cols, BLOCK), BLOCK, 0, cuda_stream(s), sums, partial, count,
                chunk_count(rows), cols, divisor);
    CUDA_CHECK_LAUNCH();
}

// ---- the step ----

enum { GUARD_BLOCK = 1024 };

__global__ void __launch_bounds__(GUARD_BLOCK)
    step_guard_kernel(StepReport *report, const StepInputs *inputs, const double *row_sums, int64_t n,
                      const double *loss) {
    CUDA_SHARED_ARRAY(double, shared, WARP);
    double sum = 0;
#pragma unroll 8
    for (int64_t i = threadIdx.x; i < n; i += GUARD_BLOCK) sum += row_sums[i];
    double norm = sqrt(block_sum(sum, shared));
    if (threadIdx.x != 0) return;
    double mean = *loss * inputs->loss_scale;
    bool ok = isfinite(norm) && isfinite(mean) && mean <= inputs->loss_limit;
    double clip_scale = inputs->max_grad_norm > 0 && ok ? fmin(1.0, inputs->max_grad_norm / (norm + 1e-6)) : 1;
    ok = ok && clip_scale * norm <= MAX_APPLIED_NORM;
    double applied = report->applied + (ok ? 1 : 0);
    report->grad_norm = norm;
    report->loss = mean;
    report->ok = ok ? 1 : 0;
    report->applied = applied;
    report->clip_scale = clip_scale;
    for (int g = 0; g < GROUP_COUNT; g++) {
        report->bias_correction1[g] = 1 - pow(inputs->beta1[g], applied);
        report->bias_correction2[g] = 1 - pow(inputs->beta2[g], applied);
    }
}

template <typename T> void step_guard_cuda(Stream *s, const StepGuard *a) {
    CUDA_LAUNCH(step_guard_kernel, 1, GUARD_BLOCK, 0, cuda_stream(s), a->report, a->inputs, a->row_sums, a->n,
                a->loss);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(row_sum_squares_cuda)
CUDA_INSTANCES(row_dots_cuda)
CUDA_INSTANCES(step_guard_cuda)
CUDA_INSTANCES(row_term_sums)
CUDA_INSTANCES(column_term_sums)
