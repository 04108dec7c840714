#include "load_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

bool load_socket_connect(struct load_socket *socket_, const struct load_target *target,
                         uint32_t events, int receive_bytes)
{
    int one = 1;
    struct epoll_event event = {.events = events, .data.ptr = socket_};
    int fd = socket(target->address.ss_family, SOCK_STREAM, 0);
    socket_->fd = fd;
    if (fd < 0)
        return false;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (receive_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    if ((connect(fd, (const struct sockaddr *)&target->address, target->address_bytes) == 0 ||
         errno == EINPROGRESS) &&
        epoll_ctl(target->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
        return true;
    load_socket_close(socket_);
    return false;
}

bool load_socket_watch(struct load_socket *socket, const struct load_target *target,
                       uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = socket};
    return epoll_ctl(target->epoll_fd, EPOLL_CTL_MOD, socket->fd, &event) == 0;
}

void load_socket_close(struct load_socket *socket)
{
    if (socket->fd >= 0)
        close(socket->fd);
    socket->fd = -1;
}

bool load_socket_send(const struct load_socket *socket, const char *data, size_t num_bytes,
                      size_t *sent)
{
    while (*sent < num_bytes) {
        ssize_t num = send(socket->fd, data + *sent, num_bytes - *sent, MSG_NOSIGNAL);
        if (num < 0 && errno == EINTR)
            continue;
        if (num < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        *sent += (size_t)num;
    }
    return true;
}
