// optim/cuda/ops.h - the optimizer operations on CUDA: their tables, by the type of the polar factors, and for .cu
// files their declarations, adamw_update_cuda<T> and so on. T is the type of the polar factors, Acc<T> that of states,
// gradients and master weights. The tables for double serve what is always computed in double: ZOLO-PD, and the
// measurements of the matrix problems.
#ifndef POLAR_OPTIM_CUDA_OPS_H
#define POLAR_OPTIM_CUDA_OPS_H

#include "optim/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const OptimOps optim_ops_cuda_f32, optim_ops_cuda_bf16, optim_ops_cuda_f64;
extern const PolarOps polar_ops_cuda_f32, polar_ops_cuda_bf16, polar_ops_cuda_f64;

#ifdef __cplusplus
}

#define OP(name, Arguments) template <typename T> void name##_cuda(Stream *, const Arguments *);
#include "optim/ops.def"
#define OP(name, Arguments) template <typename T> void name##_cuda(Stream *, const Arguments *);
#include "optim/polar/ops.def"

int64_t row_scratch_cuda(int64_t count, int64_t rows, int64_t cols);
int64_t normalize_scratch_cuda(int64_t count, int64_t rows, int64_t cols, bool columns);

// Instantiates a function template for all types, after its definition.
#define CUDA_INSTANCES(function)                                                                                   \
    template decltype(function<float>) function<float>;                                                            \
    template decltype(function<double>) function<double>;                                                          \
    template decltype(function<__nv_bfloat16>) function<__nv_bfloat16>;
#endif

#endif
