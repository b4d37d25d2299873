// optim/routing.h - assigns parameters to optimizers and lays out their state before anything is allocated. Internal
// to optim/.
#ifndef POLAR_OPTIM_ROUTING_H
#define POLAR_OPTIM_ROUTING_H

#include "optim/optimizer.h"

// One parameter kind over all layers, with its state. State i of layer l starts state_offset[i] + l state_stride[i]
// bytes into the state arena, whatever the optimizer's views are.
typedef struct {
    ParamGroup group;
    MatrixGroup whole;    // unsplit, without the padding of the vocabulary
    MatrixGroup views[3]; // as the optimizer views it
    int n_views;
    int n_states;
    StateSpec specs[MAX_STATE_TENSORS];
    int64_t state_offset[MAX_STATE_TENSORS], state_stride[MAX_STATE_TENSORS]; // in bytes
} KindPlan;

typedef struct {
    ParamGroupOptions groups[GROUP_COUNT]; // resolved; def may be NULL if a group has no parameters
    KindPlan kinds[PARAM_KIND_COUNT];
    int n_kinds;
    int64_t n_rows; // total rows of all parameters: one sum of squares each, for the gradient norm
    int64_t state_bytes, scratch_bytes, stream_scratch_bytes;
} OptimizerPlan;

// For a model of `type`. Errors: options that an optimizer rejects; the device is checked only if it is not NULL.
bool optimizer_plan(OptimizerPlan *plan, const Device *device, const ParamTable *table,
                    const ParamGroupOptions groups[GROUP_COUNT], Type type, Error *err);
#endif
