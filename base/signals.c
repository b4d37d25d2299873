#include "base/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t received, interrupts, log_fd = -1;
// Notices of SIGTERM, SIGINT, SIGUSR1: formatted in advance, as a handler may only write.
static char notices[3][160];

static int notice_index(int signal_number) {
    return signal_number == SIGTERM ? 0 : signal_number == SIGINT ? 1 : 2;
}

static void handle(int signal_number) {
    if (signal_number == SIGINT && ++interrupts > 1) _exit(128 + SIGINT);
    if (received) return;
    received = signal_number;
    const char *notice = notices[notice_index(signal_number)];
    int saved = errno;
    // Best effort: a failed write is ignored.
    if (notice[0] && write(STDOUT_FILENO, notice, strlen(notice)) < 0) errno = saved;
    if (notice[0] && log_fd >= 0 && write(log_fd, notice, strlen(notice)) < 0) errno = saved;
    errno = saved;
}

void signals_install(const char *notice) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 3; i++) {
        if (notice)
            snprintf(notices[notice_index(numbers[i])], sizeof *notices, "%s: %s%s\n", signals_name(numbers[i]),
                     notice, numbers[i] == SIGINT ? "; a second one quits at once" : "");
        sigaction(numbers[i], &action, NULL);
    }
}

void signals_set_log(int fd) {
    log_fd = fd;
}

int signals_received(void) {
    return received;
}

const char *signals_name(int signal_number) {
    return signal_number == SIGTERM ? "SIGTERM" : signal_number == SIGINT ? "SIGINT" : "SIGUSR1";
}
