#include "run/cli/local_ranks.h"

#include "base/signals.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t *children;
static int n_children;

// Signals sent to this process alone are passed on; those of a terminal go to all processes anyway.
static void pass_on(int number, siginfo_t *info, void *context) {
    (void)context;
    int saved = errno;
    for (int i = 0; i < n_children && info->si_code <= 0; i++)
        if (children[i] > 0) kill(children[i], number);
    errno = saved;
}

static void pass_signals_on(void) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP};
    struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_RESTART | SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, NULL);
}

enum {
    POLL_US = 20000,
    GRACE_POLLS = 250
}; // 5 s: the ranks end by themselves when one has failed, unless they are stopped

// Exits with the status of rank 0, or of the first other rank that failed.
static void wait_for_children(void) {
    int result = 0, left = n_children, status, polls = 0;
    while (left > 0) {
        bool failed = result != 0 && result != EXIT_STOPPED;
        pid_t pid = waitpid(-1, &status, failed ? WNOHANG : 0);
        if (pid < 0 && errno == EINTR) continue;
        if (pid < 0) break;
        if (pid == 0) {
            usleep(POLL_US);
            if (++polls < GRACE_POLLS) continue;
            for (int i = 0; i < n_children; i++)
                if (children[i] > 0) kill(children[i], SIGKILL);
            polls = 0;
            continue;
        }
        for (int i = 0; i < n_children; i++) {
            if (children[i] != pid) continue;
            int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            if (code != 0 && (result == 0 || i == 0)) result = code;
            children[i] = 0, left--;
        }
    }
    exit(result);
}

bool local_ranks_start(Launch *launch, int n, Error *err) {
    pid_t parent = getpid();
    children = calloc((size_t)n, sizeof *children);
    ASSERT(children);
    fflush(NULL);
    pass_signals_on();
    for (int r = 0; r < n; r++) {
        pid_t pid = fork();
        if (pid < 0) {
            for (int i = 0; i < r; i++) kill(children[i], SIGKILL);
            return error_set(err, "cannot start rank %d: %s", r, strerror(errno));
        }
        if (pid > 0) {
            children[r] = pid, n_children = r + 1;
            continue;
        }
        free(children);
        children = NULL, n_children = 0;
        prctl(PR_SET_PDEATHSIG, SIGTERM); // a rank whose parent was killed finishes its step and saves
        if (getppid() != parent) _exit(1);
        *launch = (Launch){
            .rank = r, .size = n, .local_rank = r, .local_size = n, .launcher = "--ranks", .job = (long)parent};
        return true;
    }
    wait_for_children();
    return false;
}

int local_ranks_threads(const Launch *launch) {
    cpu_set_t allowed;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (launch->local_size == 1 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 0;
    int available = CPU_COUNT(&allowed);
    if (available < online && strcmp(launch->launcher, "--ranks") != 0) return 0;
    int threads = available / launch->local_size;
    return threads < 1 ? 1 : threads;
}
