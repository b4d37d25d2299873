// device/comm/internal.h - Comm, for the files of device/comm/.
#ifndef POLAR_DEVICE_COMM_INTERNAL_H
#define POLAR_DEVICE_COMM_INTERNAL_H

#include "base/error.h"
#include "device/comm/launch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Comm Comm;

struct Comm {
    int rank, size;
    int *data;    // (size) sockets for data; -1: oneself
    int *control; // rank 0: (size) control sockets, -1: oneself; others: [0] that of rank 0
    int64_t bytes_sent;
    void *scratch; // of comm_all_gather and others, grown on demand
    size_t scratch_bytes;
    // Of the watching thread.
    pthread_t watcher;
    bool watching;
    atomic_bool stop, failing;
    double *heard; // when a message last came on each control socket
    bool *left;    // the rank has said goodbye
};

// Connects data and control sockets of all ranks; comm has rank and size. Errors as comm_open.
bool rendezvous(Comm *comm, const Launch *launch, double timeout_s, Error *err);

bool watch_start(Comm *comm, Error *err);
void watch_end(Comm *comm); // after a barrier
#endif
