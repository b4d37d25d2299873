// base/signals.h - SIGTERM, SIGINT and SIGUSR1 make a run finish its step, write a checkpoint and exit.
#ifndef POLAR_BASE_SIGNALS_H
#define POLAR_BASE_SIGNALS_H

enum { EXIT_STOPPED = 75 }; // exit status of a stopped run that --resume continues (EX_TEMPFAIL)

// From now on the three signals only set a flag; a second SIGINT ends the process at once. SIGPIPE is ignored, so
// that a run survives the terminal or pager that displays it. `notice` is printed after the signal's name at once, so
// that the sender sees that it was received: the current step may take minutes. NULL: nothing is printed.
void signals_install(const char *notice);
// Sets the descriptor of the run's log, to which the notice is also written; -1: none.
void signals_set_log(int fd);

// Returns the first signal received; 0 if none.
int signals_received(void);
const char *signals_name(int signal_number);
#endif
