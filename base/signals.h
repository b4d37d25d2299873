// base/signals.h - SIGTERM, SIGINT and SIGUSR1 ask a run to finish its step, write a checkpoint and end.
#ifndef POLAR_BASE_SIGNALS_H
#define POLAR_BASE_SIGNALS_H

enum { EXIT_STOPPED = 75 }; // exit status of a run that a signal stopped and --resume continues (EX_TEMPFAIL)

// From now on the three signals only raise the flag; a second SIGINT ends the process at once. SIGPIPE is ignored:
// a run does not die with the terminal or pager it was watched through. `notice` is printed behind the signal's name at
// once, so that who sent it sees that it was heard: the step under way may take minutes. NULL: nothing is printed.
void signals_install(const char *notice);
// Where the notice goes beside standard output: the descriptor of the run's log, -1 before and after it.
void signals_set_log(int fd);

// The first signal that came; 0 if none.
int signals_received(void);
const char *signals_name(int signal_number);
#endif
