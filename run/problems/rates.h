// run/problems/rates.h - defaults of the optimizers on a matrix problem: a learning rate at which they converge, and
// no weight decay, which would change the problem.
#ifndef POLAR_RUN_PROBLEMS_RATES_H
#define POLAR_RUN_PROBLEMS_RATES_H

#include "optim/optimizer.h"
#include "run/problems/problem.h"

// The default rate of an optimizer at these sizes: its factor in the problem's table, divided by what its unit says.
// If there is none, returns false.
bool problem_rate(double *rate, const ProblemDef *def, const ProblemSizes *sizes, const char *optimizer);

// Sets the learning rate and the weight decay of resolved options unless they are given. Errors: no rate is given, and
// the problem has none for the optimizer, or only for updates of another size.
bool problem_set_defaults(ParamGroupOptions *options, const ProblemDef *def, const ProblemSizes *sizes, Error *err);
#endif
