// run/problems/config.h - the options of `train problem`: its own table and the optimizers' options.
#ifndef POLAR_RUN_PROBLEMS_CONFIG_H
#define POLAR_RUN_PROBLEMS_CONFIG_H

#include "run/options/config.h"
#include "run/problems/problem.h"

// The direction passed to the optimizer. The last two are the paper's baselines: they have their own names in
// --optimizer and use gradient descent (sgd without momentum).
typedef enum {
    DIRECTION_GRADIENT,
    DIRECTION_NEWTON,     // newton: the inverse Hessian times the gradient
    DIRECTION_ALTERNATING // altgd: steps X, then Y with a new gradient
} Direction;

typedef struct {
    char config[OPTION_TEXT_MAX], out[OPTION_TEXT_MAX], device[OPTION_TEXT_MAX];
    bool dry_run, overwrite, quiet, help;
    int threads;

    char problem[OPTION_TEXT_MAX];
    const ProblemDef *def;
    ProblemSizes sizes;
    int type; // Type: F32 or F64
    int64_t seed, steps, log_every, diagnose;
    double clip;
    int64_t decay_every;
    double decay_factor;

    Direction direction;
    OptimizerDef baseline; // sgd under the baseline's name, if one is chosen
    ParamGroupOptions groups[GROUP_COUNT];
    char note[1024]; // note for the user about resolved options; "" if none
} ProblemConfig;

extern const OptionTable problem_options;

// Fills `config`, which must not be moved afterwards, from the arguments after "problem". With --help only `help` is
// set. Errors: options that are unknown, out of range, contradictory, or of another problem.
bool problem_config_load(ProblemConfig *config, int argc, const char *const *argv, Error *err);

// Writes the effective configuration. Passed as --config it reproduces the run.
void problem_config_print(FILE *out, const ProblemConfig *config);
#endif
