/* The server: libmicrohttpd's callbacks, what is refused before a handler sees it, and the end. */
#include "server/http_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/os.h"
#include "server/http_listen.h"
#include "server/http_state.h"

enum {
    CONNECTION_MEMORY_BYTES =
        32 * 1024, /* of a request's line and headers, and of each thing sent */
    MAX_DISCARDED_FACTOR =
        4 /* a refused body is read that many limits far, so that its client sees why */
};

/* ---- Before the handler ------------------------------------------------------------------------
 */

/* In time that does not tell how much of a key was right. */
static bool keys_equal(const char *given, size_t length, const char *key)
{
    size_t key_length = strlen(key);
    unsigned difference = length == key_length ? 0 : 1;
    for (size_t i = 0; i < length; i++)
        difference |= (unsigned char)given[i] ^ (unsigned char)key[key_length ? i % key_length : 0];
    return difference == 0;
}

static bool is_authorised(const struct nano_http_exchange *exchange)
{
    const struct nano_http_config *config = &exchange->server->config;
    const char *given = nano_http_header(exchange, "Authorization");
    bool found = false;
    if (config->num_api_keys == 0 || config->is_public(exchange->path, config->user_data))
        return true;
    if (given && strncasecmp(given, "Bearer ", 7) == 0)
        given += 7;
    else
        given = nano_http_header(exchange, "X-Api-Key");
    for (size_t i = 0; given && i < config->num_api_keys; i++)
        found |= keys_equal(given, strlen(given), config->api_keys[i]);
    return found;
}

static void find_origin(struct nano_http_exchange *exchange)
{
    const struct nano_http_config *config = &exchange->server->config;
    const char *origin = nano_http_header(exchange, "Origin");
    for (size_t i = 0; origin && !exchange->allowed_origin && i < config->num_allowed_origins;
         i++) {
        const char *allowed = config->allowed_origins[i];
        if (strcmp(allowed, "*") == 0 || strcmp(allowed, origin) == 0)
            exchange->allowed_origin = nano_mem_strdup(origin, strlen(origin));
    }
}

/* As the client announces it; 0 if it does not. */
static uint64_t content_length(const struct nano_http_exchange *exchange)
{
    const char *length = nano_http_header(exchange, "Content-Length");
    return length ? strtoull(length, NULL, 10) : 0;
}

/* Decides from the headers whether the body will be of any use. */
static void check_headers(struct nano_http_exchange *exchange)
{
    find_origin(exchange);
    bool is_preflight = strcmp(exchange->method, "OPTIONS") == 0 && exchange->allowed_origin;
    if (!is_preflight && !is_authorised(exchange)) {
        exchange->refused_status = MHD_HTTP_UNAUTHORIZED;
        exchange->refused_message = "a valid API key is needed: Authorization: Bearer KEY";
    } else if (content_length(exchange) > exchange->server->config.max_body_bytes) {
        nano_http_exchange_refuse_size(exchange);
    }
}

static void answer_preflight(struct nano_http_exchange *exchange)
{
    nano_http_add_header(exchange, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    nano_http_add_header(exchange, "Access-Control-Allow-Headers",
                         "Authorization, Content-Type, X-Api-Key, X-Request-Id");
    nano_http_add_header(exchange, "Access-Control-Max-Age", "86400");
    nano_http_reply(exchange, MHD_HTTP_NO_CONTENT, NULL, "", 0);
}

/* Whether the body of a refused request is not even read: its client asks first, or there is too
 * much of it. Otherwise it is, since a client that is still sending might not see the answer. */
static bool is_unwanted(const struct nano_http_exchange *exchange)
{
    return nano_http_header(exchange, "Expect") || content_length(exchange) / MAX_DISCARDED_FACTOR >
                                                       exchange->server->config.max_body_bytes;
}

/* The request is there: from here to the end of its answer it is the handler's. */
static void hand_over(struct nano_http_exchange *exchange)
{
    const struct nano_http_config *config = &exchange->server->config;
    exchange->received = true;
    exchange->num_references++; /* the handler's; nobody else knows the exchange yet */
    nano_http_connection_set_state(exchange->connection, NANO_HTTP_WORKING);
    if (exchange->refused_status != 0)
        config->refuse(exchange, exchange->refused_status, exchange->refused_message,
                       config->user_data);
    else if (exchange->allowed_origin && strcmp(exchange->method, "OPTIONS") == 0)
        answer_preflight(exchange);
    else
        config->handle(exchange, config->user_data);
}

/* ---- libmicrohttpd's callbacks -----------------------------------------------------------------
 */

static struct nano_http_connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void on_connection(void *user_data, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket_context)
            nano_http_connection_close(*socket_context);
        return;
    }
    int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    const union MHD_ConnectionInfo *address =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    *socket_context =
        nano_http_connection_open(user_data, fd, address ? address->client_addr : NULL);
}

