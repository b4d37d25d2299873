// optim/cpu/ops.h - the optimizer operations on the CPU: the tables of all instances (type and instruction set) and,
// in files that are compiled once per instance, its own operations, OP_TABLE(adamw_update) and so on.
#ifndef POLAR_OPTIM_CPU_OPS_H
#define POLAR_OPTIM_CPU_OPS_H

#include "device/cpu/cpu.h"
#include "optim/ops.h"

CPU_DECLARE_TABLES(OptimOps, optim_ops, f32);
CPU_DECLARE_TABLES(OptimOps, optim_ops, f64);
CPU_DECLARE_TABLES(OptimOps, optim_ops, bf16);
CPU_DECLARE_TABLES(PolarOps, polar_ops, f32);
CPU_DECLARE_TABLES(PolarOps, polar_ops, f64);
CPU_DECLARE_TABLES(PolarOps, polar_ops, bf16);

#if defined(REAL_NAME)
// Elements as doubles, and doubles rounded to `real` and then to elements.
static inline double wide(elem x) {
    return (double)from_elem(x);
}
static inline elem narrowed(double x) {
    return to_elem((real)x);
}

#define OP(name, Arguments) void OP_TABLE(name)(Stream *, const Arguments *);
#include "optim/ops.def"
#define OP(name, Arguments) void OP_TABLE(name)(Stream *, const Arguments *);
#include "optim/polar/ops.def"
#endif

#endif
