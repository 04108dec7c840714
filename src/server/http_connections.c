/* Connections: the table, and the thread that notices who hangs up and who is too slow. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/os.h"
#include "server/http_state.h"

enum { SCAN_MS = 250, GRACE_NS = 500000000, MAX_EVENTS = 64 };

/* ---- The table ---------------------------------------------------------------------------------
 */

static void print_peer(const struct sockaddr *address, char out[NANO_HTTP_PEER_BYTES])
{
    char host[NANO_HTTP_PEER_BYTES - 10], port[8];
    socklen_t length =
        address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    bool named = (address->sa_family == AF_INET || address->sa_family == AF_INET6) &&
                 getnameinfo(address, length, host, sizeof host, port, sizeof port,
                             NI_NUMERICHOST | NI_NUMERICSERV) == 0;
    if (named)
        snprintf(out, NANO_HTTP_PEER_BYTES, address->sa_family == AF_INET ? "%s:%s" : "[%s]:%s",
                 host, port);
    else
        snprintf(out, NANO_HTTP_PEER_BYTES, "unix");
}

struct nano_http_connection *nano_http_connection_open(struct nano_http_server *server, int fd,
                                                       const struct sockaddr *address)
{
    struct nano_http_connection *connection = nano_mem_calloc(1, sizeof *connection);
    if (!connection)
        return NULL;
    connection->server = server;
    connection->fd = fd;
    connection->since_ns = nano_os_clock_ns();
    if (address)
        print_peer(address, connection->peer);
    pthread_mutex_lock(&server->lock);
    size_t old_capacity = server->by_fd_capacity;
    if (!nano_mem_grow((void **)&server->by_fd, &server->by_fd_capacity, (size_t)fd + 1,
                       sizeof *server->by_fd)) {
        pthread_mutex_unlock(&server->lock);
        nano_mem_free(connection);
        return NULL;
    }
    for (size_t i = old_capacity; i < server->by_fd_capacity; i++)
        server->by_fd[i] = NULL;
    server->by_fd[fd] = connection;
    connection->serial = ++server->last_serial;
    struct epoll_event event = {.events = EPOLLRDHUP};
    event.data.u64 = (uint64_t)connection->serial << 32 | (uint32_t)fd;
    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event); /* closing it takes it out again */
    connection->next = server->connections;
    if (connection->next)
        connection->next->prev = connection;
    server->connections = connection;
    pthread_mutex_unlock(&server->lock);
    return connection;
}

/* Under the server's lock. */
static void set_state(struct nano_http_connection *connection,
                      enum nano_http_connection_state state)
{
    struct nano_http_server *server = connection->server;
    bool was_busy = connection->state >= NANO_HTTP_WORKING, is_busy = state >= NANO_HTTP_WORKING;
    if (connection->state == NANO_HTTP_RECEIVING)
        server->num_receiving--;
    if (state == NANO_HTTP_RECEIVING)
        server->num_receiving++;
    if (is_busy && !was_busy)
        server->num_busy++;
    if (was_busy && !is_busy)
        server->num_busy--;
    if (state == NANO_HTTP_IDLE)
        connection->exchange = NULL;
    connection->state = state;
    connection->since_ns = nano_os_clock_ns();
    pthread_cond_broadcast(&server->changed);
}

void nano_http_connection_set_state(struct nano_http_connection *connection,
                                    enum nano_http_connection_state state)
{
    pthread_mutex_lock(&connection->server->lock);
    set_state(connection, state);
    pthread_mutex_unlock(&connection->server->lock);
}

void nano_http_connection_close(struct nano_http_connection *connection)
{
    struct nano_http_server *server = connection->server;
    pthread_mutex_lock(&server->lock);
    set_state(connection, NANO_HTTP_IDLE);
    if (server->by_fd[connection->fd] == connection)
        server->by_fd[connection->fd] = NULL;
    if (connection->next)
        connection->next->prev = connection->prev;
    if (connection->prev)
        connection->prev->next = connection->next;
    else
        server->connections = connection->next;
    pthread_mutex_unlock(&server->lock);
    nano_mem_free(connection);
}

/* ---- The watcher -------------------------------------------------------------------------------
 */

/* Under the server's lock. libmicrohttpd notices that the socket has ended, unless the connection
 * is suspended; then its exchange, which the caller has to tell, is returned with a reference. */
static struct nano_http_exchange *cut_off(struct nano_http_connection *connection)
{
    struct nano_http_exchange *exchange = connection->exchange;
    struct epoll_event event = {0};
    connection->cut_off = true;
    epoll_ctl(connection->server->epoll_fd, EPOLL_CTL_DEL, connection->fd, &event);
    shutdown(connection->fd, SHUT_RDWR);
    if (!exchange || connection->state < NANO_HTTP_WORKING)
        return NULL;
    pthread_mutex_lock(&exchange->lock);
    exchange->num_references++;
    pthread_mutex_unlock(&exchange->lock);
    return exchange;
}

static void tell_gone(struct nano_http_exchange *exchange)
{
    nano_http_exchange_client_gone(exchange);
    nano_http_exchange_release(exchange);
}

/* Under the server's lock: what it sent before may still be read and perhaps answered. */
static void note_hang_up(struct nano_http_connection *connection)
{
    struct epoll_event event = {0};
    connection->hung_up_ns = nano_os_clock_ns();
    epoll_ctl(connection->server->epoll_fd, EPOLL_CTL_DEL, connection->fd, &event);
}

