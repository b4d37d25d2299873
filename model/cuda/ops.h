// model/cuda/ops.h - the operations of model/ops.h on CUDA and their tables. T is the type of activations and weights,
// float or __nv_bfloat16.
#ifndef POLAR_MODEL_CUDA_OPS_H
#define POLAR_MODEL_CUDA_OPS_H

#include "model/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const LayerOps layer_ops_cuda_f32, layer_ops_cuda_bf16;

#ifdef __cplusplus
}

#define OP(name, Arguments) template <typename T> void name##_cuda(Stream *s, const Arguments *a);
#include "model/ops.def"
template <typename T> void cast_weights_cuda(Stream *s, const CastWeights *a);

int64_t embedding_backward_scratch_cuda(int64_t N, int C);
int64_t norm_backward_scratch_cuda(int64_t N, int C);
int64_t bias_backward_scratch_cuda(int64_t N, int C);

// Explicitly instantiates a function template for both types; use after its definition.
#define CUDA_INSTANCES(function)                                                                                   \
    template decltype(function<float>) function<float>;                                                            \
    template decltype(function<__nv_bfloat16>) function<__nv_bfloat16>;
#endif

#endif
