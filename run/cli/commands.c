#include "run/cli/commands.h"

#include "base/output.h"

#include <string.h>

const Command commands[] = {
    {"tokenize", "[options] FILE...", "make token shards of text", command_tokenize},
    {"sample", "RUN [options]", "let a run write text", command_sample},
    {"eval", "RUN [options]", "validation loss and HellaSwag accuracy", command_eval},
    {"export", "RUN --out DIR", "write it for Hugging Face transformers", command_export},
    {"polar", "[options]", "polar-factor methods: accuracy and speed", command_polar},
    {"problem", "NAME [options]", "a matrix problem by any optimizer", command_problem},
    {NULL, NULL, NULL, NULL},
};

bool command_run(int *status, int argc, const char *const *argv, Error *err) {
    const char *topic = NULL;
    *status = 0;
    for (const Command *c = commands; c->name; c++)
        if (argc > 1 && strcmp(argv[1], c->name) == 0) return c->run(argc, argv, err) && output_flush(err);
    if (argc == 1 || help_wanted(&topic, argc, argv)) return command_help(topic, err) && output_flush(err);
    return command_train(status, argc, argv, err);
}
