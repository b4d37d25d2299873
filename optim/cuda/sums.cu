// Sums over rows and columns on CUDA, and what the sums of all gradients decide. Every element is read once.
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

// Sums of the pieces of x; y, where the term has one, is dense.
template <typename T, Term TERM>
__global__ void piece_sums_kernel(double *sums, const T *x, const T *y, int64_t stride, Cut cut) {
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        const T *row = x + row_at(cut, piece, stride), *other = y + piece.line * cut.cols;
        LaneSums lane;
#pragma unroll 4
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            Acc<T> a[VECTOR], b[VECTOR] = {};
            load(a, row + c, piece.end - c);
            if constexpr (TERM >= TERM_PRODUCT) load(b, other + c, piece.end - c);
            for (int v = 0; v < VECTOR; v++) lane.at[v] += term_of(TERM, a[v], b[v]);
        }
        double total = warp_total(lane);
        if (lane_index() == 0) sums[i] = total;
    }
}

__global__ void fold_pieces_kernel(double *row_sums, const double *partial, int64_t lines, int64_t pieces) {
    for (int64_t r = grid_thread(); r < lines; r += grid_threads()) {
        double sum = 0;
        for (int64_t k = 0; k < pieces; k++) sum += partial[r * pieces + k];
        row_sums[r] = sum;
    }
}

void row_sums_fold(Stream *s, double *row_sums, const double *partial, const Cut &cut) {
    if (cut.pieces == 1) return;
    int64_t lines = cut.n / cut.pieces;
    CUDA_LAUNCH(fold_pieces_kernel, grid_of(lines, BLOCK), BLOCK, 0, cuda_stream(s), row_sums, partial, lines,
                cut.pieces);
    CUDA_CHECK_LAUNCH();
}

template <typename T, Term TERM>
static void launch_row_sums(Stream *s, double *sums, double *partial, const T *x, const T *y, int64_t stride,
                            const Cut &cut) {
    CUDA_LAUNCH((piece_sums_kernel<T, TERM>), cut_grid(cut), BLOCK, 0, cuda_stream(s),
                cut.pieces > 1 ? partial : sums, x, y, stride, cut);
    CUDA_CHECK_LAUNCH();
    row_sums_fold(s, sums, partial, cut);
}

template <typename T>
void row_term_sums(Stream *s, double *sums, double *partial, Term term, const T *x, const T *y, int64_t stride,
                   const Cut &cut) {
    switch (term) {
    case TERM_ABSOLUTE:
        return launch_row_sums<T, TERM_ABSOLUTE>(s, sums, partial, x, y, stride, cut);
    case TERM_SQUARE:
        return launch_row_sums<T, TERM_SQUARE>(s, sums, partial, x, y, stride, cut);
    case TERM_PRODUCT:
        return launch_row_sums<T, TERM_PRODUCT>(s, sums, partial, x, y, stride, cut);
    case TERM_DISTANCE:
        return launch_row_sums<T, TERM_DISTANCE>(s, sums, partial, x, y, stride, cut);
    default:
        ASSERT(!"a term that rows are asked for");
    }
}

template <typename T> void row_sum_squares_cuda(Stream *s, const RowSumSquares *a) {
    const T *from = static_cast<const T *>(a->x);
    Cut cut = cut_rows(a->count, a->rows, a->cols, SUM_PIECE);
    row_term_sums<T>(s, a->sums, row_partial(s, cut), TERM_SQUARE, from, from, a->stride, cut);
}

template <typename T> void row_dots_cuda(Stream *s, const RowDots *a) {
    Cut cut = cut_rows(a->count, a->rows, a->cols, SUM_PIECE);
    row_term_sums<T>(s, a->sums, row_partial(s, cut), TERM_PRODUCT, static_cast<const T *>(a->a),
                     static_cast<const T *>(a->b), a->rows * a->cols, cut);
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

enum { CHUNK = 64 }; // rows that a lane adds up of its column

static int64_t chunks_of(int64_t rows) {
    return ceil_div(rows, CHUNK);
}

int64_t row_scratch_cuda(int64_t count, int64_t rows, int64_t cols) {
    int64_t partial = row_partial_bytes(cut_rows(count, rows, cols, SUM_PIECE));
    int64_t norms = count * static_cast<int64_t>(sizeof(double)); // of polar_scale
    return partial > norms ? partial : norms;
}

size_t column_partial_bytes(int64_t count, int64_t rows, int64_t cols) {
    return static_cast<size_t>(count * chunks_of(rows) * cols) * sizeof(double);
}

// partial (count, chunks, cols): a warp has 32 columns of a chunk of rows.
template <typename T, Term TERM>
__global__ void chunk_sums_kernel(double *partial, const T *x, int64_t count, int64_t rows, int64_t cols) {
    int64_t chunks = ceil_div(rows, CHUNK), tiles = ceil_div(cols, WARP);
    for (int64_t i = first_piece(); i < count * chunks * tiles; i += piece_step()) {
        int64_t line = i / tiles, c = (i - line * tiles) * WARP + lane_index();
        if (c >= cols) continue;
        int64_t matrix = line / chunks, first = (line - matrix * chunks) * CHUNK;
        int64_t end = first + CHUNK < rows ? first + CHUNK : rows;
        const T *from = x + matrix * rows * cols + c;
        double sum = 0;
#pragma unroll 8
        for (int64_t r = first; r < end; r++) {
            Acc<T> value = widened(from[r * cols]);
            sum += term_of(TERM, value, value);
        }
        partial[line * cols + c] = sum;
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
    int64_t warps = count * chunks_of(rows) * ceil_div(cols, WARP);
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
                chunks_of(rows), cols, divisor);
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
