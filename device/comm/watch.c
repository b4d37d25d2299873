// The thread that ends all ranks when one has failed. Rank 0 hears from all others, and they from rank 0, every
// second.
#include "base/thread.h"
#include "device/comm/comm.h"
#include "device/comm/internal.h"
#include "device/comm/sockets.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const double BEAT_S = 1, SILENCE_S = 10, READ_S = 2;
static const useconds_t OWN_END_US = 300000; // a rank that fails for the same reason may say so itself

typedef enum { MESSAGE_ALIVE = 1, MESSAGE_FAILED, MESSAGE_GOODBYE } MessageKind;

typedef struct {
    int32_t kind, rank;
    char text[1024];
} Message;

static int peers_of(const Comm *c) {
    return c->rank == 0 ? c->size : 1;
}

// A peer that does not read is found by its silence.
static void tell(int fd, const Message *m) {
    if (fd >= 0 && send(fd, m, sizeof *m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return;
}

static void tell_all(const Comm *c, MessageKind kind, int rank, const char *text) {
    Message m = {.kind = (int32_t)kind, .rank = rank};
    snprintf(m.text, sizeof m.text, "%s", text);
    for (int i = 0; i < peers_of(c); i++)
        tell(c->control[i], &m); // also to those who have left: they may still listen
}

// Ends this process because of another rank. Rank 0 prints why; if it is rank 0 that is gone, rank 1 does.
static void end(Comm *c, int rank, const char *text) {
    usleep(OWN_END_US);
    if (atomic_load(&c->failing) || atomic_load(&c->stop)) return; // the main thread is ending it
    if (c->rank == 0) tell_all(c, MESSAGE_FAILED, rank, text);
    if (c->rank == 0 || (rank == 0 && c->rank == 1)) fprintf(stderr, "error: rank %d: %s\n", rank, text);
    _exit(1);
}

static void read_message(Comm *c, int i) {
    Message m;
    if (!socket_receive(c->control[i], &m, sizeof m, socket_now() + READ_S)) {
        end(c, c->rank == 0 ? i : 0, "it is gone: killed, or crashed");
        c->left[i] = true;
        return;
    }
    c->heard[i] = socket_now();
    m.text[sizeof m.text - 1] = 0;
    if (m.kind == MESSAGE_FAILED) end(c, m.rank, m.text);
    if (m.kind == MESSAGE_GOODBYE) c->left[i] = true;
}

static void *watch(void *argument) {
    Comm *c = argument;
    int n = peers_of(c);
    double beat = 0;
    struct pollfd *wait = calloc((size_t)n, sizeof *wait);
    ASSERT(wait);
    while (!atomic_load(&c->stop)) {
        if (socket_now() - beat > BEAT_S) tell_all(c, MESSAGE_ALIVE, c->rank, ""), beat = socket_now();
        for (int i = 0; i < n; i++) wait[i] = (struct pollfd){c->left[i] ? -1 : c->control[i], POLLIN, 0};
        poll(wait, (nfds_t)n, 200);
        for (int i = 0; i < n; i++) {
            if (wait[i].fd < 0) continue;
            if (wait[i].revents) read_message(c, i);
            else if (socket_now() - c->heard[i] > SILENCE_S)
                end(c, c->rank == 0 ? i : 0, "it has not answered for 10 s: stopped, or its host is unreachable");
        }
    }
    free(wait);
    return NULL;
}

bool watch_start(Comm *c, Error *err) {
    size_t n = (size_t)peers_of(c);
    c->heard = calloc(n, sizeof *c->heard);
    c->left = calloc(n, sizeof *c->left);
    ASSERT(c->heard && c->left);
    for (size_t i = 0; i < n; i++) c->heard[i] = socket_now();
    int status = thread_start(&c->watcher, watch, c);
    c->watching = status == 0;
    return c->watching || error_set(err, "cannot start the thread that watches the ranks: %s", strerror(status));
}

void watch_end(Comm *c) {
    tell_all(c, MESSAGE_GOODBYE, c->rank, "");
    atomic_store(&c->stop, true);
    pthread_join(c->watcher, NULL);
}

void comm_fail(Comm *c, const char *text) {
    static Comm *failed; // the thread still uses it, so it is not freed
    if (c == NULL || c->size == 1 || !c->watching) return;
    failed = c;
    atomic_store(&failed->failing, true);
    tell_all(c, MESSAGE_FAILED, c->rank, text);
    if (c->rank > 0) _exit(1);
}
