// optim/cpu/ops.h - the optimizer operations on the CPU: the tables of all instances (type and instruction set) and, in
// files that are compiled once per instance, its own operations, OP_TABLE(adamw_update) and so on.
#ifndef POLAR_OPTIM_CPU_OPS_H
#define POLAR_OPTIM_CPU_OPS_H

#include "device/cpu/cpu.h"
#include "optim/ops.h"

CPU_DECLARE_TABLES(OptimOps, optim_ops);
CPU_DECLARE_TABLES(PolarOps, polar_ops);

#if defined(REAL_NAME)
#define OP(name, Arguments) void OP_TABLE(name)(Stream *, const Arguments *);
#include "optim/ops.def"
#define OP(name, Arguments) void OP_TABLE(name)(Stream *, const Arguments *);
#include "optim/polar/ops.def"
#endif

#endif
