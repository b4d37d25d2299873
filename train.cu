// train.cu - the program: which command, then that command. C11 and C++17 alike.
#include "device/cpu/threads.h"
#include "run/cli/commands.h"

#include <stdio.h>
#include <string.h>

static bool dispatch(int *status, int argc, const char *const *argv, Error *err) {
    const char *topic = NULL;
    *status = 0;
    if (argc > 1 && strcmp(argv[1], "tokenize") == 0) return command_tokenize(argc - 2, argv + 2, err);
    if (argc > 1 && strcmp(argv[1], "sample") == 0) return command_sample(argc - 2, argv + 2, err);
    if (argc > 1 && strcmp(argv[1], "eval") == 0) return command_eval(argc - 2, argv + 2, err);
    if (argc > 1 && strcmp(argv[1], "export") == 0) return command_export(argc - 2, argv + 2, err);
    if (argc > 1 && strcmp(argv[1], "polar") == 0) return command_polar(argc - 2, argv + 2, err);
    if (argc > 1 && strcmp(argv[1], "problem") == 0) return command_problem(argc, argv, err);
    if (argc == 1 || help_wanted(&topic, argc, argv)) return command_help(topic, err);
    return command_train(status, argc, argv, err);
}

int main(int argc, char **argv) {
    Error err;
    int status;
    cpu_threads_settle(argv);
    if (dispatch(&status, argc, (const char *const *)argv, &err)) return status;
    for (char *p = err.text; *p; p++) // one line, whatever a file or an argument put into it
        if ((unsigned char)*p < ' ') *p = ' ';
    fprintf(stderr, "error: %s\n", err.text);
    return 1;
}
