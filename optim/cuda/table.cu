// The tables of the optimizer operations on CUDA.
#include "device/cuda/launch.h"
#include "optim/cuda/ops.h"

template <typename T> static constexpr PolarOps polar_table() {
    PolarOps ops = {};
#define OP(name, Arguments) ops.name = name##_cuda<T>;
#include "optim/polar/ops.def"
    return ops;
}

template <typename T> static constexpr OptimOps optim_table(const PolarOps *polar) {
    OptimOps ops = {};
#define OP(name, Arguments) ops.name = name##_cuda<T>;
#include "optim/ops.def"
    ops.row_scratch = row_scratch_cuda;
    ops.normalize_scratch = normalize_scratch_cuda;
    ops.polar = polar;
    return ops;
}

const PolarOps polar_ops_cuda_f32 = polar_table<float>();
const PolarOps polar_ops_cuda_f64 = polar_table<double>();
const PolarOps polar_ops_cuda_bf16 = polar_table<__nv_bfloat16>();
const OptimOps optim_ops_cuda_f32 = optim_table<float>(&polar_ops_cuda_f32);
const OptimOps optim_ops_cuda_f64 = optim_table<double>(&polar_ops_cuda_f64);
const OptimOps optim_ops_cuda_bf16 = optim_table<__nv_bfloat16>(&polar_ops_cuda_bf16);
