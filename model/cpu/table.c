#include "model/cpu/ops.h"

CPU_DECLARE_TABLES(LayerOps, layer_ops);

const LayerOps OP_TABLE(layer_ops) = {
#define OP(name, Arguments) .name = OP_TABLE(name),
#include "model/ops.def"
};
