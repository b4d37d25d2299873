// device/comm/comm.h - communication between the ranks of a run: rendezvous, exchange of data, agreement, failure.
//
// Ranks form a full mesh of sockets for data, and each has a control connection to rank 0. A thread per rank watches
// those: if a rank fails, is killed or stops answering, all ranks end within seconds, and rank 0 prints why. All calls
// are collective: every rank makes the same ones in the same order. Nothing is summed here (dist/ does that), so bytes
// arrive as they were sent. With one rank nothing is sent; a NULL Comm is one rank, too.
#ifndef POLAR_DEVICE_COMM_COMM_H
#define POLAR_DEVICE_COMM_COMM_H

#include "base/error.h"
#include "device/comm/launch.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Comm Comm;

// Meets the other ranks. Errors: ranks that have not come after timeout_s (they are named), an address that is in use.
Comm *comm_open(const Launch *launch, double timeout_s, Error *err);

// Ends the communication of a run that has succeeded, on all ranks, and frees it. NULL is allowed.
void comm_close(Comm *comm);

int comm_rank(const Comm *comm);
int comm_size(const Comm *comm);

// Bytes sent to other ranks so far.
int64_t comm_bytes_sent(const Comm *comm);

// A piece of host memory.
typedef struct {
    void *data;
    size_t bytes;
} CommPiece;

// Sends send[r] to every rank r and receives recv[r] from it; the piece for oneself is copied. Sizes must match those
// of the peers. Errors: a rank is gone.
bool comm_exchange(Comm *comm, const CommPiece *send, const CommPiece *recv, Error *err);

// all (size, bytes) = the `own` of every rank.
bool comm_all_gather(Comm *comm, void *all, const void *own, size_t bytes, Error *err);

// Returns true when all ranks have called it with `ok`; else the error of the first rank that has not, on all ranks.
bool comm_all_ok(Comm *comm, bool ok, Error *err);

// Errors: `value` (bytes) is not the same on all ranks; `what` says what it is.
bool comm_same(Comm *comm, const char *what, const void *value, size_t bytes, Error *err);

// x (n) = the sums over all ranks of their x, in which only one rank's element is not 0: so every sum is exact.
bool comm_add(Comm *comm, double *x, int64_t n, Error *err);

// Tells all ranks that this one has failed: they end with status 1, and rank 0 prints the text. Returns on rank 0,
// whose caller prints it.
void comm_fail(Comm *comm, const char *text);
#endif
