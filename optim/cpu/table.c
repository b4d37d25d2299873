// The operation tables of one instance (type and instruction set).
#include "optim/cpu/ops.h"

const PolarOps OP_TABLE(polar_ops) = {
#define OP(name, Arguments) .name = OP_TABLE(name),
#include "optim/polar/ops.def"
};

const OptimOps OP_TABLE(optim_ops) = {
#define OP(name, Arguments) .name = OP_TABLE(name),
#include "optim/ops.def"
    .polar = &OP_TABLE(polar_ops),
};
