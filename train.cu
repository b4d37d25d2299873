// train.cu - main: runs a command and prints its error. Valid as C11 and as C++17.
#include "base/output.h"
#include "device/cpu/threads.h"
#include "run/cli/commands.h"

#include <stdio.h>

int main(int argc, char **argv) {
    Error err;
    int status;
    cpu_threads_limit_spin(argv);
    output_ignore_signals();
    if (command_run(&status, argc, (const char *const *)argv, &err)) return status;
    for (char *p = err.text; *p; p++) // keep it one line, whatever file contents or arguments it quotes
        if ((unsigned char)*p < ' ') *p = ' ';
    fprintf(stderr, "error: %s\n", err.text);
    return 1;
}
