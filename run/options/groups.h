// run/options/groups.h - the options of the optimizers, by group of parameters.
#ifndef POLAR_RUN_OPTIONS_GROUPS_H
#define POLAR_RUN_OPTIONS_GROUPS_H

#include "run/options/settings.h"

// Resolves the options of all groups. A group with the same optimizer as the hidden matrices inherits what is set for
// those and not for itself; schedules are always inherited, the weight decay of vectors never: it is 0 unless set. The
// options in a file are for the optimizer that the file names: if the command line chooses another one, they are
// ignored, and `note` says so.
bool groups_resolve(ParamGroupOptions groups[GROUP_COUNT], char note[1024], const Settings *file,
                    const Settings *arguments, Error *err);

// Writes the options of a group as lines of a configuration file.
void group_print(FILE *out, const ParamGroupOptions *options, ParamGroup group);
#endif
