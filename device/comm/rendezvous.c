// How the ranks of a run find each other: every rank tells rank 0 where it listens, gets the table of all, and
// connects to the ranks below its own.
#include "device/comm/internal.h"
#include "device/comm/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char MAGIC[8] = "polar.1"; // the version of the protocol
static const double HELLO_S = 5;        // for a hello from whoever has connected

// What a rank tells rank 0, and rank 0 all.
typedef struct {
    char magic[8];
    int32_t rank, size;
    int64_t job;
    char host[64];    // name
    uint32_t address; // as rank 0 sees it
    int32_t port;     // where it listens for data from other hosts; 0: nowhere
} Hello;

static void local_name(char name[96], const Launch *l, int rank) {
    snprintf(name, 96, "polar/%ld/%ld/%d", (long)getuid(), l->job, rank); // rank -1: the rendezvous
}

typedef struct {
    Comm *comm;
    const Launch *launch;
    double deadline, timeout_s;
    Hello own, *all;      // all: (size)
    int local, tcp, meet; // listeners for data on this host and from others, and of the rendezvous
} Meeting;

static bool is_on_one_host(const Meeting *m) {
    return m->launch->host[0] == 0;
}

static bool listen_for_data(Meeting *m, Error *err) {
    char name[96];
    int port = 0;
    local_name(name, m->launch, m->comm->rank);
    m->local = socket_listen_local(name);
    if (m->local < 0 && errno == EADDRINUSE)
        return error_set(err, "rank %d of this job is running on this host already", m->comm->rank);
    if (!is_on_one_host(m)) m->tcp = socket_listen_tcp(0, &port);
    if (m->local < 0 || (m->tcp < 0 && !is_on_one_host(m)))
        return error_set(err, "cannot listen for other ranks: %s", strerror(errno));
    memcpy(m->own.magic, MAGIC, sizeof MAGIC);
    m->own.rank = m->comm->rank, m->own.size = m->comm->size, m->own.job = m->launch->job, m->own.port = port;
    gethostname(m->own.host, sizeof m->own.host - 1);
    return true;
}

static bool missing_ranks(const Meeting *m, Error *err) {
    char list[512] = "";
    size_t used = 0;
    int came = 0;
    for (int r = 0; r < m->comm->size; r++) {
        came += r == 0 || m->comm->control[r] >= 0;
        if (r > 0 && m->comm->control[r] < 0 && used < sizeof list - 16)
            used += (size_t)snprintf(list + used, sizeof list - used, " %d", r);
    }
    return error_set(err, "after %g s only %d of %d ranks have come; missing:%s (--rendezvous-timeout)",
                     m->timeout_s, came, m->comm->size, list);
}

// Rank 0: waits for all others, and sends the table.
static bool receive_all(Meeting *m, Error *err) {
    Comm *c = m->comm;
    char name[96];
    int bound;
    local_name(name, m->launch, -1);
    m->meet = is_on_one_host(m) ? socket_listen_local(name) : socket_listen_tcp(m->launch->port, &bound);
    if (m->meet < 0)
        return error_set(err, "rank 0 cannot listen at %s:%d for the other ranks: %s",
                         is_on_one_host(m) ? "this host" : m->launch->host, m->launch->port, strerror(errno));
    m->all[0] = m->own;
    for (int came = 1; came < c->size;) {
        uint32_t address;
        int fd = socket_accept(m->meet, &address, m->deadline);
        if (fd < 0) return missing_ranks(m, err);
        Hello h;
        bool ok = socket_receive(fd, &h, sizeof h, socket_now() + HELLO_S) &&
                  !memcmp(h.magic, MAGIC, sizeof MAGIC) && h.size == c->size && h.rank > 0 && h.rank < c->size &&
                  c->control[h.rank] < 0;
        if (ok && is_on_one_host(m)) ok = h.job == m->own.job;
        if (!ok) { // of another run, or no rank at all
            close(fd);
            continue;
        }
        h.address = address;
        h.host[sizeof h.host - 1] = 0;
        m->all[h.rank] = h, c->control[h.rank] = fd, came++;
    }
    for (int r = 1; r < c->size; r++)
        if (!socket_send(c->control[r], m->all, (size_t)c->size * sizeof *m->all))
            return error_set(err, "rank %d has ended while the ranks were meeting", r);
    return true;
}

static bool report_to_rank_0(Meeting *m, Error *err) {
    Comm *c = m->comm;
    char name[96];
    uint32_t address = 0;
    local_name(name, m->launch, -1);
    if (!is_on_one_host(m) && !socket_resolve(&address, m->launch->host, err)) return false;
    c->control[0] = is_on_one_host(m) ? socket_connect_local(name, m->deadline)
                                      : socket_connect_tcp(address, m->launch->port, m->deadline);
    if (c->control[0] < 0 || !socket_send(c->control[0], &m->own, sizeof m->own) ||
        !socket_receive(c->control[0], m->all, (size_t)c->size * sizeof *m->all, m->deadline + HELLO_S))
        return error_set(err, "rank %d did not reach rank 0 within %g s (--rendezvous-timeout)", c->rank,
                         m->timeout_s);
    if (address) m->all[0].address = address;
    return true;
}

// Rank i connects to all below it, and waits for those above.
static bool connect_mesh(Meeting *m, Error *err) {
    Comm *c = m->comm;
    char name[96];
    for (int r = 0; r < c->rank; r++) {
        int32_t own = c->rank;
        bool same_host = is_on_one_host(m) || !strcmp(m->all[r].host, m->own.host);
        Launch there = *m->launch;
        there.job = (long)m->all[r].job;
        local_name(name, &there, r);
        c->data[r] = same_host ? socket_connect_local(name, m->deadline)
                               : socket_connect_tcp(m->all[r].address, m->all[r].port, m->deadline);
        if (c->data[r] < 0 || !socket_send(c->data[r], &own, sizeof own))
            return error_set(err, "rank %d cannot reach rank %d on %s", c->rank, r, m->all[r].host);
    }
    for (int r = c->rank + 1; r < c->size;) {
        uint32_t address;
        bool same_host = is_on_one_host(m) || !strcmp(m->all[r].host, m->own.host);
        int32_t peer = -1;
        int fd = socket_accept(same_host ? m->local : m->tcp, &address, m->deadline);
        if (fd < 0) return error_set(err, "rank %d waited for rank %d in vain", c->rank, r);
        if (!socket_receive(fd, &peer, sizeof peer, socket_now() + HELLO_S) || peer <= c->rank || peer >= c->size ||
            c->data[peer] >= 0) {
            close(fd);
            continue;
        }
        c->data[peer] = fd;
        while (r < c->size && c->data[r] >= 0) r++;
    }
    for (int r = 0; r < c->size; r++)
        if (c->data[r] >= 0) socket_set_for_data(c->data[r]);
    return true;
}

bool rendezvous(Comm *comm, const Launch *launch, double timeout_s, Error *err) {
    Meeting m = {.comm = comm,
                 .launch = launch,
                 .deadline = socket_now() + timeout_s,
                 .timeout_s = timeout_s,
                 .local = -1,
                 .tcp = -1,
                 .meet = -1,
                 .all = calloc((size_t)comm->size, sizeof *m.all)};
    ASSERT(m.all);
    bool ok = listen_for_data(&m, err) && (comm->rank == 0 ? receive_all(&m, err) : report_to_rank_0(&m, err)) &&
              connect_mesh(&m, err);
    if (m.local >= 0) close(m.local);
    if (m.tcp >= 0) close(m.tcp);
    if (m.meet >= 0) close(m.meet);
    free(m.all);
    return ok;
}
