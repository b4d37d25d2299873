// train.cu - the program: which command, then that command. C11 and C++17 alike.
#include "device/cpu/threads.h"
#include "run/cli/commands.h"

#include <stdio.h>

int main(int argc, char **argv) {
    Error err;
    int status;
    cpu_threads_limit_spin(argv);
    if (command_run(&status, argc, (const char *const *)argv, &err)) return status;
    for (char *p = err.text; *p; p++) // one line, whatever a file or an argument put into it
        if ((unsigned char)*p < ' ') *p = ' ';
    fprintf(stderr, "error: %s\n", err.text);
    return 1;
}