/* The request's first line is there. */
static void *on_request_line(void *user_data, const char *uri, struct MHD_Connection *mhd)
{
    struct nano_http_connection *connection = connection_of(mhd);
    (void)user_data, (void)uri;
    if (connection)
        nano_http_connection_set_state(connection, NANO_HTTP_RECEIVING);
    return NULL;
}

static enum MHD_Result on_request(void *user_data, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **request_context)
{
    struct nano_http_server *server = user_data;
    struct nano_http_exchange *exchange = *request_context;
    (void)version;
    if (!exchange) {
        struct nano_http_connection *connection = connection_of(mhd);
        exchange =
            connection ? nano_http_exchange_create(server, connection, mhd, method, url) : NULL;
        if (!exchange)
            return MHD_NO;
        *request_context = exchange;
        check_headers(exchange);
        if (exchange->refused_status == 0 || !is_unwanted(exchange))
            return MHD_YES;
        hand_over(exchange);
        return nano_http_exchange_advance(exchange);
    }
    if (*upload_data_size > 0) {
        bool received = nano_http_exchange_receive(exchange, upload_data, *upload_data_size);
        *upload_data_size = 0;
        return received && exchange->discarded_bytes / MAX_DISCARDED_FACTOR <=
                               server->config.max_body_bytes
                   ? MHD_YES
                   : MHD_NO;
    }
    if (!exchange->received)
        hand_over(exchange);
    return nano_http_exchange_advance(exchange);
}

/* The answer was sent, or the connection ended before. */
static void on_completed(void *user_data, struct MHD_Connection *mhd, void **request_context,
                         enum MHD_RequestTerminationCode code)
{
    struct nano_http_server *server = user_data;
    struct nano_http_exchange *exchange = *request_context;
    (void)mhd;
    if (!exchange)
        return;
    *request_context = NULL;
    exchange->done_ns = nano_os_clock_ns();
    pthread_mutex_lock(&exchange->lock);
    exchange->complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    bool is_cut = !exchange->complete && exchange->received;
    pthread_mutex_unlock(&exchange->lock);
    if (is_cut)
        nano_http_exchange_client_gone(exchange);
    if (server->config.done)
        server->config.done(exchange, server->config.user_data);
    nano_http_connection_set_state(exchange->connection, NANO_HTTP_IDLE);
    nano_http_exchange_release(exchange);
}

static void NANO_PRINTF(2, 0) on_log(void *user_data, const char *format, va_list arguments)
{
    char line[512];
    (void)user_data;
    vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\r\n")] = '\0';
    nano_log(NANO_LOG_DEBUG, "http: %s", line);
}

/* ---- Start and end -----------------------------------------------------------------------------
 */

static enum nano_status read_pem(char **out, const char *path, struct nano_error *err)
{
    struct nano_os_file file;
    enum nano_status status = nano_os_file_open(&file, path, err);
    if (status != NANO_OK)
        return status;
    *out = nano_mem_strdup(file.data ? file.data : "", file.num_bytes);
    nano_os_file_close(&file);
    return *out ? NANO_OK : nano_error_no_memory(err, path, file.num_bytes);
}

/* Every connection is a file. */
static void raise_file_limit(int max_connections)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)max_connections + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur =
        limit.rlim_max == RLIM_INFINITY || wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        nano_log(NANO_LOG_WARN, "the limit of open files, %llu, allows fewer than %d connections",
                 (unsigned long long)limit.rlim_cur, max_connections);
}

