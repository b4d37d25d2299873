// optim/cuda/ops.h - the operations of OptimOps and PolarOps on CUDA, for the table (optim/cuda/table.cu). T is the
// type of the polar factors; operations without T touch nothing but states, gradients and weights (A: theirs).
#ifndef POLAR_OPTIM_CUDA_OPS_H
#define POLAR_OPTIM_CUDA_OPS_H

#include "optim/ops.h"

// optim/cuda/sums.cu
template <typename T>
void row_sum_squares_cuda(Stream *s, double *sums, const void *x, int64_t stride, int count, int64_t rows,
                          int64_t cols);
template <typename T>
void row_dots_cuda(Stream *s, double *sums, const void *a, const void *b, int count, int64_t rows, int64_t cols);
int64_t row_scratch_cuda(int64_t count, int64_t rows, int64_t cols);
void step_guard_cuda(Stream *s, StepReport *report, const StepInputs *inputs, const double *row_sums, int64_t n,
                     const double *loss);

// optim/cuda/adamw.cu
template <typename A> void adamw_update_cuda(Stream *s, const MatrixBatch *x, double eps, double weight_decay);
template <typename A> void sgd_update_cuda(Stream *s, const MatrixBatch *x, bool nesterov, double weight_decay);

// optim/cuda/momentum.cu
template <typename T>
void polar_momentum_cuda(Stream *s, void *u, double *row_sums, const MatrixBatch *x, bool ema, bool nesterov);
template <typename T>
void polar_scale_cuda(Stream *s, void *x, const double *row_sums, int count, int64_t rows, int64_t cols,
                      double factor, double eps);
template <typename T> void polar_average_cuda(Stream *s, void *o, const MatrixBatch *x, bool ema);

// optim/cuda/update.cu
template <typename A>
void row_factors_cuda(Stream *s, double *factors, const double *row_sums, const MatrixBatch *x,
                      const RowScaling *scaling);
template <typename T>
void polar_update_cuda(Stream *s, const MatrixBatch *x, const void *o, const double *factors, double weight_decay,
                       bool cautious);

// optim/cuda/normalize.cu
template <typename T>
void center_columns_cuda(Stream *s, void *o, double *row_sums, int count, int64_t rows, int64_t cols);
template <typename T>
void normalize_cuda(Stream *s, void *o, double *row_sums, const MatrixBatch *x, Normalization by, double eps);
int64_t normalize_scratch_cuda(int64_t count, int64_t rows, int64_t cols, bool columns);

// optim/cuda/norms.cu
template <typename T>
void matrix_norms_cuda(Stream *s, double *norms, const void *x, int count, int64_t rows, int64_t cols);
template <typename T>
void divide_by_bound_cuda(Stream *s, void *x, const double *norms, int count, int64_t rows, int64_t cols);
template <typename T> void inverse_root_sums_cuda(Stream *s, double *factors, const void *a, int count, int64_t n);
template <typename T>
void scale_sides_cuda(Stream *s, void *x, const double *left, const double *right, int count, int64_t rows,
                      int64_t cols);
template <typename T>
void distance_cuda(Stream *s, double *distances, double *row_sums, const void *x, const void *y, int count,
                   int64_t rows, int64_t cols);

// optim/cuda/elementwise.cu
template <typename T> void add_diagonal_cuda(Stream *s, void *x, double value, int count, int64_t n);
template <typename T>
void stack_identity_cuda(Stream *s, void *y, const void *x, double a, double b, int64_t rows, int64_t cols);
template <typename T> void axpby_cuda(Stream *s, void *y, double a, const void *x, double b, int64_t n);
template <typename T> void transpose_cuda(Stream *s, void *y, const void *x, int count, int64_t rows, int64_t cols);
template <typename T>
void drop_small_cuda(Stream *s, void *u, const void *values, double tolerance, int64_t rows, int64_t k);
template <typename T> void widen_cuda(Stream *s, double *y, const void *x, int64_t n);
template <typename T> void narrow_cuda(Stream *s, void *y, const double *x, int64_t n);

#endif
