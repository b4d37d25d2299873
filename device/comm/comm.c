#include "device/comm/comm.h"

#include "device/comm/internal.h"
#include "device/comm/sockets.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// The watching thread ends the process before this if a rank is gone.
static const unsigned GONE_S = 15;

static void free_comm(Comm *c) {
    for (int r = 0; r < c->size; r++) {
        if (c->data && c->data[r] >= 0) close(c->data[r]);
        if (c->control && c->control[r] >= 0) close(c->control[r]);
    }
    free(c->data), free(c->control), free(c->heard), free(c->left), free(c->scratch);
    free(c);
}

Comm *comm_open(const Launch *launch, double timeout_s, Error *err) {
    Comm *c = calloc(1, sizeof *c);
    ASSERT(c);
    c->rank = launch->rank, c->size = launch->size;
    if (c->size == 1) return c;
    c->data = malloc((size_t)c->size * sizeof *c->data);
    c->control = malloc((size_t)c->size * sizeof *c->control);
    ASSERT(c->data && c->control);
    for (int r = 0; r < c->size; r++) c->data[r] = c->control[r] = -1;
    if (rendezvous(c, launch, timeout_s, err) && watch_start(c, err)) return c;
    free_comm(c);
    return NULL;
}

void comm_close(Comm *c) {
    if (c == NULL) return;
    Error ignored;
    if (c->watching && !atomic_load(&c->failing) && comm_all_ok(c, true, &ignored)) watch_end(c);
    else if (c->watching) _exit(1); // the thread still uses it
    free_comm(c);
}

int comm_rank(const Comm *c) {
    return c ? c->rank : 0;
}
int comm_size(const Comm *c) {
    return c ? c->size : 1;
}
int64_t comm_bytes_sent(const Comm *c) {
    return c->bytes_sent;
}

static void *scratch(Comm *c, size_t bytes) {
    if (bytes > c->scratch_bytes) {
        free(c->scratch);
        c->scratch = malloc(c->scratch_bytes = bytes);
        ASSERT(c->scratch);
    }
    return c->scratch;
}

// Progress of an exchange with one peer.
typedef struct {
    size_t sent, received;
} Progress;

// Moves what can be moved without waiting; returns false if the peer is gone.
static bool move(Comm *c, int r, const CommPiece *out, const CommPiece *in, Progress *p) {
    if (p->received < in->bytes) {
        ssize_t n = recv(c->data[r], (char *)in->data + p->received, in->bytes - p->received, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return false;
        if (n > 0) p->received += (size_t)n;
    }
    if (p->sent < out->bytes) {
        ssize_t n =
            send(c->data[r], (const char *)out->data + p->sent, out->bytes - p->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (n > 0) p->sent += (size_t)n;
    }
    return true;
}

bool comm_exchange(Comm *c, const CommPiece *send_, const CommPiece *recv_, Error *err) {
    const CommPiece *to_self = &send_[c->rank], *from_self = &recv_[c->rank];
    ASSERT(to_self->bytes == from_self->bytes);
    if (to_self->bytes && to_self->data != from_self->data) memmove(from_self->data, to_self->data, to_self->bytes);
    Progress *progress = calloc((size_t)c->size, sizeof *progress);
    struct pollfd *wait = calloc((size_t)c->size, sizeof *wait);
    ASSERT(progress && wait);
    bool ok = true;
    for (int open = 1; open > 0 && ok;) {
        open = 0;
        for (int r = 0; r < c->size; r++) {
            bool in = r != c->rank && progress[r].received < recv_[r].bytes;
            bool out = r != c->rank && progress[r].sent < send_[r].bytes;
            wait[r] =
                (struct pollfd){in || out ? c->data[r] : -1, (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0)), 0};
            open += in || out;
        }
        if (open > 0 && poll(wait, (nfds_t)c->size, 1000) < 0 && errno != EINTR) ok = false;
        for (int r = 0; r < c->size && ok; r++)
            if (wait[r].fd >= 0 && wait[r].revents && !move(c, r, &send_[r], &recv_[r], &progress[r])) {
                sleep(GONE_S);
                ok = error_set(err, "rank %d is gone", r);
            }
    }
    for (int r = 0; r < c->size; r++) c->bytes_sent += r == c->rank ? 0 : (int64_t)send_[r].bytes;
    free(progress), free(wait);
    return ok;
}

bool comm_all_gather(Comm *c, void *all, const void *own, size_t bytes, Error *err) {
    CommPiece *pieces = malloc(2 * (size_t)c->size * sizeof *pieces);
    ASSERT(pieces);
    for (int r = 0; r < c->size; r++) {
        pieces[r] = (CommPiece){(void *)(uintptr_t)own, bytes};
        pieces[c->size + r] = (CommPiece){(char *)all + (size_t)r * bytes, bytes};
    }
    bool ok = comm_exchange(c, pieces, pieces + c->size, err);
    free(pieces);
    return ok;
}

bool comm_all_ok(Comm *c, bool ok, Error *err) {
    typedef struct {
        bool ok;
        Error error;
    } State;
    if (c == NULL || c->size == 1) return ok;
    State own = {.ok = ok}, *all = scratch(c, (size_t)c->size * sizeof own);
    if (!ok) own.error = *err;
    if (!comm_all_gather(c, all, &own, sizeof own, err)) return false;
    for (int r = 0; r < c->size; r++)
        if (!all[r].ok) {
            all[r].error.text[sizeof all[r].error.text - 1] = 0;
            return r == 0 ? error_set(err, "%s", all[r].error.text)
                          : error_set(err, "rank %d: %s", r, all[r].error.text);
        }
    return true;
}

bool comm_add(Comm *c, double *x, int64_t n, Error *err) {
    if (c == NULL || c->size == 1) return true;
    double *all = scratch(c, (size_t)(c->size * n) * sizeof *all);
    if (!comm_all_gather(c, all, x, (size_t)n * sizeof *x, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        x[i] = 0;
        for (int r = 0; r < c->size; r++) x[i] += all[r * n + i];
    }
    return true;
}

bool comm_same(Comm *c, const char *what, const void *value, size_t bytes, Error *err) {
    if (c == NULL || c->size == 1) return true;
    char *all = scratch(c, (size_t)c->size * bytes);
    if (!comm_all_gather(c, all, value, bytes, err)) return false;
    for (int r = 1; r < c->size; r++)
        if (memcmp(all, all + (size_t)r * bytes, bytes) != 0)
            return error_set(err,
                             "%s of rank %d is not that of rank 0: start all ranks with the same program and "
                             "options, on the same data",
                             what, r);
    return true;
}