static enum nano_status start_daemon(struct nano_http_server *server, struct nano_error *err)
{
    const struct nano_http_config *config = &server->config;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem options[16];
    size_t num = 0;
#define OPTION(name, number, pointer) \
    (options[num++] = (struct MHD_OptionItem){(name), (intptr_t)(number), (pointer)})
    OPTION(MHD_OPTION_LISTEN_SOCKET, server->listen_fd, NULL);
    OPTION(MHD_OPTION_CONNECTION_LIMIT, config->max_connections, NULL);
    OPTION(MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY_BYTES, NULL);
    OPTION(MHD_OPTION_CONNECTION_TIMEOUT,
           config->timeout_s > config->keep_alive_s ? config->timeout_s : config->keep_alive_s,
           NULL);
    if (config->num_threads > 1)
        OPTION(MHD_OPTION_THREAD_POOL_SIZE, config->num_threads, NULL);
    if (server->cert) {
        if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
            return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                                  "this system's libmicrohttpd was built without TLS");
        flags |= MHD_USE_TLS;
        OPTION(MHD_OPTION_HTTPS_MEM_KEY, 0, server->key);
        OPTION(MHD_OPTION_HTTPS_MEM_CERT, 0, server->cert);
    }
    OPTION(MHD_OPTION_END, 0, NULL);
#undef OPTION
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, server,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server,
        MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (server->daemon)
        return NANO_OK;
    if (server->cert)
        return nano_error_set(
            err, NANO_ERR_INVALID_ARGUMENT,
            "cannot start HTTPS: %s and %s must be a certificate and its key in PEM",
            config->ssl_certfile, config->ssl_keyfile);
    return nano_error_set(err, NANO_ERR_IO, "cannot start the HTTP server: %s", strerror(errno));
}

enum nano_status nano_http_server_create(struct nano_http_server **out,
                                         const struct nano_http_config *config,
                                         struct nano_error *err)
{
    enum nano_status status;
    *out = NULL;
    struct nano_http_server *server = nano_mem_calloc(1, sizeof *server);
    if (!server)
        return nano_error_no_memory(err, "the HTTP server", sizeof *server);
    server->config = *config;
    server->listen_fd = server->epoll_fd = server->wake_fd = -1;
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    raise_file_limit(config->max_connections);
    if (config->ssl_certfile) {
        NANO_TRY(read_pem(&server->cert, config->ssl_certfile, err));
        NANO_TRY(read_pem(&server->key, config->ssl_keyfile, err));
    }
    NANO_TRY(nano_http_listen(&server->listen_fd, config, server->url, sizeof server->url, err));
    NANO_TRY(nano_http_watch_start(server, err));
    NANO_TRY(start_daemon(server, err));
    *out = server;
    return NANO_OK;
fail:
    nano_http_server_destroy(server);
    return status;
}

const char *nano_http_server_url(const struct nano_http_server *server)
{
    return server->url;
}

void nano_http_server_begin_drain(struct nano_http_server *server)
{
    atomic_store(&server->draining, true);
}

static struct timespec deadline_in(int milliseconds)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += milliseconds / 1000;
    deadline.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    return deadline;
}

bool nano_http_server_wait_idle(struct nano_http_server *server, int timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    int result = 0;
    pthread_mutex_lock(&server->lock);
    while (server->num_busy + server->num_receiving > 0 && result == 0)
        result = pthread_cond_timedwait(&server->changed, &server->lock, &deadline);
    bool is_idle = server->num_busy + server->num_receiving == 0;
    pthread_mutex_unlock(&server->lock);
    return is_idle;
}

void nano_http_server_destroy(struct nano_http_server *server)
{
    if (!server)
        return;
    if (server->daemon) {
        /* Nobody comes in any more. Not with MHD_quiesce_daemon: its workers take the socket out of
         * their epoll sets by themselves, and who comes second aborts the program (0.9.75). */
        shutdown(server->listen_fd, SHUT_RDWR);
        do
            nano_http_connections_cut(server);
        while (!nano_http_server_wait_idle(server, 50));
        pthread_mutex_lock(&server->lock);
        while (server->num_exchanges > 0)
            pthread_cond_wait(&server->changed, &server->lock);
        pthread_mutex_unlock(&server->lock);
        MHD_stop_daemon(server->daemon);
        server->listen_fd = -1; /* it has closed it */
    }
    nano_http_watch_stop(server); /* connections were added to it until now */
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    if (server->config.uds && server->daemon)
        unlink(server->config.uds);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    nano_mem_free(server->by_fd);
    nano_mem_free(server->key);
    nano_mem_free(server->cert);
    nano_mem_free(server);
}
