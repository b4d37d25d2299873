#include "model/cuda/ops.h"
#include "model/cuda/attention.h"

#include <cuda_bf16.h>

template <typename T> static constexpr LayerOps layer_table() {
    LayerOps ops = {};
#define OP(name, Arguments) ops.name = name##_cuda<T>;
#include "model/ops.def"
    ops.embedding_backward_scratch = embedding_backward_scratch_cuda;
    ops.norm_backward_scratch = norm_backward_scratch_cuda;
    ops.bias_backward_scratch = bias_backward_scratch_cuda;
    ops.max_head_dim = CUDA_MAX_HEAD_DIM;
    return ops;
}

static constexpr LayerOps with_cast_weights() {
    LayerOps ops = layer_table<__nv_bfloat16>();
    ops.cast_weights = cast_weights_cuda<__nv_bfloat16>;
    return ops;
}

const LayerOps layer_ops_cuda_f32 = layer_table<float>();
const LayerOps layer_ops_cuda_bf16 = with_cast_weights();
