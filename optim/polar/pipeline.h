// optim/polar/pipeline.h - the common pipeline of the polar family:
//   momentum -> [centering] -> [normalization] -> polar factor -> [normalization] -> scale -> decay and update
// Muon, NorMuon, PolarGrad and their variants configure these stages: an optimizer of the family is a list of exposed
// options with their defaults; it skips the stages for which it exposes none. Internal to optim/.
#ifndef POLAR_OPTIM_POLAR_PIPELINE_H
#define POLAR_OPTIM_POLAR_PIPELINE_H

#include "optim/polar/polar.h"
#include "optim/step.h"

typedef enum { DECAY_DECOUPLED, DECAY_CAUTIOUS } DecayKind;

// The granularity of the second moment of the polar factor (NorMuon); LONGER: rows if rows >= cols, else columns.
typedef enum { MOMENT_NONE, MOMENT_ROW, MOMENT_COLUMN, MOMENT_LONGER, MOMENT_ELEMENT, MOMENT_COUNT } SecondMoment;

typedef enum { NORMALIZE_AFTER, NORMALIZE_BEFORE } NormalizeWhen;
typedef enum { NORMALIZE_ALL, NORMALIZE_TALL } NormalizeOnly;
typedef enum { FORM_PAPER, FORM_OFFICIAL } NorMuonForm;

// The options of all stages.
typedef struct {
    double lr, momentum, momentum_start;
    int64_t momentum_warmup;
    bool ema, nesterov;

    const PolarMethod *polar; // NULL: no polar factor (rownorm)
    int polar_steps;
    double polar_eps;
    bool split_qkv, split_heads, polar_first;

    bool center_columns, row_norms;
    double row_eps;

    SecondMoment second_moment;
    NormalizeWhen normalize;
    NormalizeOnly normalize_only;
    double beta2, eps;
    NorMuonForm form;

    ScaleRule scale;
    double rms, nuclear_power;
    double weight_decay;
    DecayKind decay;
} PolarOptions;

// The table of these options. Its defaults apply to options that an optimizer does not expose, and disable their stage.
extern const OptionTable polar_options;

#define POLAR_LR_NOTE "scale rms and max 4e-4, nuclear 1e-3, others 0.02"

// The fields of an OptimizerDef of the family, except name, summary, reference, offers, resolve and check.
#define POLAR_PIPELINE                                                                                             \
    .table = &polar_options, .matrices_only = true, .declare_state = polar_declare_state,                          \
    .scratch = polar_step_scratch, .splits = polar_splits, .needs_host_sync = polar_needs_host_sync,               \
    .scalars = polar_scalars, .weight_decay = polar_weight_decay, .step = polar_step

// Fills in unset options: steps and eps by the method, lr by the scale (Adam's rates if the update has Adam's root mean
// square).
void polar_resolve(ParamGroupOptions *group);
// Rejects numbers of steps that the method does not support, split-heads without split-qkv, and methods that need a
// solver which the device (NULL: not checked) lacks.
bool polar_check(const void *options, const Device *device, Error *err);

SplitLevel polar_splits(const void *options);
bool polar_needs_host_sync(const void *options); // that of the polar method
void polar_scalars(StepScalars *scalars, const void *options, int64_t t);
WeightDecay polar_weight_decay(const void *options);
// State: momentum, then second moments, each only if used.
int polar_declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options, Type acc_type);
OptimizerScratch polar_step_scratch(const MatrixGroup *groups, int n_groups, const void *options,
                                    const Device *device, Type type);
void polar_step(const OptimizerStep *step);
#endif
