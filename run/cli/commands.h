// run/cli/commands.h - what `train` can be told to do. Each command prints what it has to say and leaves an error to its
// caller.
#ifndef POLAR_RUN_CLI_COMMANDS_H
#define POLAR_RUN_CLI_COMMANDS_H

#include "base/options.h"

// argc and argv are, here and below, those of the whole program.
typedef struct {
    const char *name, *arguments, *summary;
    bool (*run)(int argc, const char *const *argv, Error *err);
} Command;

// All but `train` itself, in the order of the help. A row without a name ends them.
extern const Command commands[];

// Runs the command that the arguments name. *status is the exit status where it succeeds.
bool command_run(int *status, int argc, const char *const *argv, Error *err);

// `train [options]`: trains or resumes. *status: 0, or EXIT_STOPPED if a signal or --max-time stopped it.
bool command_train(int *status, int argc, const char *const *argv, Error *err);

bool command_tokenize(int argc, const char *const *argv, Error *err);
bool command_sample(int argc, const char *const *argv, Error *err);
bool command_eval(int argc, const char *const *argv, Error *err);
bool command_export(int argc, const char *const *argv, Error *err);
bool command_polar(int argc, const char *const *argv, Error *err);
bool command_problem(int argc, const char *const *argv, Error *err);

// Whether --help is among the arguments; *topic is the word after it, if any.
bool help_wanted(const char **topic, int argc, const char *const *argv);

// `train --help`, `train --help optimizers`, `train --help NAME`.
bool command_help(const char *topic, Error *err);

// The options of a table, by section, as the help has them.
void help_print_options(const OptionTable *options);

// The help of a command: how it is called and what it does, its options, and what else there is to say. Returns true.
bool help_print_command(const char *usage, const OptionTable *options, const char *more);
#endif
