// Centering and normalization on the CPU.
#include "optim/cpu/rows.h"

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

// row_sums (count, rows) = the sums of squares of o (count, rows, cols).
static void sum_rows(Stream *s, double *row_sums, const void *o, int count, int64_t rows, int64_t cols) {
    RowSumSquares sums = {
        .sums = row_sums, .x = o, .stride = rows * cols, .count = count, .rows = rows, .cols = cols};
    OP_TABLE(row_sum_squares)(s, &sums);
}

void OP_TABLE(center_columns)(Stream *s, const CenterColumns *a) {
    int64_t rows = a->rows, cols = a->cols;
    for (int j = 0; j < a->count; j++) {
        real *matrix = (real *)a->o + j * rows * cols;
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
    sum_rows(s, a->row_sums, a->o, a->count, rows, cols);
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

void OP_TABLE(normalize)(Stream *s, const Normalize *a) {
    const MatrixBatch *x = a->batch;
    if (x->report->ok == 0) return;
    double beta2 = x->inputs->beta2[x->group];
    int64_t n = x->count * x->rows, rows = x->rows, cols = x->cols;
    for (int j = 0; a->by == NORMALIZE_COLUMNS && j < x->count; j++)
        normalize_columns((real *)a->o + j * rows * cols, (real *)x->state[1] + j * x->state_stride[1], rows, cols,
                          beta2, a->eps);
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        real *row = (real *)a->o + r * cols;
        if (a->by == NORMALIZE_ROWS) {
            real *v = (real *)x->state[1] + row_offset(r, rows, 1, x->state_stride[1]);
            double moment = beta2 * (double)*v + (1 - beta2) * (a->row_sums[r] / (double)cols);
            *v = (real)moment;
            scale_row(row, cols, 1 / (sqrt(moment) + a->eps));
        } else if (a->by == NORMALIZE_ELEMENTS) {
            real *v = (real *)x->state[1] + row_offset(r, rows, cols, x->state_stride[1]);
            normalize_elements(row, v, cols, beta2, a->eps);
        } else if (a->by == NORMALIZE_ROW_NORMS) {
            scale_row(row, cols, 1 / (sqrt(a->row_sums[r]) + a->eps));
        }
    }
    sum_rows(s, a->row_sums, a->o, x->count, rows, cols);
}
