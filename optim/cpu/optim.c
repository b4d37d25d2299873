// The optimizers' operations on the CPU. Work is cut by rows; what one row computes does not depend on the thread
// that does it. Sums of squares run in LANES double lanes of fixed order, whatever the width of the vectors.
#include "device/cpu/cpu.h"
#include "optim/cpu/tables.h" // declares the table

#include <math.h>

enum { LANES = 16 };

// Keeps a factor within float: rows of denormal numbers would ask for more.
static const double MAX_FACTOR = 1e30;

#if defined(REAL_F64)
static inline real real_sqrt(real x) {
    return sqrt(x);
}
#else
static inline real real_sqrt(real x) {
    return sqrtf(x);
}
#endif

static double dot(const real *x, const real *y, int64_t n) {
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += (double)x[i + l] * (double)y[i + l];
    for (int l = 0; i < n; i++, l++) lanes[l] += (double)x[i] * (double)y[i];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
    return lanes[0];
}

static double sum_squares(const real *x, int64_t n) {
    return dot(x, x, n);
}

static double sum_in_order(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

// Row r of all rows of a batch stands in matrix r / rows at row r % rows.
static inline int64_t row_offset(int64_t r, int64_t rows, int64_t cols, int64_t stride) {
    return r / rows * stride + r % rows * cols;
}

static void row_sum_squares(Stream *s, double *sums, const void *x, int64_t stride, int count, int64_t rows,
                            int64_t cols) {
    (void)s;
    int64_t n = count * rows;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++)
        sums[r] = sum_squares((const real *)x + row_offset(r, rows, cols, stride), cols);
}

static void step_guard(Stream *s, StepReport *report, const StepInputs *inputs, const double *row_sums, int64_t n,
                       const double *loss) {
    (void)s;
    report->grad_norm = sqrt(sum_in_order(row_sums, n));
    report->loss = *loss * inputs->loss_scale;
    bool ok = isfinite(report->grad_norm) && isfinite(report->loss) && report->loss <= inputs->loss_limit;
    report->clip_scale =
        inputs->max_grad_norm > 0 && ok ? fmin(1, inputs->max_grad_norm / (report->grad_norm + 1e-6)) : 1;
    ok = ok && report->clip_scale * report->grad_norm <= MAX_APPLIED_NORM;
    report->ok = ok ? 1 : 0;
    report->applied += report->ok;
    for (int g = 0; g < GROUP_COUNT; g++) {
        report->bias_correction1[g] = 1 - pow(inputs->beta1[g], report->applied);
        report->bias_correction2[g] = 1 - pow(inputs->beta2[g], report->applied);
    }
}

typedef struct {
    real clip, lr, b1, b2, g1, g2; // g1 = 1 - b1, g2 = 1 - b2
    real c1, c2;                   // 1 / bias corrections
    real eps, decay;
} AdamwScalars;

static void adamw_row(real *restrict p, real *restrict m, real *restrict v, const real *restrict grad, int64_t n,
                      AdamwScalars k) {
    for (int64_t i = 0; i < n; i++) {
        real g = k.clip * grad[i];
        real mi = k.b1 * m[i] + k.g1 * g;
        real vi = k.b2 * v[i] + k.g2 * (g * g);
        m[i] = mi;
        v[i] = vi;
        p[i] -= k.lr * (mi * k.c1 / (real_sqrt(vi * k.c2) + k.eps) + k.decay * p[i]);
    }
}

static void adamw_update(Stream *s, const MatrixBatch *x, double eps, double weight_decay) {
    (void)s;
    ASSERT(x->weights == x->master);
    const StepInputs *in = x->inputs;
    const StepReport *report = x->report;
    if (report->ok == 0) return;
    int g = x->group;
    AdamwScalars k = {.clip = (real)report->clip_scale,
                      .lr = (real)in->lr[g],
                      .b1 = (real)in->beta1[g],
                      .b2 = (real)in->beta2[g],
                      .g1 = (real)(1 - in->beta1[g]),
                      .g2 = (real)(1 - in->beta2[g]),
                      .c1 = (real)(1 / report->bias_correction1[g]),
                      .c2 = (real)(1 / report->bias_correction2[g]),
                      .eps = (real)eps,
                      .decay = (real)weight_decay};
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, x->stride);
        adamw_row((real *)x->master + at, (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]),
                  (real *)x->state[1] + row_offset(r, rows, cols, x->state_stride[1]), (const real *)x->grads + at,
                  cols, k);
    }
}

typedef struct {
    real clip, lr, momentum, decay;
} SgdScalars;

