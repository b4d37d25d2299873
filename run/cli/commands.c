#include "run/cli/commands.h"

#include "base/output.h"
#include "base/suggest.h"
#include "run/training/run_dir.h"

#include <stdio.h>
#include <string.h>

const Command commands[] = {
    {"tokenize", "[options] FILE...", "convert text to files of tokens", command_tokenize},
    {"sample", "RUN [options]", "generate text from a trained model", command_sample},
    {"eval", "RUN [options]", "validation loss and HellaSwag accuracy", command_eval},
    {"export", "RUN --out DIR", "convert a run for Hugging Face", command_export},
    {"polar", "[options]", "compare methods for the polar factor", command_polar},
    {"problem", "NAME [options]", "optimize a matrix problem", command_problem},
    {"check-ranks", "[options]", "try the launch of several ranks", command_check_ranks},
    {NULL, NULL, NULL, NULL},
};

// A first word that is neither a command nor an option. The error names the nearest command and all of them.
static bool unknown_command(const char *word, Error *err) {
    const char *names[sizeof commands / sizeof *commands];
    char list[256] = "";
    int n = 0;
    for (; commands[n].name; n++) {
        size_t used = strlen(list);
        names[n] = commands[n].name;
        snprintf(list + used, sizeof list - used, "%s%s", n ? ", " : "", names[n]);
    }
    const char *near = suggest_name(word, names, n);
    return error_set(
        err, "unknown command '%s'%s%s%s; the commands are %s; without one, train trains a model (train --help)",
        word, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "", list);
}

bool command_run(int *status, int argc, const char *const *argv, Error *err) {
    const char *topic = NULL;
    *status = 0;
    for (const Command *c = commands; c->name; c++)
        if (argc > 1 && strcmp(argv[1], c->name) == 0) return c->run(argc, argv, err) && output_flush(err);
    if (argc > 1 && argv[1][0] != '-') return unknown_command(argv[1], err);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("polar.c, commit %s\n", provenance_commit());
        return output_flush(err);
    }
    if (argc == 1 || help_wanted(&topic, argc, argv)) return command_help(topic, err) && output_flush(err);
    return command_train(status, argc, argv, err);
}
