// Centering and normalization on CUDA: what each row, column or element is multiplied by or shifted by is made first, in
// double; then one pass applies it and sums the squares of what it stores.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

enum Application { APPLY_SHIFT, APPLY_ACROSS, APPLY_DOWN, APPLY_MOMENTS };

// What the pass is given: numbers of columns (count, cols) or rows (count, rows), or the moments of elements.
template <typename A> struct Applied {
    const StepReport *report; // NULL: the step is not asked
    const double *numbers;
    A *moments;
    int64_t stride;
    const StepInputs *inputs;
    int group;
    double eps;
};

template <typename T, Application HOW>
__global__ void __launch_bounds__(BLOCK) apply_kernel(T *o, double *sums, Applied<Acc<T>> with, Cut cut) {
    using A = Acc<T>;
    if (with.report && with.report->ok == 0) return;
    double beta2 = HOW == APPLY_MOMENTS ? with.inputs->beta2[with.group] : 0;
    for (int64_t i = first_piece(); i < cut.n; i += piece_step()) {
        Piece piece = piece_at(cut, i);
        T *row = o + piece.line * cut.cols;
        const double *across = HOW == APPLY_DOWN ? nullptr : from_element(with.numbers, piece.matrix * cut.cols);
        A *moments = from_element(with.moments, row_at(cut, piece, with.stride));
        double down = HOW == APPLY_DOWN ? with.numbers[piece.line] : 0;
        LaneSums lane;
        for (int64_t c = first_column(piece); c < piece.end; c += STRIDE) {
            int64_t left = piece.end - c;
            A y[VECTOR], v[VECTOR];
            load(y, row + c, left);
            if constexpr (HOW == APPLY_MOMENTS) load(v, moments + c, left);
            for (int e = 0; e < VECTOR && e < left; e++) {
                double x = static_cast<double>(y[e]);
                if constexpr (HOW == APPLY_SHIFT) x -= across[c + e];
                if constexpr (HOW == APPLY_ACROSS) x *= across[c + e];
                if constexpr (HOW == APPLY_DOWN) x *= down;
                if constexpr (HOW == APPLY_MOMENTS) {
                    double moment = beta2 * static_cast<double>(v[e]) + (1 - beta2) * (x * x);
                    v[e] = static_cast<A>(moment);
                    x /= sqrt(moment) + with.eps;
                }
                y[e] = rounded<T>(static_cast<A>(x));
            }
            if constexpr (HOW == APPLY_MOMENTS) store(moments + c, v, left);
            store(row + c, y, left);
            add_squares(lane, y);
        }
        double total = warp_total(lane);
        if (lane_index() == 0) sums[i] = total;
    }
}

template <typename T, Application HOW>
static void apply(Stream *s, void *o, double *row_sums, double *partial, const Applied<Acc<T>> &with,
                  const Cut &cut) {
    CUDA_LAUNCH((apply_kernel<T, HOW>), cut_grid(cut), BLOCK, 0, cuda_stream(s), static_cast<T *>(o),
                cut.pieces > 1 ? partial : row_sums, with, cut);
    CUDA_CHECK_LAUNCH();
    row_sums_fold(s, row_sums, partial, cut);
}

// Scratch: doubles, one for each column or row, and what their sums or those of pieces need, one after the other.
struct Scratch {
    double *numbers, *partial;
};

static int64_t numbers_of(int64_t count, int64_t rows, int64_t cols, bool columns) {
    return count * (columns ? cols : rows);
}

int64_t normalize_scratch_cuda(int64_t count, int64_t rows, int64_t cols, bool columns) {
    const int64_t size = sizeof(double);
    int64_t pieces = cut_rows(count, rows, cols, SUM_PIECE).n * size,
            sums = columns ? static_cast<int64_t>(column_partial_bytes(count, rows, cols)) : 0;
    return numbers_of(count, rows, cols, columns) * size + (pieces > sums ? pieces : sums);
}