static void sgd_row(real *restrict p, real *restrict b, const real *restrict grad, int64_t n, bool nesterov,
                    SgdScalars k) {
    real direct = nesterov ? 1 : 0, through = nesterov ? k.momentum : 1;
    for (int64_t i = 0; i < n; i++) {
        real d = k.clip * grad[i] + k.decay * p[i];
        real bi = k.momentum * b[i] + d;
        b[i] = bi;
        p[i] -= k.lr * (direct * d + through * bi);
    }
}

static void sgd_row_plain(real *restrict p, const real *restrict grad, int64_t n, SgdScalars k) {
    for (int64_t i = 0; i < n; i++) p[i] -= k.lr * (k.clip * grad[i] + k.decay * p[i]);
}

static void sgd_update(Stream *s, const MatrixBatch *x, bool nesterov, double weight_decay) {
    (void)s;
    ASSERT(x->weights == x->master);
    if (x->report->ok == 0) return;
    SgdScalars k = {.clip = (real)x->report->clip_scale,
                    .lr = (real)x->inputs->lr[x->group],
                    .momentum = (real)x->inputs->momentum[x->group],
                    .decay = (real)weight_decay};
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, x->stride);
        real *p = (real *)x->master + at;
        const real *grad = (const real *)x->grads + at;
        if (x->state[0])
            sgd_row(p, (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]), grad, cols, nesterov,
                    k);
        else sgd_row_plain(p, grad, cols, k);
    }
}

// M = b M + c g, U = direct g + through M.
typedef struct {
    real clip, b, c, direct, through;
} MomentumScalars;

static void momentum_row(real *restrict u, real *restrict m, const real *restrict grad, int64_t n,
                         MomentumScalars k) {
    for (int64_t i = 0; i < n; i++) {
        real g = k.clip * grad[i];
        real mi = k.b * m[i] + k.c * g;
        m[i] = mi;
        u[i] = k.direct * g + k.through * mi;
    }
}

static void polar_momentum(Stream *s, void *u, double *row_sums, const MatrixBatch *x, bool ema, bool nesterov) {
    (void)s;
    if (x->report->ok == 0) return;
    double b = x->inputs->momentum[x->group], c = ema ? 1 - b : 1;
    if (x->state[0] == NULL) b = 0, c = 1;
    MomentumScalars k = {.clip = (real)x->report->clip_scale,
                         .b = (real)b,
                         .c = (real)c,
                         .direct = (real)(nesterov ? c : 0),
                         .through = (real)(nesterov ? b : 1)};
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        real *row = (real *)u + r * cols;
        const real *grad = (const real *)x->grads + row_offset(r, rows, cols, x->stride);
        if (x->state[0])
            momentum_row(row, (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]), grad, cols, k);
        else
            for (int64_t i = 0; i < cols; i++) row[i] = k.clip * grad[i];
        row_sums[r] = sum_squares(row, cols);
    }
}

static void polar_scale(Stream *s, void *x, const double *row_sums, int count, int64_t rows, int64_t cols,
                        double factor, double eps) {
    (void)s;
    for (int j = 0; j < count; j++) {
        real *matrix = (real *)x + j * rows * cols;
        double scale = 1 / (sqrt(sum_in_order(row_sums + j * rows, rows)) * factor + eps);
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
        for (int64_t r = 0; r < rows; r++) {
            real *row = matrix + r * cols;
            for (int64_t i = 0; i < cols; i++) row[i] = (real)(row[i] * scale);
        }
    }
}

// v and the unscaled factors 1 / (sqrt(v) + eps) of one matrix.
static void normalize_rows(double *factors, real *v, const double *row_sums, int64_t rows, int64_t cols,
                           double beta2, double eps) {
    for (int64_t r = 0; r < rows; r++) {
        v[r] = (real)(beta2 * (double)v[r] + (1 - beta2) * (row_sums[r] / (double)cols));
        factors[r] = 1 / (sqrt((double)v[r]) + eps);
    }
}

// The factor of a rule on a matrix with the norm of its polar factor; matrix j of its batch.
static double rule_factor(const RowScaling *scaling, int64_t rows, int64_t cols, int j) {
    double m = (double)rows, n = (double)cols;
    switch (scaling->rule) {
    case SCALE_MAX:
        return scaling->rms * sqrt(fmax(m, n));
    case SCALE_SPECTRAL:
        return sqrt(m / n);
    case SCALE_FROBENIUS:
        return 1;
    case SCALE_NUCLEAR: {
        double dot = sum_in_order(scaling->row_dots + j * rows, rows);
        return dot > 0 ? pow(dot, scaling->power) : 0;
    }
    default:
        return sqrt(fmax(1, m / n));
    }
}

