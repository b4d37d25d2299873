// Matrix norms, scaling and distances for the polar methods on the CPU.
#include "optim/cpu/ops.h"

#include <math.h>

enum { TILE = 32 }; // columns summed at a time

// Lower bound of a sum, so that its factor stays within the range of a float.
static const double MIN_SUM = 1e-30;

// The larger number; NaN propagates.
static double max_nan(double a, double b) {
    return b > a || isnan(b) ? b : a;
}

static double largest_column_sum(const elem *x, int64_t rows, int64_t cols) {
    double max = 0;
#pragma omp parallel if (rows * cols >= CPU_PARALLEL_MIN)
    {
        double thread_max = 0;
#pragma omp for schedule(static)
        for (int64_t first = 0; first < cols; first += TILE) {
            double sums[TILE] = {0};
            int64_t n = cols - first < TILE ? cols - first : TILE;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < n; c++) sums[c] += fabs(wide(x[r * cols + first + c]));
            for (int64_t c = 0; c < n; c++) thread_max = max_nan(thread_max, sums[c]);
        }
#pragma omp critical(largest_column_sum)
        max = max_nan(max, thread_max);
    }
    return max;
}

static double row_sum(const elem *row, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs(wide(row[i]));
    return sum;
}

static double largest_row_sum(const elem *x, int64_t rows, int64_t cols) {
    double max = 0;
#pragma omp parallel if (rows * cols >= CPU_PARALLEL_MIN)
    {
        double thread_max = 0;
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++) thread_max = max_nan(thread_max, row_sum(x + r * cols, cols));
#pragma omp critical(largest_row_sum)
        max = max_nan(max, thread_max);
    }
    return max;
}

void OP_TABLE(matrix_norms)(Stream *s, const MatrixNorms *a) {
    (void)s;
    for (int j = 0; j < a->count; j++) {
        const elem *matrix = (const elem *)a->x + j * a->rows * a->cols;
        a->norms[2 * j] = largest_column_sum(matrix, a->rows, a->cols);
        a->norms[2 * j + 1] = largest_row_sum(matrix, a->rows, a->cols);
    }
}

void OP_TABLE(divide_by_bound)(Stream *s, const DivideByBound *a) {
    (void)s;
    int64_t size = a->rows * a->cols;
    for (int j = 0; j < a->count; j++) {
        elem *matrix = (elem *)a->x + j * size;
        double bound = sqrt(a->norms[2 * j]) * sqrt(a->norms[2 * j + 1]);
        if (bound == 0) continue;
#pragma omp parallel for schedule(static) if (size >= CPU_PARALLEL_MIN)
        for (int64_t i = 0; i < size; i++) matrix[i] = narrowed(wide(matrix[i]) / bound);
    }
}

void OP_TABLE(inverse_root_sums)(Stream *s, const InverseRootSums *a) {
    (void)s;
    int64_t n = a->n;
#pragma omp parallel for schedule(static) if (a->count * n * n >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < a->count * n; r++)
        a->factors[r] = 1 / sqrt(max_nan(MIN_SUM, row_sum((const elem *)a->a + r * n, n)));
}

void OP_TABLE(scale_sides)(Stream *s, const ScaleSides *a) {
    (void)s;
    int64_t rows = a->rows, cols = a->cols;
#pragma omp parallel for schedule(static) if (a->count * rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < a->count * rows; r++) {
        elem *row = (elem *)a->x + r * cols;
        const double *across = a->right ? a->right + r / rows * cols : NULL;
        double factor = a->left ? a->left[r] : 1;
        for (int64_t c = 0; c < cols; c++) row[c] = narrowed(wide(row[c]) * factor * (across ? across[c] : 1));
    }
}

void OP_TABLE(distance)(Stream *s, const Distance *a) {
    (void)s;
    const elem *x = a->x, *y = a->y;
    int64_t rows = a->rows, cols = a->cols;
#pragma omp parallel for schedule(static) if (a->count * rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < a->count * rows; r++) {
        double sum = 0;
        for (int64_t i = r * cols; i < (r + 1) * cols; i++) {
            double d = wide(x[i]) - wide(y[i]);
            sum += d * d;
        }
        a->row_sums[r] = sum;
    }
    for (int j = 0; j < a->count; j++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += a->row_sums[j * rows + r];
        a->distances[j] = sqrt(sum);
    }
}
