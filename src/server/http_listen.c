/* Listening sockets: TCP over IPv4 or IPv6, and UNIX sockets. */
#include "server/http_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

/* Somebody answers on the socket. */
static bool is_in_use(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bool in_use = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    if (fd >= 0)
        close(fd);
    return in_use;
}

static enum nano_status listen_unix(int *out, const char *path, char *url, size_t url_bytes,
                                    struct nano_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat found;
    if (strlen(path) >= sizeof address.sun_path)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "%s: the path of a socket is at most %zu bytes long", path,
                              sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    /* A socket that a server left when it was killed is in the way; anything else is not ours. */
    if (lstat(path, &found) == 0 && S_ISSOCK(found.st_mode) && !is_in_use(&address))
        unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return nano_error_set(err, NANO_ERR_IO, "%s: cannot listen: %s", path, strerror(error));
    }
    snprintf(url, url_bytes, "unix:%s", path);
    *out = fd;
    return NANO_OK;
}

static int listen_at(const struct addrinfo *info)
{
    int one = 1;
    int fd = socket(info->ai_family, info->ai_socktype, info->ai_protocol);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static enum nano_status listen_tcp(int *out, const struct nano_http_config *config, char *url,
                                   size_t url_bytes, struct nano_error *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)config->port & 0xFFFFu);
    int result = getaddrinfo(config->host, port, &hints, &found);
    if (result != 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "host %s: %s", config->host,
                              gai_strerror(result));
    int fd = -1;
    for (const struct addrinfo *info = found; info && fd < 0; info = info->ai_next)
        fd = listen_at(info);
    int error = errno;
    freeaddrinfo(found);
    if (fd < 0)
        return nano_error_set(err, NANO_ERR_IO, "%s port %d: cannot listen: %s", config->host,
                              config->port, strerror(error));
    bool is_v6 = strchr(config->host, ':') != NULL;
    snprintf(url, url_bytes, "%s://%s%s%s:%d", config->ssl_certfile ? "https" : "http",
             is_v6 ? "[" : "", config->host, is_v6 ? "]" : "", bound_port(fd));
    *out = fd;
    return NANO_OK;
}

enum nano_status nano_http_listen(int *out, const struct nano_http_config *config, char *url,
                                  size_t url_bytes, struct nano_error *err)
{
    enum nano_status status = config->uds ? listen_unix(out, config->uds, url, url_bytes, err)
                                          : listen_tcp(out, config, url, url_bytes, err);
    if (status == NANO_OK) {
        fcntl(*out, F_SETFD, FD_CLOEXEC);
        fcntl(*out, F_SETFL, fcntl(*out, F_GETFL) | O_NONBLOCK); /* several threads accept */
    }
    return status;
}
