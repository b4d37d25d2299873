// run/cli/local_ranks.h - several ranks on this host without any launcher (--ranks N).
#ifndef POLAR_RUN_CLI_LOCAL_RANKS_H
#define POLAR_RUN_CLI_LOCAL_RANKS_H

#include "device/comm/launch.h"

// Starts n processes that go on from here as ranks 0 to n - 1: returns in them alone, with *launch filled in. This
// process waits for them, passes signals on, and exits with the status of the first that failed. Call before any
// thread is started. Errors: no more processes.
bool local_ranks_start(Launch *launch, int n, Error *err);

// Divides the processors among the ranks of this host. Returns the number of threads for each; 0, all that the
// process may use, if there is one rank, or the launcher has bound the ranks to processors.
int local_ranks_threads(const Launch *launch);
#endif
