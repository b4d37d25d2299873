#include "model/cpu/ops.h"

extern const LayerOps OP_TABLE(layer_ops);

const LayerOps OP_TABLE(layer_ops) = {
#define OP(name, Arguments) .name = OP_TABLE(name),
#include "model/ops.def"
#if defined(REAL_BF16)
    .cast_weights = OP_TABLE(cast_weights),
#endif
};
