// The tables of the optimizers' operations on CUDA.
#include "device/cuda/launch.h"
#include "optim/cuda/ops.h"
#include "optim/cuda/tables.h" // declares the tables

template <typename T> static constexpr PolarOps polar_table() {
    PolarOps ops = {};
    ops.matrix_norms = matrix_norms_cuda<T>;
    ops.divide_by_bound = divide_by_bound_cuda<T>;
    ops.inverse_root_sums = inverse_root_sums_cuda<T>;
    ops.scale_sides = scale_sides_cuda<T>;
    ops.add_diagonal = add_diagonal_cuda<T>;
    ops.stack_identity = stack_identity_cuda<T>;
    ops.axpby = axpby_cuda<T>;
    ops.distance = distance_cuda<T>;
    ops.transpose = transpose_cuda<T>;
    ops.drop_small = drop_small_cuda<T>;
    ops.widen = widen_cuda<T>;
    ops.narrow = narrow_cuda<T>;
    return ops;
}

// T: of the polar factors; A: of states, gradients and master weights.
template <typename T, typename A> static constexpr OptimOps optim_table(const PolarOps *polar) {
    OptimOps ops = {};
    ops.row_sum_squares = row_sum_squares_cuda<T>;
    ops.step_guard = step_guard_cuda;
    ops.adamw_update = adamw_update_cuda<A>;
    ops.sgd_update = sgd_update_cuda<A>;
    ops.polar_momentum = polar_momentum_cuda<T>;
    ops.polar_scale = polar_scale_cuda<T>;
    ops.row_factors = row_factors_cuda<A>;
    ops.polar_update = polar_update_cuda<T>;
    ops.polar_average = polar_average_cuda<T>;
    ops.center_columns = center_columns_cuda<T>;
    ops.row_dots = row_dots_cuda<T>;
    ops.normalize = normalize_cuda<T>;
    ops.row_scratch = row_scratch_cuda;
    ops.normalize_scratch = normalize_scratch_cuda;
    ops.polar = polar;
    return ops;
}

const PolarOps polar_ops_cuda_f32 = polar_table<float>();
const PolarOps polar_ops_cuda_f64 = polar_table<double>();
const PolarOps polar_ops_cuda_bf16 = polar_table<__nv_bfloat16>();
const OptimOps optim_ops_cuda_f32 = optim_table<float, float>(&polar_ops_cuda_f32);
const OptimOps optim_ops_cuda_f64 = optim_table<double, double>(&polar_ops_cuda_f64);
const OptimOps optim_ops_cuda_bf16 = optim_table<__nv_bfloat16, float>(&polar_ops_cuda_bf16);
