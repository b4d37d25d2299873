// optim/step.h - what an optimizer's step is given. For the files of optim/ only.
#ifndef POLAR_OPTIM_STEP_H
#define POLAR_OPTIM_STEP_H

#include "optim/ops.h"
#include "optim/optimizer.h"

// One matrix group (or vectors: rows 1) of a group of parameters with its state. state[i] is the view's first
// element of the i-th declared tensor; that of the next parameter stands state_stride[i] elements further, that of the
// next part of a parameter state_part[i].
typedef struct {
    MatrixGroup view;
    void *state[MAX_STATE_TENSORS];
    int64_t state_stride[MAX_STATE_TENSORS], state_part[MAX_STATE_TENSORS];
    Type state_type[MAX_STATE_TENSORS];
} GroupView;

struct OptimizerStep {
    Stream *stream;
    const OptimOps *ops; // of acc_type
    Type type, acc_type;
    ParamGroup group;
    const void *options; // the optimizer's own struct
    const GroupView *views;
    int n_views;
    void *master, *weights; // arenas; weights is master where the types are equal
    const void *grads;
    const StepInputs *inputs; // device memory
    const StepReport *report; // device memory
    void *scratch;
};

// The batch of `count` matrices of a view from matrix `first` on, for an operation; fewer where the view ends, or a
// parameter of several parts.
MatrixBatch step_batch(const OptimizerStep *step, const GroupView *view, int first, int count);
#endif
