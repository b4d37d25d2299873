// run/problems/cuda/tables.h - the CUDA table of the problems' operations.
#ifndef POLAR_RUN_PROBLEMS_CUDA_TABLES_H
#define POLAR_RUN_PROBLEMS_CUDA_TABLES_H

#include "run/problems/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const ProblemOps problem_ops_cuda_f32;

#ifdef __cplusplus
}
#endif
#endif
