// optim/polar/ops.h - the operations of the polar methods other than GEMMs and solvers: their arguments and equations.
// optim/polar/ops.def lists them; OptimOps.polar is their table.
//
// x is (count, rows, cols), dense and row-major, of the type of the table. Sums are accumulated in double in an order
// fixed by the device, as in OptimOps: they do not depend on the number of threads. NaN and infinities propagate.
#ifndef POLAR_OPTIM_POLAR_OPS_H
#define POLAR_OPTIM_POLAR_OPS_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// norms (count, 2): the largest column sum (the 1-norm) and the largest row sum (the infinity-norm) of |x|.
typedef struct {
    double *norms;
    const void *x;
    int count;
    int64_t rows, cols;
} MatrixNorms;

// Divides every matrix by sqrt(||X||_1 ||X||_inf), an upper bound of ||X||_2. A zero matrix stays zero.
typedef struct {
    void *x;
    const double *norms;
    int count;
    int64_t rows, cols;
} DivideByBound;

// factors (count, n) = 1 / sqrt(max(sum_j |a_ij|, 1e-30)) of square matrices a (count, n, n).
typedef struct {
    double *factors;
    const void *a;
    int count;
    int64_t n;
} InverseRootSums;

// X <- diag(left) X diag(right), left (count, rows), right (count, cols); either may be NULL: all ones.
typedef struct {
    void *x;
    const double *left, *right;
    int count;
    int64_t rows, cols;
} ScaleSides;

// distances (count) = ||X - Y||_F; row_sums (count, rows) is scratch.
typedef struct {
    double *distances, *row_sums;
    const void *x, *y;
    int count;
    int64_t rows, cols;
} Distance;

// x_ii += value, x (count, n, n).
typedef struct {
    void *x;
    double value;
    int count;
    int64_t n;
} AddDiagonal;

// y (rows + cols, cols) = [a X; b I], for one matrix x (rows, cols).
typedef struct {
    void *y;
    const void *x;
    double a, b;
    int64_t rows, cols;
} StackIdentity;

// y = a x + b y, n elements; y is not read if b is 0.
typedef struct {
    void *y;
    double a;
    const void *x;
    double b;
    int64_t n;
} Axpby;

// y (count, cols, rows) = the transposes of x.
typedef struct {
    void *y;
    const void *x;
    int count;
    int64_t rows, cols;
} Transpose;

// Zeroes column i of u (rows, k) if values[i] <= tolerance values[0].
typedef struct {
    void *u;
    const void *values;
    double tolerance;
    int64_t rows, k;
} DropSmall;

// Converts n elements from the table's type to double, and back.
typedef struct {
    double *y;
    const void *x;
    int64_t n;
} Widen;
typedef struct {
    void *y;
    const double *x;
    int64_t n;
} Narrow;

typedef struct {
#define OP(name, Arguments) void (*name)(Stream *, const Arguments *);
#include "optim/polar/ops.def"
} PolarOps;

#ifdef __cplusplus
}
#endif
#endif
