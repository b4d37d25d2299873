#include "device/comm/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 4096, BUFFER = 4 << 20, LOST_MS = 10000 };

double socket_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Milliseconds until the deadline, for poll.
static int left_ms(double deadline) {
    double left = 1e3 * (deadline - socket_now());
    return left <= 0 ? 0 : left > 1e6 ? 1000000 : (int)left + 1;
}

// The abstract name of a Unix socket: no file.
static socklen_t local_address(struct sockaddr_un *a, const char *name) {
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%s", name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int close_keeping_errno(int fd) {
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int socket_listen_local(const char *name) {
    struct sockaddr_un a;
    socklen_t size = local_address(&a, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (bind(fd, (const struct sockaddr *)&a, size) != 0 || listen(fd, BACKLOG) != 0)
        return close_keeping_errno(fd);
    return fd;
}

static int connect_until(const struct sockaddr *a, socklen_t size, double deadline) {
    for (useconds_t pause = 1000;; pause = pause < 200000 ? 2 * pause : pause) {
        int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) return -1;
        if (connect(fd, a, size) == 0) return fd;
        close_keeping_errno(fd);
        if (socket_now() >= deadline) return -1;
        usleep(pause);
    }
}

int socket_connect_local(const char *name, double deadline) {
    struct sockaddr_un a;
    socklen_t size = local_address(&a, name);
    return connect_until((const struct sockaddr *)&a, size, deadline);
}

static struct sockaddr_in tcp_address(uint32_t address, int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = address, .sin_port = htons((uint16_t)port)};
}

int socket_listen_tcp(int port, int *bound) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = tcp_address(INADDR_ANY, port);
    socklen_t size = sizeof a;
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&a, size) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &size) != 0)
        return close_keeping_errno(fd);
    *bound = ntohs(a.sin_port);
    return fd;
}

int socket_connect_tcp(uint32_t address, int port, double deadline) {
    struct sockaddr_in a = tcp_address(address, port);
    return connect_until((const struct sockaddr *)&a, sizeof a, deadline);
}

bool socket_resolve(uint32_t *address, const char *host, Error *err) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int status = getaddrinfo(host, NULL, &hints, &found);
    if (status != 0)
        return error_set(err, "the host of rank 0, %.200s, is not known here: %s", host, gai_strerror(status));
    struct sockaddr_in a;
    memcpy(&a, found->ai_addr, sizeof a);
    *address = a.sin_addr.s_addr;
    freeaddrinfo(found);
    return true;
}

int socket_accept(int listener, uint32_t *address, double deadline) {
    struct pollfd wait = {listener, POLLIN, 0};
    struct sockaddr_in from = {0};
    socklen_t size = sizeof from;
    int n;
    while ((n = poll(&wait, 1, left_ms(deadline))) < 0 && errno == EINTR) {
    }
    if (n <= 0) return -1;
    int fd = accept4(listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC);
    *address = from.sin_family == AF_INET ? from.sin_addr.s_addr : 0;
    return fd;
}

bool socket_send(int fd, const void *data, size_t bytes) {
    for (const char *p = data; bytes > 0;) {
        ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n, bytes -= (size_t)n;
    }
    return true;
}

bool socket_receive(int fd, void *data, size_t bytes, double deadline) {
    for (char *p = data; bytes > 0;) {
        struct pollfd wait = {fd, POLLIN, 0};
        int ready = poll(&wait, 1, left_ms(deadline));
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return false;
        ssize_t n = recv(fd, p, bytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n, bytes -= (size_t)n;
    }
    return true;
}

void socket_set_for_data(int fd) {
    int one = 1, bytes = BUFFER, lost = LOST_MS;
    // The first two fail on Unix sockets, which need neither.
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost, sizeof lost);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
}
