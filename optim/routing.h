// optim/routing.h - which optimizer takes which parameters, and where their state stands: everything that follows from
// the table and the options before anything is allocated. For the files of optim/ only.
#ifndef POLAR_OPTIM_ROUTING_H
#define POLAR_OPTIM_ROUTING_H

#include "optim/optimizer.h"

// One kind of parameter over all layers with its state. State i of layer l starts state_offset[i] + l
// state_stride[i] bytes into the arena of states, whatever the views of the optimizer are.
typedef struct {
    ParamGroup group;
    MatrixGroup whole;    // unsplit, without the padding of the vocabulary
    MatrixGroup views[3]; // as the optimizer sees it
    int n_views;
    int n_states;
    StateSpec specs[MAX_STATE_TENSORS];
    int64_t state_offset[MAX_STATE_TENSORS], state_stride[MAX_STATE_TENSORS]; // in bytes
} KindPlan;

typedef struct {
    ParamGroupOptions groups[GROUP_COUNT]; // resolved; def may be NULL for a group without parameters
    KindPlan kinds[PARAM_KIND_COUNT];
    int n_kinds;
    int64_t n_rows; // of all parameters together: sums of squares for the gradient norm
    int64_t state_bytes, scratch_bytes, stream_scratch_bytes;
} OptimizerPlan;

// For a network of `type`. Errors: what the optimizers refuse; of the device only where it is not NULL.
bool optimizer_plan(OptimizerPlan *plan, const Device *device, const ParamTable *table,
                    const ParamGroupOptions groups[GROUP_COUNT], Type type, Error *err);
#endif
