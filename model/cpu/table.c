#include "model/cpu/ops.h"
#include "model/cpu/tables.h" // declares the tables

const LayerOps OP_TABLE(layer_ops) = {
    .embedding_forward = OP_TABLE(embedding_forward),
    .embedding_backward = OP_TABLE(embedding_backward),
    .norm_forward = OP_TABLE(norm_forward),
    .norm_backward = OP_TABLE(norm_backward),
    .qk_forward = OP_TABLE(qk_forward),
    .qk_backward = OP_TABLE(qk_backward),
    .swiglu_forward = OP_TABLE(swiglu_forward),
    .swiglu_backward = OP_TABLE(swiglu_backward),
    .softcap = OP_TABLE(softcap),
    .activation_forward = OP_TABLE(activation_forward),
    .activation_backward = OP_TABLE(activation_backward),
    .attention_forward = OP_TABLE(attention_forward),
    .attention_backward = OP_TABLE(attention_backward),
    .cross_entropy = OP_TABLE(cross_entropy),
    .bias_backward = OP_TABLE(bias_backward),
    .loss_sum = OP_TABLE(loss_sum),
};
