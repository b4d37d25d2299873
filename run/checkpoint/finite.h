// run/checkpoint/finite.h - finds the number that a run cannot go on with: in a list of tensors, or in a piece of one.
#ifndef POLAR_RUN_CHECKPOINT_FINITE_H
#define POLAR_RUN_CHECKPOINT_FINITE_H

#include "run/checkpoint/tensors.h"

// Looks at elements [first, first + n) of a tensor, which lie in host memory at `numbers`, and returns false with the
// first one that is not finite: "LABEL is not finite (row 3, column 7)". A weight whose square would overflow a float is no
// better: "... is as large as 2e+30 (row 3, column 7)".
bool finite_piece(const char *label, const CheckpointTensor *tensor, const void *numbers, int64_t first, int64_t n,
                  Error *err);

// The same of all numbers of a list: "the weight of layers.1.mlp.up.weight is not finite (...)". The optimizer's state comes
// before the weights, which it makes bad. Without a stream the tensors are in host memory.
bool finite_tensors(const CheckpointTensors *tensors, Stream *stream, Error *err);

bool finite_gradients(const Model *model, Stream *stream, Error *err);
#endif
