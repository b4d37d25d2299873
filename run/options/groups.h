// run/options/groups.h - the options of the optimizers, by group of parameters, made into settings. For config.c.
#ifndef POLAR_RUN_OPTIONS_GROUPS_H
#define POLAR_RUN_OPTIONS_GROUPS_H

#include "run/options/config.h"

// Whether any optimizer has this option, and then whether it is a flag.
bool any_optimizer_has(bool *is_flag, const char *option);

// All names of group options: "optimizer", "schedule", ..., "vector-beta2". Returns their number; the strings are
// one block that is freed with free(names[0]), then free(names). *names NULL when out of memory.
int group_option_names(char ***names);

// Settings of all groups. A group whose optimizer is the hidden matrices' takes over what was said for those and
// not for itself; schedules are taken over always, the weight decay of vectors never: it is 0 unless it is given for
// them. A file's options are for the optimizer the file names: where the command line chooses another one they are left
// out, which config->note says.
bool groups_resolve(RunConfig *config, const Settings *file, const Settings *arguments, Error *err);

#endif
