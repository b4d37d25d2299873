// The polar methods' operations on the CPU.
#include "device/cpu/cpu.h"
#include "optim/cpu/tables.h" // declares the table

#include <math.h>

enum { TILE = 32 }; // columns that are summed, or rows and columns that are transposed, at once

// Of a row or column of a matrix of almost nothing: its factor stays within float.
static const double MIN_SUM = 1e-30;

// The larger one; once it is NaN, it stays.
static double larger(double a, double b) {
    return b > a || isnan(b) ? b : a;
}

static double largest_column_sum(const real *x, int64_t rows, int64_t cols) {
    double most = 0;
#pragma omp parallel if (rows * cols >= CPU_PARALLEL_MIN)
    {
        double mine = 0;
#pragma omp for schedule(static)
        for (int64_t first = 0; first < cols; first += TILE) {
            double sums[TILE] = {0};
            int64_t n = cols - first < TILE ? cols - first : TILE;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < n; c++) sums[c] += fabs((double)x[r * cols + first + c]);
            for (int64_t c = 0; c < n; c++) mine = larger(mine, sums[c]);
        }
#pragma omp critical(largest_column_sum)
        most = larger(most, mine);
    }
    return most;
}

static double row_sum(const real *row, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs((double)row[i]);
    return sum;
}

static double largest_row_sum(const real *x, int64_t rows, int64_t cols) {
    double most = 0;
#pragma omp parallel if (rows * cols >= CPU_PARALLEL_MIN)
    {
        double mine = 0;
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++) mine = larger(mine, row_sum(x + r * cols, cols));
#pragma omp critical(largest_row_sum)
        most = larger(most, mine);
    }
    return most;
}

static void matrix_norms(Stream *s, double *norms, const void *x, int count, int64_t rows, int64_t cols) {
    (void)s;
    for (int j = 0; j < count; j++) {
        const real *matrix = (const real *)x + j * rows * cols;
        norms[2 * j] = largest_column_sum(matrix, rows, cols);
        norms[2 * j + 1] = largest_row_sum(matrix, rows, cols);
    }
}

static void divide_by_bound(Stream *s, void *x, const double *norms, int count, int64_t rows, int64_t cols) {
    (void)s;
    int64_t size = rows * cols;
    for (int j = 0; j < count; j++) {
        real *matrix = (real *)x + j * size;
        double bound = sqrt(norms[2 * j]) * sqrt(norms[2 * j + 1]);
        if (bound == 0) continue;
#pragma omp parallel for schedule(static) if (size >= CPU_PARALLEL_MIN)
        for (int64_t i = 0; i < size; i++) matrix[i] = (real)((double)matrix[i] / bound);
    }
}

static void inverse_root_sums(Stream *s, double *factors, const void *a, int count, int64_t n) {
    (void)s;
#pragma omp parallel for schedule(static) if (count * n * n >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < count * n; r++)
        factors[r] = 1 / sqrt(larger(MIN_SUM, row_sum((const real *)a + r * n, n)));
}

static void scale_sides(Stream *s, void *x, const double *left, const double *right, int count, int64_t rows,
                        int64_t cols) {
    (void)s;
#pragma omp parallel for schedule(static) if (count * rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < count * rows; r++) {
        real *row = (real *)x + r * cols;
        const double *across = right ? right + r / rows * cols : NULL;
        double factor = left ? left[r] : 1;
        for (int64_t c = 0; c < cols; c++) row[c] = (real)((double)row[c] * factor * (across ? across[c] : 1));
    }
}

static void add_diagonal(Stream *s, void *x, double value, int count, int64_t n) {
    (void)s;
    for (int64_t r = 0; r < count * n; r++) {
        real *at = (real *)x + r * n + r % n;
        *at = (real)((double)*at + value);
    }
}

static void stack_identity(Stream *s, void *y, const void *x, double a, double b, int64_t rows, int64_t cols) {
    (void)s;
    const real *from = x;
    real *to = y;
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < rows * cols; i++) to[i] = (real)(a * (double)from[i]);
    to += rows * cols;
    for (int64_t r = 0; r < cols; r++)
        for (int64_t c = 0; c < cols; c++) to[r * cols + c] = r == c ? (real)b : 0;
}

static void axpby(Stream *s, void *y, double a, const void *x, double b, int64_t n) {
    (void)s;
    const real *from = x;
    real *to = y;
#pragma omp parallel for schedule(static) if (n >= CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) to[i] = (real)(a * (double)from[i] + (b == 0 ? 0 : b * (double)to[i]));
}

static void distance(Stream *s, double *distances, double *row_sums, const void *x, const void *y, int count,
                     int64_t rows, int64_t cols) {
    (void)s;
    const real *a = x, *b = y;
#pragma omp parallel for schedule(static) if (count * rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < count * rows; r++) {
        double sum = 0;
        for (int64_t i = r * cols; i < (r + 1) * cols; i++) {
            double d = (double)a[i] - (double)b[i];
            sum += d * d;
        }
        row_sums[r] = sum;
    }
    for (int j = 0; j < count; j++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += row_sums[j * rows + r];
        distances[j] = sqrt(sum);
    }
}

static void transpose(Stream *s, void *y, const void *x, int count, int64_t rows, int64_t cols) {
    (void)s;
    int64_t tiles = (rows + TILE - 1) / TILE;
#pragma omp parallel for schedule(static) if (count * rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < count * tiles; t++) {
        const real *from = (const real *)x + t / tiles * rows * cols;
        real *to = (real *)y + t / tiles * rows * cols;
        int64_t first = t % tiles * TILE, end = first + TILE < rows ? first + TILE : rows;
        for (int64_t c = 0; c < cols; c++)
            for (int64_t r = first; r < end; r++) to[c * rows + r] = from[r * cols + c];
    }
}

static void drop_small(Stream *s, void *u, const void *values, double tolerance, int64_t rows, int64_t k) {
    (void)s;
    const real *v = values;
    real *x = u;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < k; i++)
            if ((double)v[i] <= tolerance * (double)v[0]) x[r * k + i] = 0;
}

static void widen(Stream *s, double *y, const void *x, int64_t n) {
    (void)s;
    const real *from = x;
    for (int64_t i = 0; i < n; i++) y[i] = (double)from[i];
}

static void narrow(Stream *s, void *y, const double *x, int64_t n) {
    (void)s;
    real *to = y;
    for (int64_t i = 0; i < n; i++) to[i] = (real)x[i];
}

const PolarOps OP_TABLE(polar_ops) = {
    .matrix_norms = matrix_norms,
    .divide_by_bound = divide_by_bound,
    .inverse_root_sums = inverse_root_sums,
    .scale_sides = scale_sides,
    .add_diagonal = add_diagonal,
    .stack_identity = stack_identity,
    .axpby = axpby,
    .distance = distance,
    .transpose = transpose,
    .drop_small = drop_small,
    .widen = widen,
    .narrow = narrow,
};
