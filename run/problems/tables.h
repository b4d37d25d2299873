// run/problems/tables.h - the operation tables of the matrix problems: one per CPU instance, and CUDA's.
#ifndef POLAR_RUN_PROBLEMS_TABLES_H
#define POLAR_RUN_PROBLEMS_TABLES_H

#include "device/cpu/cpu.h"
#include "run/problems/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

CPU_DECLARE_TABLES(ProblemOps, problem_ops, f32);
CPU_DECLARE_TABLES(ProblemOps, problem_ops, f64);
extern const ProblemOps problem_ops_cuda_f32;

#ifdef __cplusplus
}
#endif
#endif
