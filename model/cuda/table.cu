#include "model/cuda/ops.h"
#include "model/cuda/attention.h"
#include "model/cuda/tables.h" // declares the tables

#include <cuda_bf16.h>

template <typename T> static constexpr LayerOps layer_table() {
    LayerOps ops = {};
    ops.embedding_forward = embedding_forward_cuda<T>;
    ops.embedding_backward = embedding_backward_cuda<T>;
    ops.norm_forward = norm_forward_cuda<T>;
    ops.norm_backward = norm_backward_cuda<T>;
    ops.qk_forward = qk_forward_cuda<T>;
    ops.qk_backward = qk_backward_cuda<T>;
    ops.activation_forward = activation_forward_cuda<T>;
    ops.activation_backward = activation_backward_cuda<T>;
    ops.swiglu_forward = swiglu_forward_cuda<T>;
    ops.swiglu_backward = swiglu_backward_cuda<T>;
    ops.attention_forward = attention_forward_cuda<T>;
    ops.attention_backward = attention_backward_cuda<T>;
    ops.softcap = softcap_cuda<T>;
    ops.cross_entropy = cross_entropy_cuda<T>;
    ops.bias_backward = bias_backward_cuda<T>;
    ops.embedding_backward_scratch = embedding_backward_scratch_cuda;
    ops.norm_backward_scratch = norm_backward_scratch_cuda;
    ops.bias_backward_scratch = bias_backward_scratch_cuda;
    ops.loss_sum = loss_sum_cuda;
    ops.max_head_dim = CUDA_MAX_HEAD_DIM;
    return ops;
}

const LayerOps layer_ops_cuda_f32 = layer_table<float>();

static constexpr LayerOps with_copy_of_weights() {
    LayerOps ops = layer_table<__nv_bfloat16>();
    ops.cast_weights = cast_weights_cuda<__nv_bfloat16>;
    return ops;
}
const LayerOps layer_ops_cuda_bf16 = with_copy_of_weights();
