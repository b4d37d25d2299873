// Centering and normalization on the CPU.
#include "optim/cpu/rows.h"

// Columns per block; one thread adds up a block, from the first row to the last.
enum { COLUMN_BLOCK = 64 };

// shifts = the means of `width` columns of a (rows, cols) matrix, from x on.
static void block_means(double *shifts, const elem *x, int64_t rows, int64_t cols, int width) {
    for (int i = 0; i < width; i++) shifts[i] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int i = 0; i < width; i++) shifts[i] += wide(x[r * cols + i]);
    for (int i = 0; i < width; i++) shifts[i] /= (double)rows;
}

// Updates the second moments v of `width` columns; factors = 1 / (sqrt(v) + eps).
static void block_factors(double *factors, real *v, const elem *x, int64_t rows, int64_t cols, int width,
                          double beta2, double eps) {
    for (int i = 0; i < width; i++) factors[i] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int i = 0; i < width; i++) factors[i] += wide(x[r * cols + i]) * wide(x[r * cols + i]);
    for (int i = 0; i < width; i++) {
        double moment = beta2 * (double)v[i] + (1 - beta2) * (factors[i] / (double)rows);
        v[i] = (real)moment;
        factors[i] = 1 / (sqrt(moment) + eps);
    }
}

// row_sums (count, rows) = sums of squares of the rows of o (count, rows, cols).
static void sum_rows(Stream *s, double *row_sums, const void *o, int count, int64_t rows, int64_t cols) {
    RowSumSquares sums = {
        .sums = row_sums, .x = o, .stride = rows * cols, .count = count, .rows = rows, .cols = cols};
    OP_TABLE(row_sum_squares)(s, &sums);
}

void OP_TABLE(center_columns)(Stream *s, const CenterColumns *args) {
    int64_t rows = args->rows, cols = args->cols;
    for (int j = 0; j < args->count; j++) {
        elem *matrix = (elem *)args->o + j * rows * cols;
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
        for (int64_t first = 0; first < cols; first += COLUMN_BLOCK) {
            double shifts[COLUMN_BLOCK];
            int width = (int)(cols - first < COLUMN_BLOCK ? cols - first : COLUMN_BLOCK);
            block_means(shifts, matrix + first, rows, cols, width);
            for (int64_t r = 0; r < rows; r++)
                for (int i = 0; i < width; i++)
                    matrix[r * cols + first + i] = narrowed(wide(matrix[r * cols + first + i]) - shifts[i]);
        }
    }
    sum_rows(s, args->row_sums, args->o, args->count, rows, cols);
}

static void normalize_columns(elem *o, real *v, int64_t rows, int64_t cols, double beta2, double eps) {
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t first = 0; first < cols; first += COLUMN_BLOCK) {
        double factors[COLUMN_BLOCK];
        int width = (int)(cols - first < COLUMN_BLOCK ? cols - first : COLUMN_BLOCK);
        block_factors(factors, v + first, o + first, rows, cols, width, beta2, eps);
        for (int64_t r = 0; r < rows; r++)
            for (int i = 0; i < width; i++)
                o[r * cols + first + i] = narrowed(wide(o[r * cols + first + i]) * factors[i]);
    }
}

// Divides by the moment in double, before it is rounded: the square may be out of the range of a float.
static void normalize_elements(elem *restrict o, real *restrict v, int64_t n, double beta2, double eps) {
    for (int64_t i = 0; i < n; i++) {
        double moment = beta2 * (double)v[i] + (1 - beta2) * (wide(o[i]) * wide(o[i]));
        v[i] = (real)moment;
        o[i] = narrowed(wide(o[i]) / (sqrt(moment) + eps));
    }
}

static void scale_row(elem *row, int64_t cols, double factor) {
    for (int64_t i = 0; i < cols; i++) row[i] = narrowed(wide(row[i]) * factor);
}

void OP_TABLE(normalize)(Stream *s, const Normalize *args) {
    const MatrixBatch *batch = args->batch;
    if (batch->report->ok == 0) return;
    double beta2 = batch->inputs->beta2[batch->group];
    int64_t n = batch->count * batch->rows, rows = batch->rows, cols = batch->cols;
    for (int j = 0; args->by == NORMALIZE_COLUMNS && j < batch->count; j++)
        normalize_columns((elem *)args->o + j * rows * cols, (real *)batch->state[1] + j * batch->state_stride[1],
                          rows, cols, beta2, args->eps);
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        elem *row = (elem *)args->o + r * cols;
        if (args->by == NORMALIZE_ROWS) {
            real *v = (real *)batch->state[1] + row_offset(r, rows, 1, batch->state_stride[1]);
            double moment = beta2 * (double)*v + (1 - beta2) * (args->row_sums[r] / (double)cols);
            *v = (real)moment;
            scale_row(row, cols, 1 / (sqrt(moment) + args->eps));
        } else if (args->by == NORMALIZE_ELEMENTS) {
            real *v = (real *)batch->state[1] + row_offset(r, rows, cols, batch->state_stride[1]);
            normalize_elements(row, v, cols, beta2, args->eps);
        } else if (args->by == NORMALIZE_ROW_NORMS) {
            scale_row(row, cols, 1 / (sqrt(args->row_sums[r]) + args->eps));
        }
    }
    sum_rows(s, args->row_sums, args->o, batch->count, rows, cols);
}
