// run/cli/commands.h - what `train` can be told to do. Each command prints what it has to say and leaves an error to its
// caller.
#ifndef POLAR_RUN_CLI_COMMANDS_H
#define POLAR_RUN_CLI_COMMANDS_H

#include "base/error.h"
#include "run/options/config.h"

// `train [options]`: trains or resumes. *status is the exit status where it succeeds: 0, or EXIT_STOPPED when a
// signal ended it. argc and argv are those of the whole program.
bool command_train(int *status, int argc, const char *const *argv, Error *err);

// `train tokenize [options] TEXTFILE...`; argv begins after the command's name.
bool command_tokenize(int argc, const char *const *argv, Error *err);

// `train sample RUN [options]`; argv begins after the command's name.
bool command_sample(int argc, const char *const *argv, Error *err);

// `train export RUN --out DIR [options]`; argv begins after the command's name.
bool command_export(int argc, const char *const *argv, Error *err);

// `train eval RUN [options]`; argv begins after the command's name.
bool command_eval(int argc, const char *const *argv, Error *err);

// `train polar [options]`; argv begins after the command's name.
bool command_polar(int argc, const char *const *argv, Error *err);

// `train problem NAME [options]`: the matrix problems; argc and argv are those of the whole program.
bool command_problem(int argc, const char *const *argv, Error *err);

// Whether --help is among the arguments; *topic is the word after it, if any.
bool help_wanted(const char **topic, int argc, const char *const *argv);

// `train --help`, `train --help optimizers`, `train --help NAME`.
bool command_help(const char *topic, Error *err);

// The options of a table, by section, as the help has them.
void help_print_options(const OptionTable *options);
#endif
