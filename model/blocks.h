// model/blocks.h - one block of the network forward and backward; for the driver in model/model.c.
#ifndef POLAR_MODEL_BLOCKS_H
#define POLAR_MODEL_BLOCKS_H

#include "model/model.h"

// One micro-batch on its way through the blocks. Between blocks the residual stream is the pair (resid, delta): the
// next norm adds them up as it reads them. delta is NULL before the first layer.
typedef struct {
    Model *model;
    Stream *stream;
    const Batch *batch;
    int64_t N;     // B T
    int position;  // number of the first position in the sequence; the keys and values of those before are kept
    bool backward; // the head also makes gradients, of `scale` times the sum of losses
    double scale;
    bool accumulate; // add to the gradients of the parameters
    const void *resid, *delta;
} Pass;

void block_forward(Pass *pass, int block);
void block_backward(Pass *pass, int block);

// The final norm of the residual stream; what the head reads.
void block_final_norm(Pass *pass);

// The activation of a kind in a layer.
void *model_activation(const Model *model, ActKind kind, int layer);

// The head's weight: the token embedding's where the two are tied.
const Param *model_head(const Model *model);

// logits (n, Vp) = final_norm[row, row + n) head^T.
void model_logits(Pass *pass, int64_t row, int64_t n);

#endif
