// model/blocks.h - forward and backward of one block, for model/model.c.
#ifndef POLAR_MODEL_BLOCKS_H
#define POLAR_MODEL_BLOCKS_H

#include "model/model.h"

// One micro-batch on its way through the blocks. Between blocks the residual stream is the sum resid +
// pending_residual: the next norm computes it in the same kernel. pending_residual is NULL before the first layer.
typedef struct {
    Model *model;
    Stream *stream;
    const Batch *batch;
    int64_t N;     // B T
    int position;  // of the first token in its sequence; the keys and values of earlier ones are in the KV cache
    bool backward; // the head also computes gradients, of `scale` times the sum of losses
    double scale;
    bool accumulate; // add to the gradients of the parameters
    const void *resid, *pending_residual;
} MicroBatch;

void block_forward(MicroBatch *mb, int block);
void block_backward(MicroBatch *mb, int block);

// Final norm of the residual stream: the input of the head.
void block_final_norm(MicroBatch *mb);

// First element of an activation; `layer` is ignored by activations that exist once.
void *model_activation(const Model *model, ActKind kind, int layer);

// The head's weight: the token embedding if the two are tied.
const Param *model_head(const Model *model);

// logits (n, Vp) = final_norm[row, row + n) head^T.
void model_logits(MicroBatch *mb, int64_t row, int64_t n);

#endif
