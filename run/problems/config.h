// run/problems/config.h - the options of `train problem`: its own table beside the options of the optimizers.
#ifndef POLAR_RUN_PROBLEMS_CONFIG_H
#define POLAR_RUN_PROBLEMS_CONFIG_H

#include "run/options/config.h"
#include "run/problems/problem.h"

// What is done with the gradient before the optimizer has it. The last two are the paper's baselines, with names of their
// own for --optimizer and gradient descent (sgd without momentum) as the optimizer.
typedef enum {
    DIRECTION_GRADIENT,
    DIRECTION_NEWTON,     // newton: multiplied by the inverse of the second derivative
    DIRECTION_ALTERNATING // altgd: X, then Y with a gradient made anew
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
    OptimizerDef baseline; // sgd under the name of a baseline, where one is chosen
    ParamGroupOptions groups[GROUP_COUNT];
    char note[1024]; // what the user should know about how this came about; "" if nothing
} ProblemConfig;

extern const OptionTable problem_options;

// Fills `config`, which must stay where it is, from the arguments after "problem". With --help only that is set. Errors:
// anything unknown, out of range, contradictory, or of another problem.
bool problem_config_load(ProblemConfig *config, int argc, const char *const *argv, Error *err);

// Writes the effective configuration: as --config it reproduces the run.
void problem_config_print(FILE *out, const ProblemConfig *config);
#endif
