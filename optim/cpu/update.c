// From the polar factor to the weights on the CPU: row factors, decay and update.
#include "optim/cpu/rows.h"

// Keeps factors within the range of a float: rows of denormal numbers would exceed it.
static const double MAX_FACTOR = 1e30;

// Updates v and computes the factors 1 / (sqrt(v) + eps) of one matrix.
static void normalize_rows(double *factors, real *v, const double *row_sums, int64_t rows, int64_t cols,
                           double beta2, double eps) {
    for (int64_t r = 0; r < rows; r++) {
        v[r] = (real)(beta2 * (double)v[r] + (1 - beta2) * (row_sums[r] / (double)cols));
        factors[r] = 1 / (sqrt((double)v[r]) + eps);
    }
}

// The scale rule of matrix j of a batch, without SCALE_RMS.
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

// The factor on the whole matrix after the row factors. norm_sums: row sums of squares whose norm is restored, or
// NULL.
static double matrix_scale(const double *factors, const double *row_sums, const double *norm_sums, int64_t rows,
                           int64_t cols, double shape, const RowScaling *scaling) {
    if (row_sums == NULL) return shape;
    double squares = 0; // ||s O||_F^2
    for (int64_t r = 0; r < rows; r++) squares += row_sums[r] * factors[r] * factors[r];
    double norm = sqrt(squares);
    if (norm == 0) return 0;
    if (scaling->rule == SCALE_RMS) return scaling->rms * sqrt((double)rows * (double)cols) / norm;
    // The released code adds this eps; it only matters for matrices of nearly zero norm.
    return norm_sums ? shape * sqrt(sum_in_order(norm_sums, rows)) / (norm + 1e-10) : shape;
}

void OP_TABLE(row_factors)(Stream *s, const RowFactors *args) {
    (void)s;
    const MatrixBatch *batch = args->batch;
    const RowScaling *scaling = &args->scaling;
    const double *row_sums = args->row_sums;
    double *factors = args->factors;
    ASSERT(row_sums || (scaling->rule != SCALE_RMS && !scaling->normalize && !scaling->norm_sums));
    ASSERT(!scaling->normalize || !scaling->norm_sums);
    if (batch->report->ok == 0) return;
    int64_t rows = batch->rows, cols = batch->cols;
    for (int j = 0; j < batch->count; j++, factors += rows) {
        const double *sums = row_sums ? row_sums + j * rows : NULL;
        const double *norm_sums = scaling->normalize   ? sums
                                  : scaling->norm_sums ? scaling->norm_sums + j * rows
                                                       : NULL;
        if (scaling->normalize) {
            real *v = (real *)batch->state[1] + j * batch->state_stride[1];
            normalize_rows(factors, v, sums, rows, cols, batch->inputs->beta2[batch->group], scaling->eps);
        } else {
            for (int64_t r = 0; r < rows; r++) factors[r] = 1;
        }
        double shape = rule_factor(scaling, rows, cols, j);
        double scale = matrix_scale(factors, sums, norm_sums, rows, cols, shape, scaling);
        for (int64_t r = 0; r < rows; r++) {
            double factor = factors[r] * scale;
            factors[r] = factor > MAX_FACTOR ? MAX_FACTOR : factor; // fmin would drop a NaN
        }
    }
}

static void update_row(real *restrict p, const elem *restrict o, int64_t n, real scale, real decay) {
    for (int64_t i = 0; i < n; i++) p[i] -= decay * p[i] + scale * from_elem(o[i]);
}

static void update_row_cautious(real *restrict p, const elem *restrict o, int64_t n, real scale, real decay) {
    for (int64_t i = 0; i < n; i++) {
        real element_decay = from_elem(o[i]) * p[i] >= 0 ? decay : 0;
        p[i] -= element_decay * p[i] + scale * from_elem(o[i]);
    }
}

void OP_TABLE(polar_update)(Stream *s, const PolarUpdate *args) {
    (void)s;
    const MatrixBatch *batch = args->batch;
    if (batch->report->ok == 0) return;
    double lr = batch->inputs->lr[batch->group];
    real decay = (real)(lr * args->weight_decay);
    int64_t n = batch->count * batch->rows, rows = batch->rows, cols = batch->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, batch->stride);
        real *p = (real *)batch->master + at;
        const elem *row = (const elem *)args->o + r * cols;
        if (args->cautious) update_row_cautious(p, row, cols, (real)(lr * args->factors[r]), decay);
        else update_row(p, row, cols, (real)(lr * args->factors[r]), decay);
        write_weights(batch, at, cols);
    }
}
