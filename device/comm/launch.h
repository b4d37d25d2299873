// device/comm/launch.h - the place of this process among the ranks of a run, from what its launcher has set.
#ifndef POLAR_DEVICE_COMM_LAUNCH_H
#define POLAR_DEVICE_COMM_LAUNCH_H

#include "base/error.h"

typedef struct {
    int rank, size;             // of all ranks
    int local_rank, local_size; // of the ranks on this host
    const char *launcher;       // "--ranks", "torchrun", "Open MPI", "srun", "Hydra"; NULL: a process alone
    char host[256];             // where rank 0 listens; empty: all ranks are on this host
    int port;
    long job; // the process that started the ranks of this host: it tells jobs on one host apart
} Launch;

// Reads the environment of torchrun, Open MPI (4 and 5), srun and Hydra (MPICH, Intel MPI); without any of them it is
// rank 0 of 1. `rendezvous`: HOST:PORT where rank 0 listens, or empty: what the launcher says. Errors: variables that
// contradict each other; ranks on several hosts and no address.
bool launch_detect(Launch *launch, const char *rendezvous, Error *err);
#endif
