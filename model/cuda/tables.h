// model/cuda/tables.h - the tables of layer operations on CUDA, by type.
#ifndef POLAR_MODEL_CUDA_TABLES_H
#define POLAR_MODEL_CUDA_TABLES_H

#include "model/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const LayerOps layer_ops_cuda_f32, layer_ops_cuda_bf16;

#ifdef __cplusplus
}
#endif
#endif