static Scratch scratch_for(Stream *s, int64_t count, int64_t rows, int64_t cols, bool columns) {
    size_t bytes = static_cast<size_t>(normalize_scratch_cuda(count, rows, cols, columns));
    double *memory = static_cast<double *>(cuda_scratch(s, bytes));
    return {memory, memory + numbers_of(count, rows, cols, columns)};
}

template <typename T> void center_columns_cuda(Stream *s, const CenterColumns *a) {
    int64_t rows = a->rows, cols = a->cols;
    Cut cut = cut_rows(a->count, rows, cols, SUM_PIECE);
    Scratch scratch = scratch_for(s, a->count, rows, cols, true);
    column_term_sums<T>(s, scratch.numbers, scratch.partial, TERM_VALUE, static_cast<const T *>(a->o),
                        static_cast<double>(rows), a->count, rows, cols);
    Applied<Acc<T>> with = {};
    with.numbers = scratch.numbers;
    apply<T, APPLY_SHIFT>(s, a->o, a->row_sums, scratch.partial, with, cut);
}

// factors (count, n) = 1 / (sqrt(v) + eps) from sums of squares of rows or columns, with v = b2 v + (1 - b2) sum / divisor,
// which is used as it is before it is rounded; v = sum where there are no moments. factors may be the sums.
template <typename A>
__global__ void factors_kernel(double *factors, const double *sums, MatrixBatch x, bool moments, double divisor,
                               int64_t n, double eps) {
    if (x.report->ok == 0) return;
    double beta2 = x.inputs->beta2[x.group];
    for (int64_t i = grid_thread(); i < x.count * n; i += grid_threads()) {
        double moment = sums[i];
        if (moments) {
            A *v = static_cast<A *>(x.state[1]) + i / n * x.state_stride[1] + i % n;
            moment = beta2 * static_cast<double>(*v) + (1 - beta2) * (moment / divisor);
            *v = static_cast<A>(moment);
        }
        factors[i] = 1 / (sqrt(moment) + eps);
    }
}

template <typename A>
static void make_factors(Stream *s, double *factors, const double *sums, const MatrixBatch *x, bool moments,
                         int64_t divisor, int64_t n, double eps) {
    CUDA_LAUNCH(factors_kernel<A>, grid_of(x->count * n, BLOCK), BLOCK, 0, cuda_stream(s), factors, sums, *x,
                moments, static_cast<double>(divisor), n, eps);
    CUDA_CHECK_LAUNCH();
}

template <typename T> void normalize_cuda(Stream *s, const Normalize *a) {
    using A = Acc<T>;
    const MatrixBatch *x = a->batch;
    int64_t rows = x->rows, cols = x->cols;
    Cut cut = cut_rows(x->count, rows, cols, SUM_PIECE);
    bool columns = a->by == NORMALIZE_COLUMNS;
    Scratch scratch = scratch_for(s, x->count, rows, cols, columns);
    Applied<A> with = {x->report, scratch.numbers, static_cast<A *>(x->state[1]), x->state_stride[1], x->inputs,
                       x->group,  a->eps};
    if (a->by == NORMALIZE_ELEMENTS) {
        apply<T, APPLY_MOMENTS>(s, a->o, a->row_sums, scratch.partial, with, cut);
    } else if (columns) {
        column_term_sums<T>(s, scratch.numbers, scratch.partial, TERM_SQUARE, static_cast<const T *>(a->o), 1,
                            x->count, rows, cols);
        make_factors<A>(s, scratch.numbers, scratch.numbers, x, true, rows, cols, a->eps);
        apply<T, APPLY_ACROSS>(s, a->o, a->row_sums, scratch.partial, with, cut);
    } else {
        make_factors<A>(s, scratch.numbers, a->row_sums, x, a->by == NORMALIZE_ROWS, cols, rows, a->eps);
        apply<T, APPLY_DOWN>(s, a->o, a->row_sums, scratch.partial, with, cut);
    }
}

CUDA_INSTANCES(center_columns_cuda)
CUDA_INSTANCES(normalize_cuda)
