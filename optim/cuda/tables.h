// optim/cuda/tables.h - the CUDA tables of optimizer operations, by the type of the polar factors. The one for double is
// for what is computed in double whatever the network's type: ZOLO-PD, and the matrix problems' measurements.
#ifndef POLAR_OPTIM_CUDA_TABLES_H
#define POLAR_OPTIM_CUDA_TABLES_H

#include "optim/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const OptimOps optim_ops_cuda_f32, optim_ops_cuda_bf16, optim_ops_cuda_f64;
extern const PolarOps polar_ops_cuda_f32, polar_ops_cuda_bf16, polar_ops_cuda_f64;

#ifdef __cplusplus
}
#endif
#endif
