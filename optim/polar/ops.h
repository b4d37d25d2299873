// optim/polar/ops.h - the operations of the polar methods (optim/polar_*.c) beside products and solves, implemented
// once per device. They are reached through OptimOps.
//
// x is (count, rows, cols), dense and row-major, of the type of the table. Sums are double and in an order that the
// device fixes, as those of OptimOps: they do not depend on the number of threads. What is not finite comes out as such.
#ifndef POLAR_OPTIM_POLAR_OPS_H
#define POLAR_OPTIM_POLAR_OPS_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    // norms (count, 2): the largest column sum (the 1-norm) and the largest row sum (the infinity-norm) of |x|.
    void (*matrix_norms)(Stream *s, double *norms, const void *x, int count, int64_t rows, int64_t cols);

    // Every matrix divided by sqrt(||X||_1 ||X||_inf), which is no less than ||X||_2. A zero matrix stays zero.
    void (*divide_by_bound)(Stream *s, void *x, const double *norms, int count, int64_t rows, int64_t cols);

    // factors (count, n) = 1 / sqrt(max(sum_j |a_ij|, 1e-30)) of square matrices a (count, n, n).
    void (*inverse_root_sums)(Stream *s, double *factors, const void *a, int count, int64_t n);

    // x = diag(left) X diag(right), left (count, rows), right (count, cols); either may be NULL: ones.
    void (*scale_sides)(Stream *s, void *x, const double *left, const double *right, int count, int64_t rows,
                        int64_t cols);

    // x_ii += value, x (count, n, n).
    void (*add_diagonal)(Stream *s, void *x, double value, int count, int64_t n);

    // y (rows + cols, cols) = [a X; b I] of one matrix x (rows, cols).
    void (*stack_identity)(Stream *s, void *y, const void *x, double a, double b, int64_t rows, int64_t cols);

    // y = a x + b y, n elements; y is not read where b is 0.
    void (*axpby)(Stream *s, void *y, double a, const void *x, double b, int64_t n);

    // distances (count) = ||X - Y||_F; row_sums (count, rows) is scratch.
    void (*distance)(Stream *s, double *distances, double *row_sums, const void *x, const void *y, int count,
                     int64_t rows, int64_t cols);

    // y (count, cols, rows) = the transposes of x.
    void (*transpose)(Stream *s, void *y, const void *x, int count, int64_t rows, int64_t cols);

    // Column i of u (rows, k) becomes zero where values[i] <= tolerance values[0].
    void (*drop_small)(Stream *s, void *u, const void *values, double tolerance, int64_t rows, int64_t k);

    // n elements of the table's type to double and back.
    void (*widen)(Stream *s, double *y, const void *x, int64_t n);
    void (*narrow)(Stream *s, void *y, const double *x, int64_t n);
} PolarOps;

#ifdef __cplusplus
}
#endif
#endif
