// model/cpu/tables.h - the CPU's tables of layer operations, by type and instruction set.
#ifndef POLAR_MODEL_CPU_TABLES_H
#define POLAR_MODEL_CPU_TABLES_H

#include "model/ops.h"

extern const LayerOps layer_ops_f32_base, layer_ops_f64_base;
extern const LayerOps layer_ops_f32_avx2, layer_ops_f64_avx2;
extern const LayerOps layer_ops_f32_avx512, layer_ops_f64_avx512;

#endif