// The factor on the whole matrix once its rows carry `factors`; norm_sums: of what its norm shall be, if not its own.
static double matrix_scale(const double *factors, const double *row_sums, const double *norm_sums, int64_t rows,
                           int64_t cols, double shape, const RowScaling *scaling) {
    if (row_sums == NULL) return shape;
    double squares = 0; // ||s O||_F^2
    for (int64_t r = 0; r < rows; r++) squares += row_sums[r] * factors[r] * factors[r];
    double norm = sqrt(squares);
    if (norm == 0) return 0;
    if (scaling->rule == SCALE_RMS) return scaling->rms * sqrt((double)rows * (double)cols) / norm;
    // The released code adds this eps; it matters to none but matrices of almost nothing.
    return norm_sums ? shape * sqrt(sum_in_order(norm_sums, rows)) / (norm + 1e-10) : shape;
}

static void row_factors(Stream *s, double *factors, const double *row_sums, const MatrixBatch *x,
                        const RowScaling *scaling) {
    (void)s;
    ASSERT(row_sums || (scaling->rule != SCALE_RMS && !scaling->normalize && !scaling->norm_sums));
    ASSERT(!scaling->normalize || !scaling->norm_sums);
    if (x->report->ok == 0) return;
    int64_t rows = x->rows, cols = x->cols;
    for (int j = 0; j < x->count; j++, factors += rows) {
        const double *sums = row_sums ? row_sums + j * rows : NULL;
        const double *norm_sums = scaling->normalize   ? sums
                                  : scaling->norm_sums ? scaling->norm_sums + j * rows
                                                       : NULL;
        if (scaling->normalize) {
            real *v = (real *)x->state[1] + j * x->state_stride[1];
            normalize_rows(factors, v, sums, rows, cols, x->inputs->beta2[x->group], scaling->eps);
        } else {
            for (int64_t r = 0; r < rows; r++) factors[r] = 1;
        }
        double shape = rule_factor(scaling, rows, cols, j);
        double scale = matrix_scale(factors, sums, norm_sums, rows, cols, shape, scaling);
        for (int64_t r = 0; r < rows; r++) {
            double factor = factors[r] * scale;
            factors[r] = factor > MAX_FACTOR ? MAX_FACTOR : factor; // fmin would hide a NaN
        }
    }
}

static void update_row(real *restrict p, const real *restrict o, int64_t n, real scale, real decay) {
    for (int64_t i = 0; i < n; i++) p[i] -= decay * p[i] + scale * o[i];
}

static void update_row_cautious(real *restrict p, const real *restrict o, int64_t n, real scale, real decay) {
    for (int64_t i = 0; i < n; i++) {
        real here = o[i] * p[i] >= 0 ? decay : 0;
        p[i] -= here * p[i] + scale * o[i];
    }
}

static void polar_update(Stream *s, const MatrixBatch *x, const void *o, const double *factors, double weight_decay,
                         bool cautious) {
    (void)s;
    ASSERT(x->weights == x->master);
    if (x->report->ok == 0) return;
    double lr = x->inputs->lr[x->group];
    real decay = (real)(lr * weight_decay);
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        real *p = (real *)x->master + row_offset(r, rows, cols, x->stride);
        const real *row = (const real *)o + r * cols;
        if (cautious) update_row_cautious(p, row, cols, (real)(lr * factors[r]), decay);
        else update_row(p, row, cols, (real)(lr * factors[r]), decay);
    }
}

static void polar_average(Stream *s, void *o, const MatrixBatch *x, bool ema) {
    (void)s;
    if (x->report->ok == 0) return;
    double momentum = x->inputs->momentum[x->group];
    real b = (real)momentum, c = (real)(ema ? 1 - momentum : 1);
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        real *m = (real *)x->state[0] + row_offset(r, rows, cols, x->state_stride[0]), *row = (real *)o + r * cols;
        for (int64_t i = 0; i < cols; i++) row[i] = m[i] = b * m[i] + c * row[i];
    }
}

// Columns that one thread adds up at a time, from the first row to the last.
enum { COLUMN_BLOCK = 64 };

// What a block of columns has to do with a (rows, cols) matrix: shifts become their means, or factors those of the
// second moments v.
static void block_means(double *shifts, const real *x, int64_t rows, int64_t cols, int width) {
    for (int i = 0; i < width; i++) shifts[i] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int i = 0; i < width; i++) shifts[i] += (double)x[r * cols + i];
    for (int i = 0; i < width; i++) shifts[i] /= (double)rows;
}

