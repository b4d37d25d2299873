// optim/polar/pipeline.h - the one pipeline of the polar family:
//   momentum -> [centering] -> [normalization] -> polar factor -> [normalization] -> scale -> decay and update
// Muon, NorMuon, PolarGrad and their relatives are choices at these stations: an optimizer of the family is the list of
// the options it offers, with their defaults, and passes through the stations that it offers none for. For the files of
// optim/ only.
#ifndef POLAR_OPTIM_POLAR_PIPELINE_H
#define POLAR_OPTIM_POLAR_PIPELINE_H

#include "optim/polar/polar.h"
#include "optim/step.h"

#include <stddef.h>

extern const char *const POLAR_SCALE_NAMES[]; // "shape", "rms", "max", ...: in the order of ScaleRule
extern const char *const POLAR_DECAY_NAMES[]; // "decoupled", "cautious"

// What of the polar factor has a second moment of its own (NorMuon): the order of POLAR_MOMENT_NAMES.
typedef enum { MOMENT_ROW, MOMENT_COLUMN, MOMENT_LONGER, MOMENT_ELEMENT, MOMENT_NONE, MOMENT_COUNT } SecondMoment;
extern const char *const POLAR_MOMENT_NAMES[]; // "row", "column", "longer", "element", "none"

// The options of the stations, with the defaults that differ. The macros are for the list of an OptimizerDef.
#define POLAR_MOMENTUM_OPTIONS(lr_def, lr_help, momentum_def, nesterov_def, nesterov_help)                         \
    {"lr", OPTION_REAL, lr_def, 0, 1e9, NULL, "learning rate" lr_help},                                            \
        {"momentum", OPTION_REAL, momentum_def, 0, 0.999999, NULL, "decay of the momentum; 0: none"},              \
        {"momentum-warmup", OPTION_INT, 0, 0, 1e15, NULL, "steps over which the momentum grows to its value"},     \
        {"momentum-start", OPTION_REAL, 0.85, 0, 0.999999, NULL, "momentum at step 0 of its warm-up"},             \
        {"ema", OPTION_FLAG, 1, 0, 1, NULL, "M = b M + (1 - b) G rather than b M + G"}, {                          \
        "nesterov", OPTION_FLAG, nesterov_def, 0, 1, NULL, "look ahead by one gradient" nesterov_help              \
    }

#define POLAR_FACTOR_OPTIONS(polar_def, steps_def, eps_def)                                                        \
    {"polar", OPTION_CHOICE, polar_def, 0, 0, POLAR_NAMES, "method for the polar factor"},                         \
        {"polar-steps",                                                                                            \
         OPTION_INT,                                                                                               \
         steps_def,                                                                                                \
         0,                                                                                                        \
         100,                                                                                                      \
         NULL,                                                                                                     \
         "steps of that method (its own number); 0: until it converges"},                                          \
        {"polar-eps",                                                                                              \
         OPTION_REAL,                                                                                              \
         eps_def,                                                                                                  \
         1e-30,                                                                                                    \
         1,                                                                                                        \
         NULL,                                                                                                     \
         "added to the norm that the momentum is divided by before that method (its own number)"},                 \
        {"split-qkv", OPTION_FLAG, 1, 0, 1, NULL, "query, key and value rows are matrices of their own"}, {        \
        "split-heads", OPTION_FLAG, 0, 0, 1, NULL, "so are the rows of each of their heads"                        \
    }

#define POLAR_SCALE_OPTIONS(scale_def, scale_help)                                                                 \
    {"scale",                                                                                                      \
     OPTION_CHOICE,                                                                                                \
     scale_def,                                                                                                    \
     0,                                                                                                            \
     0,                                                                                                            \
     POLAR_SCALE_NAMES,                                                                                            \
     "factor on the polar factor: sqrt(max(1, rows/cols)); what makes its root mean square --rms; --rms "          \
     "sqrt(max(rows, cols)); sqrt(rows/cols); 1; the nuclear norm of its matrix" scale_help},                      \
    {                                                                                                              \
        "rms", OPTION_REAL, 0.2, 0, 1e9, NULL,                                                                     \
            "root mean square of the update at lr 1, for the scales rms and max"                                   \
    }

#define POLAR_DECAY_OPTIONS(decay_def, decay_help)                                                                 \
    {"weight-decay", OPTION_REAL, decay_def, 0, 1e9, NULL, "weight decay" decay_help}, {                           \
        "decay", OPTION_CHOICE, 0, 0, 0, POLAR_DECAY_NAMES, "on every element, or only where it helps the update"  \
    }

// Fills what depends on the method: the number of steps and the eps where none was given.
void polar_settings_resolve(GroupSettings *settings);
// Gives an option that the user left alone the default of a form.
void polar_settings_default(GroupSettings *settings, const char *name, double value);
// The default rate for the chosen scale: with the update's root mean square matched to Adam's, the rates are Adam's.
void polar_settings_default_lr(GroupSettings *settings);
// Refuses numbers of steps that the method cannot take, heads that are not split, and methods that need solves which the
// device (NULL: not asked) does not have.
bool polar_settings_check(const GroupSettings *settings, const Device *device, Error *err);
SplitLevel polar_settings_split(const GroupSettings *settings);
bool polar_settings_wait(const GroupSettings *settings); // those of the method

// The rest of an OptimizerDef. State: the momentum, if there is any; the second moments, if there are any.
int polar_declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const GroupSettings *settings,
                        Type acc_type);
OptimizerScratch polar_step_scratch(const MatrixGroup *groups, int n_groups, const GroupSettings *settings,
                                    const Device *device, Type type);
void polar_step(const OptimizerStep *step);
#endif
