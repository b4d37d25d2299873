#include "run/cli/commands.h"

#include "base/output.h"
#include "run/training/run_dir.h"

#include <stdio.h>
#include <string.h>

const Command commands[] = {
    {"tokenize", "[options] FILE...", "convert text to token shards", command_tokenize},
    {"sample", "RUN [options]", "generate text from a trained model", command_sample},
    {"eval", "RUN [options]", "validation loss and HellaSwag accuracy", command_eval},
    {"export", "RUN --out DIR", "convert a run for Hugging Face transformers", command_export},
    {"polar", "[options]", "accuracy and speed of polar decompositions", command_polar},
    {"problem", "NAME [options]", "optimize a matrix problem", command_problem},
    {NULL, NULL, NULL, NULL},
};

bool command_run(int *status, int argc, const char *const *argv, Error *err) {
    const char *topic = NULL;
    *status = 0;
    for (const Command *c = commands; c->name; c++)
        if (argc > 1 && strcmp(argv[1], c->name) == 0) return c->run(argc, argv, err) && output_flush(err);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("polar.c, commit %s\n", provenance_commit());
        return output_flush(err);
    }
    if (argc == 1 || help_wanted(&topic, argc, argv)) return command_help(topic, err) && output_flush(err);
    return command_train(status, argc, argv, err);
}