static void block_factors(double *factors, real *v, const real *x, int64_t rows, int64_t cols, int width,
                          double beta2, double eps) {
    for (int i = 0; i < width; i++) factors[i] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int i = 0; i < width; i++) factors[i] += (double)x[r * cols + i] * (double)x[r * cols + i];
    for (int i = 0; i < width; i++) {
        double moment = beta2 * (double)v[i] + (1 - beta2) * (factors[i] / (double)rows);
        v[i] = (real)moment;
        factors[i] = 1 / (sqrt(moment) + eps);
    }
}

static void center_columns(Stream *s, void *o, double *row_sums, int count, int64_t rows, int64_t cols) {
    for (int j = 0; j < count; j++) {
        real *matrix = (real *)o + j * rows * cols;
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
        for (int64_t first = 0; first < cols; first += COLUMN_BLOCK) {
            double shifts[COLUMN_BLOCK];
            int width = (int)(cols - first < COLUMN_BLOCK ? cols - first : COLUMN_BLOCK);
            block_means(shifts, matrix + first, rows, cols, width);
            for (int64_t r = 0; r < rows; r++)
                for (int i = 0; i < width; i++)
                    matrix[r * cols + first + i] = (real)((double)matrix[r * cols + first + i] - shifts[i]);
        }
    }
    row_sum_squares(s, row_sums, o, rows * cols, count, rows, cols);
}

static void normalize_columns(real *o, real *v, int64_t rows, int64_t cols, double beta2, double eps) {
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t first = 0; first < cols; first += COLUMN_BLOCK) {
        double factors[COLUMN_BLOCK];
        int width = (int)(cols - first < COLUMN_BLOCK ? cols - first : COLUMN_BLOCK);
        block_factors(factors, v + first, o + first, rows, cols, width, beta2, eps);
        for (int64_t r = 0; r < rows; r++)
            for (int i = 0; i < width; i++)
                o[r * cols + first + i] = (real)((double)o[r * cols + first + i] * factors[i]);
    }
}

// The moments are used as they are before they are rounded: a square that a float cannot hold is not lost.
static void normalize_elements(real *restrict o, real *restrict v, int64_t n, double beta2, double eps) {
    for (int64_t i = 0; i < n; i++) {
        double moment = beta2 * (double)v[i] + (1 - beta2) * ((double)o[i] * (double)o[i]);
        v[i] = (real)moment;
        o[i] = (real)((double)o[i] / (sqrt(moment) + eps));
    }
}

static void scale_row(real *row, int64_t cols, double factor) {
    for (int64_t i = 0; i < cols; i++) row[i] = (real)((double)row[i] * factor);
}

static void normalize(Stream *s, void *o, double *row_sums, const MatrixBatch *x, Normalization by, double eps) {
    if (x->report->ok == 0) return;
    double beta2 = x->inputs->beta2[x->group];
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
    for (int j = 0; by == NORMALIZE_COLUMNS && j < x->count; j++)
        normalize_columns((real *)o + j * rows * cols, (real *)x->state[1] + j * x->state_stride[1], rows, cols,
                          beta2, eps);
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        real *row = (real *)o + r * cols;
        if (by == NORMALIZE_ROWS) {
            real *v = (real *)x->state[1] + row_offset(r, rows, 1, x->state_stride[1]);
            double moment = beta2 * (double)*v + (1 - beta2) * (row_sums[r] / (double)cols);
            *v = (real)moment;
            scale_row(row, cols, 1 / (sqrt(moment) + eps));
        } else if (by == NORMALIZE_ELEMENTS) {
            real *v = (real *)x->state[1] + row_offset(r, rows, cols, x->state_stride[1]);
            normalize_elements(row, v, cols, beta2, eps);
        } else if (by == NORMALIZE_ROW_NORMS) {
            scale_row(row, cols, 1 / (sqrt(row_sums[r]) + eps));
        }
    }
    row_sum_squares(s, row_sums, o, rows * cols, x->count, rows, cols);
}

static void row_dots(Stream *s, double *sums, const void *a, const void *b, int count, int64_t rows, int64_t cols) {
    (void)s;
    int64_t n = count * rows;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) sums[r] = dot((const real *)a + r * cols, (const real *)b + r * cols, cols);
}

const OptimOps OP_TABLE(optim_ops) = {
    .row_sum_squares = row_sum_squares,
    .step_guard = step_guard,
    .adamw_update = adamw_update,
    .sgd_update = sgd_update,
    .polar_momentum = polar_momentum,
    .polar_scale = polar_scale,
    .row_factors = row_factors,
    .polar_update = polar_update,
    .polar_average = polar_average,
    .center_columns = center_columns,
    .row_dots = row_dots,
    .normalize = normalize,
    .polar = &OP_TABLE(polar_ops),
};
