// optim/cpu/tables.h - the CPU's tables of optimizer operations, by type and instruction set.
#ifndef POLAR_OPTIM_CPU_TABLES_H
#define POLAR_OPTIM_CPU_TABLES_H

#include "optim/ops.h"

extern const OptimOps optim_ops_f32_base, optim_ops_f64_base;
extern const OptimOps optim_ops_f32_avx2, optim_ops_f64_avx2;
extern const OptimOps optim_ops_f32_avx512, optim_ops_f64_avx512;

extern const PolarOps polar_ops_f32_base, polar_ops_f64_base;
extern const PolarOps polar_ops_f32_avx2, polar_ops_f64_avx2;
extern const PolarOps polar_ops_f32_avx512, polar_ops_f64_avx512;

#endif
