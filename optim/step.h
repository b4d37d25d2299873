// optim/step.h - the arguments of OptimizerDef.step. Internal to optim/.
#ifndef POLAR_OPTIM_STEP_H
#define POLAR_OPTIM_STEP_H

#include "optim/ops.h"
#include "optim/optimizer.h"

// Equally shaped matrices (or vectors, with rows = 1) of a parameter group and their state. state[i] points to the
// view's first element in the i-th declared state tensor; the next parameter is state_stride[i] elements further, and
// the next part of the same parameter state_part[i].
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
    void *master, *weights; // arenas; weights == master if the types are equal
    const void *grads;
    const StepInputs *inputs; // device memory
    const StepReport *report; // device memory
    void *scratch;
    const OptimizerExchange *exchange; // NULL: no other ranks
};

// The batch of up to `count` matrices of a view, from matrix `first` on. It is shorter if the view, or a parameter
// that is split into parts, ends before.
MatrixBatch step_batch(const OptimizerStep *step, const GroupView *view, int first, int count);
#endif
