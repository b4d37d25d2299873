// run/checkpoint/finite.h - finds the number that a run cannot go on with: in the optimizer's state, the weights or the gradients.
#ifndef POLAR_RUN_CHECKPOINT_FINITE_H
#define POLAR_RUN_CHECKPOINT_FINITE_H

#include "run/checkpoint/snapshot.h"

// Each looks at all numbers of its kind, from the device or, where there is one (not NULL), its copy, and returns false with the first one that is not finite:
// "the weight of layers.1.mlp.up.weight is not finite (row 3, column 7)". A weight whose square would overflow a float
// is no better: "... is as large as 2e+30 (row 3, column 7)".
bool finite_state(const Optimizer *optimizer, const HostCopy *copy, Stream *stream, Error *err);
bool finite_weights(const Model *model, const HostCopy *copy, Stream *stream, Error *err);
bool finite_gradients(const Model *model, Stream *stream, Error *err);

// The same for a file of a checkpoint; the error begins with its path.
bool finite_file(const char *path, bool weights, Error *err);
#endif
