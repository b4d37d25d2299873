// run/cli/commands.h - the commands of `train`. Each prints its output and returns errors to the caller.
#ifndef POLAR_RUN_CLI_COMMANDS_H
#define POLAR_RUN_CLI_COMMANDS_H

#include "base/options.h"

// Here and below, argc and argv are those of main.
typedef struct {
    const char *name, *arguments, *summary;
    bool (*run)(int argc, const char *const *argv, Error *err);
} Command;

// All commands except `train` itself, in the order of the help; ends with a row without a name.
extern const Command commands[];

// Runs the command named by the arguments. *status is the exit status on success.
bool command_run(int *status, int argc, const char *const *argv, Error *err);

// `train [options]`: trains or resumes. *status: 0, or EXIT_STOPPED if a signal or --max-time stopped it.
bool command_train(int *status, int argc, const char *const *argv, Error *err);

bool command_tokenize(int argc, const char *const *argv, Error *err);
bool command_sample(int argc, const char *const *argv, Error *err);
bool command_eval(int argc, const char *const *argv, Error *err);
bool command_export(int argc, const char *const *argv, Error *err);
bool command_polar(int argc, const char *const *argv, Error *err);
bool command_check_ranks(int argc, const char *const *argv, Error *err);
bool command_problem(int argc, const char *const *argv, Error *err);

// Returns true if --help is among the arguments; *topic is the word after it, or NULL.
bool help_wanted(const char **topic, int argc, const char *const *argv);

// `train --help`, `train --help optimizers`, `train --help NAME` of an optimizer, or any word: the options with it.
bool command_help(const char *topic, Error *err);

// Prints the options of a table, by section.
void help_print_options(const OptionTable *options);

// Prints the help of a command: its usage, its options, and more text. Returns true.
bool help_print_command(const char *usage, const OptionTable *options, const char *more);
#endif
