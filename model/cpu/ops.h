// model/cpu/ops.h - the operations of model/ops.h on the CPU, compiled once per element type and instruction set.
// Private to model/cpu/.
#ifndef POLAR_MODEL_CPU_OPS_H
#define POLAR_MODEL_CPU_OPS_H

#include "device/cpu/cpu.h"
#include "model/ops.h"

#include <math.h>
#include <string.h>

#define OP(name, Arguments) void OP_TABLE(name)(Stream * s, const Arguments *a);
#include "model/ops.def"
#if defined(REAL_BF16)
void OP_TABLE(cast_weights)(Stream *s, const CastWeights *a);
#endif

#endif