static void hang_up(struct nano_http_server *server, uint64_t key)
{
    size_t fd = (uint32_t)key;
    struct nano_http_exchange *exchange = NULL;
    pthread_mutex_lock(&server->lock);
    struct nano_http_connection *connection =
        fd < server->by_fd_capacity ? server->by_fd[fd] : NULL;
    bool is_its = connection && connection->serial == key >> 32 && !connection->cut_off;
    if (is_its && connection->state >= NANO_HTTP_WORKING)
        exchange = cut_off(connection);
    else if (is_its)
        note_hang_up(connection);
    pthread_mutex_unlock(&server->lock);
    if (exchange)
        tell_gone(exchange);
}

static bool has_passed(uint64_t since_ns, uint64_t now_ns, uint64_t limit_ns)
{
    return now_ns > since_ns && now_ns - since_ns > limit_ns;
}

/* Whether the client has used up its time to take some of its answer, or has gone. Of whole answers
 * libmicrohttpd itself sees when they stop moving. */
static bool is_answer_stuck(struct nano_http_exchange *exchange, uint64_t now_ns,
                            uint64_t timeout_ns)
{
    pthread_mutex_lock(&exchange->lock);
    bool has_to_take = exchange->answer == NANO_HTTP_STREAM && !exchange->suspended;
    uint64_t progress_ns = atomic_load_explicit(&exchange->progress_ns, memory_order_relaxed);
    bool stuck = exchange->gone || (has_to_take && has_passed(progress_ns, now_ns, timeout_ns));
    pthread_mutex_unlock(&exchange->lock);
    return stuck;
}

/* Under the server's lock: whether the client has used up its time. */
static bool is_too_slow(const struct nano_http_connection *connection, uint64_t now_ns)
{
    const struct nano_http_config *config = &connection->server->config;
    uint64_t timeout_ns = (uint64_t)config->timeout_s * 1000000000u;
    uint64_t keep_alive_ns = (uint64_t)config->keep_alive_s * 1000000000u;
    if (connection->hung_up_ns != 0)
        return has_passed(connection->hung_up_ns, now_ns, GRACE_NS);
    switch (connection->state) {
    case NANO_HTTP_IDLE:
        return has_passed(connection->since_ns, now_ns, keep_alive_ns);
    case NANO_HTTP_RECEIVING:
        return has_passed(connection->since_ns, now_ns, timeout_ns);
    case NANO_HTTP_WORKING:
        return false;
    case NANO_HTTP_ANSWERING:
        return is_answer_stuck(connection->exchange, now_ns, timeout_ns);
    }
    return false;
}

/* Cuts off one connection that `cut` says, if there is any. */
static bool cut_off_one(struct nano_http_server *server,
                        bool (*cut)(const struct nano_http_connection *connection, uint64_t now_ns))
{
    struct nano_http_exchange *exchange = NULL;
    struct nano_http_connection *connection;
    uint64_t now_ns = nano_os_clock_ns();
    pthread_mutex_lock(&server->lock);
    for (connection = server->connections; connection; connection = connection->next)
        if (!connection->cut_off && cut(connection, now_ns))
            break;
    if (connection)
        exchange = cut_off(connection);
    pthread_mutex_unlock(&server->lock);
    if (exchange)
        tell_gone(exchange);
    return connection != NULL;
}

static bool is_there(const struct nano_http_connection *connection, uint64_t now_ns)
{
    (void)connection, (void)now_ns;
    return true;
}

void nano_http_connections_cut(struct nano_http_server *server)
{
    while (cut_off_one(server, is_there))
        continue;
}

static void *run_watcher(void *user_data)
{
    struct nano_http_server *server = user_data;
    struct epoll_event events[MAX_EVENTS];
    uint64_t scanned_ns = 0;
    while (!atomic_load(&server->stopping)) {
        int num_events = epoll_wait(server->epoll_fd, events, MAX_EVENTS, SCAN_MS);
        for (int i = 0; i < num_events; i++)
            if (events[i].data.u64 != 0)
                hang_up(server, events[i].data.u64);
        uint64_t now_ns = nano_os_clock_ns();
        if (now_ns - scanned_ns < SCAN_MS * 1000000u)
            continue;
        scanned_ns = now_ns;
        while (cut_off_one(server, is_too_slow))
            continue;
    }
    return NULL;
}

enum nano_status nano_http_watch_start(struct nano_http_server *server, struct nano_error *err)
{
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->wake_fd = eventfd(0, EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN}; /* data 0: no connection's */
    if (server->epoll_fd < 0 || server->wake_fd < 0 ||
        epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->wake_fd, &event) != 0)
        return nano_error_set(err, NANO_ERR_IO, "the server cannot watch its connections: error %d",
                              errno);
    if (pthread_create(&server->watcher, NULL, run_watcher, server) != 0)
        return nano_error_set(err, NANO_ERR_NO_MEMORY,
                              "the thread that watches connections cannot be started");
    server->watcher_started = true;
    return NANO_OK;
}

void nano_http_watch_stop(struct nano_http_server *server)
{
    uint64_t one = 1;
    atomic_store(&server->stopping, true);
    if (server->watcher_started) {
        if (write(server->wake_fd, &one, sizeof one) != (ssize_t)sizeof one)
            nano_os_spin_pause(); /* it wakes up by itself a little later */
        pthread_join(server->watcher, NULL);
        server->watcher_started = false;
    }
    if (server->epoll_fd >= 0)
        close(server->epoll_fd);
    if (server->wake_fd >= 0)
        close(server->wake_fd);
}
