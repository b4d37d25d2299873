// run/problems/cpu/tables.h - the CPU's tables of the problems' operations, by type and instruction set.
#ifndef POLAR_RUN_PROBLEMS_CPU_TABLES_H
#define POLAR_RUN_PROBLEMS_CPU_TABLES_H

#include "run/problems/ops.h"

extern const ProblemOps problem_ops_f32_base, problem_ops_f64_base;
extern const ProblemOps problem_ops_f32_avx2, problem_ops_f64_avx2;
extern const ProblemOps problem_ops_f32_avx512, problem_ops_f64_avx512;

#endif
