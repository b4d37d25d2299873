// device/comm/sockets.h - stream sockets between ranks: Unix sockets on one host, TCP between hosts. Internal to
// device/comm/.
#ifndef POLAR_DEVICE_COMM_SOCKETS_H
#define POLAR_DEVICE_COMM_SOCKETS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

double socket_now(void); // seconds of a monotonic clock; deadlines are in it

// A Unix socket with a name that disappears with its last descriptor. Returns -1 on failure (errno).
int socket_listen_local(const char *name);
int socket_connect_local(const char *name, double deadline); // retries until the deadline

// TCP. port 0: any; *bound becomes the port.
int socket_listen_tcp(int port, int *bound);
int socket_connect_tcp(uint32_t address, int port, double deadline);
bool socket_resolve(uint32_t *address, const char *host, Error *err);

// Waits for a connection. Returns -1 at the deadline. *address: of the peer; 0 on a Unix socket.
int socket_accept(int listener, uint32_t *address, double deadline);

// Whole messages. Return false if the peer is gone, or at the deadline.
bool socket_send(int fd, const void *data, size_t bytes);
bool socket_receive(int fd, void *data, size_t bytes, double deadline);

// Large buffers, no delay, not blocking: for data.
void socket_set_for_data(int fd);
#endif
