// run/problem_cuda_tables.h - the CUDA table of the problems' operations.
#ifndef POLAR_RUN_PROBLEM_CUDA_TABLES_H
#define POLAR_RUN_PROBLEM_CUDA_TABLES_H

#include "run/problem_ops.h" // defines: ProblemOps

#ifdef __cplusplus
extern "C" {
#endif

extern const ProblemOps problem_ops_cuda_f32;

#ifdef __cplusplus
}
#endif
#endif
