// run/checkpoint/finite.h - finds non-finite and overflowing values in a list of tensors or in a chunk of one.
#ifndef POLAR_RUN_CHECKPOINT_FINITE_H
#define POLAR_RUN_CHECKPOINT_FINITE_H

#include "run/checkpoint/tensors.h"

// Checks elements [first, first + n) of a tensor, given in host memory at `values`. Returns false at the first that is
// not finite: "LABEL is not finite (row 3, column 7)". Weights whose square overflows a float are rejected too: "LABEL
// is as large as 2e+30 (row 3, column 7)".
bool check_finite_values(const char *label, const CheckpointTensor *tensor, const void *values, int64_t first,
                         int64_t n, Error *err);

// Checks all tensors of a list: "the weight of layers.1.mlp.up.weight is not finite (...)". Optimizer state is checked
// before the weights, since bad state is the cause of bad weights. If stream is NULL, the tensors are in host memory.
bool finite_tensors(const CheckpointTensors *tensors, Stream *stream, Error *err);

// Checks all gradients of a model.
bool finite_gradients(const Model *model, Stream *stream, Error *err);
#endif
