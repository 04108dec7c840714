/* Sockets of the event loop: each has a function that is called when something happens to it. */
#ifndef NANO_BENCH_LOAD_SOCKET_H
#define NANO_BENCH_LOAD_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct load_socket {
    int fd; /* -1: none */
    /* `events` are epoll's. */
    void (*on_events)(struct load_socket *socket, uint32_t events, uint64_t now_ns);
};

struct load_target {
    struct sockaddr_storage address;
    socklen_t address_bytes;
    int epoll_fd;
};

/* Begins to connect, watched for `events`; receive_bytes 0: a buffer of the usual size. */
bool load_socket_connect(struct load_socket *socket, const struct load_target *target,
                         uint32_t events, int receive_bytes);
bool load_socket_watch(struct load_socket *socket, const struct load_target *target,
                       uint32_t events);
void load_socket_close(struct load_socket *socket);

/* Sends what the socket takes of the bytes, from *sent on; false when the connection is gone. */
bool load_socket_send(const struct load_socket *socket, const char *data, size_t num_bytes,
                      size_t *sent);

#endif
