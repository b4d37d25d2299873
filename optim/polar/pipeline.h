// optim/polar/pipeline.h - the one pipeline of the polar family:
//   momentum -> [centering] -> [normalization] -> polar factor -> [normalization] -> scale -> decay and update
// Muon, NorMuon, PolarGrad and their relatives are choices at these stations: an optimizer of the family is the list of
// the options it offers, with their defaults, and passes through the stations that it offers none for. For the files of
// optim/ only.
#ifndef POLAR_OPTIM_POLAR_PIPELINE_H
#define POLAR_OPTIM_POLAR_PIPELINE_H

#include "optim/polar/polar.h"
#include "optim/step.h"

typedef enum { DECAY_DECOUPLED, DECAY_CAUTIOUS } DecayKind;

// What of the polar factor has a second moment of its own (NorMuon).
typedef enum { MOMENT_NONE, MOMENT_ROW, MOMENT_COLUMN, MOMENT_LONGER, MOMENT_ELEMENT, MOMENT_COUNT } SecondMoment;

typedef enum { NORMALIZE_AFTER, NORMALIZE_BEFORE } NormalizeWhen;
typedef enum { NORMALIZE_ALL, NORMALIZE_TALL } NormalizeOnly;
typedef enum { FORM_PAPER, FORM_OFFICIAL } NorMuonForm;

// The choices at the stations, of all members of the family.
typedef struct {
    double lr, momentum, momentum_start;
    int64_t momentum_warmup;
    bool ema, nesterov;

    const PolarMethod *polar; // NULL: the optimizer takes no polar factor
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

// The table of all of them. Their defaults are those of a station that an optimizer offers nothing for.
extern const OptionTable polar_options;

#define POLAR_LR_NOTE "scale rms and max 4e-4, nuclear 1e-3, others 0.02"

// The rest of an OptimizerDef of the family that takes polar factors, but for name, summary, reference, offers, resolve and check.
#define POLAR_PIPELINE                                                                                             \
    .table = &polar_options, .matrices_only = true, .declare_state = polar_declare_state,                          \
    .scratch = polar_step_scratch, .splits = polar_splits, .needs_host_sync = polar_needs_host_sync,               \
    .scalars = polar_scalars, .weight_decay = polar_weight_decay, .step = polar_step

// Fills what depends on the method, the number of steps and the eps, and on the scale, the rate, where none was given: with
// the update's root mean square matched to Adam's, the rates are Adam's.
void polar_resolve(ParamGroupOptions *group);
// Refuses numbers of steps that the method cannot take, heads that are not split, and methods that need solves which the
// device (NULL: not asked) does not have.
bool polar_check(const void *options, const Device *device, Error *err);

SplitLevel polar_splits(const void *options);
bool polar_needs_host_sync(const void *options); // as the method does
void polar_scalars(StepScalars *scalars, const void *options, int64_t t);
WeightDecay polar_weight_decay(const void *options);
// State: the momentum, if there is any; the second moments, if there are any.
int polar_declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options, Type acc_type);
OptimizerScratch polar_step_scratch(const MatrixGroup *groups, int n_groups, const void *options,
                                    const Device *device, Type type);
void polar_step(const OptimizerStep *step);
#endif
