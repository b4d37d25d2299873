// run/options/groups.h - the options of the optimizers, by group of parameters.
#ifndef POLAR_RUN_OPTIONS_GROUPS_H
#define POLAR_RUN_OPTIONS_GROUPS_H

#include "run/options/settings.h"

// The options of all groups. A group whose optimizer is the hidden matrices' takes over what was said for those and
// not for itself; schedules are taken over always, the weight decay of vectors never: it is 0 unless it is given for
// them. A file's options are for the optimizer the file names: where the command line chooses another one they are left
// out, which `note` says.
bool groups_resolve(ParamGroupOptions groups[GROUP_COUNT], char note[1024], const Settings *file,
                    const Settings *arguments, Error *err);

// Writes the options of a group as lines of a configuration file.
void group_print(FILE *out, const ParamGroupOptions *options, ParamGroup group);
#endif
