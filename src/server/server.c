/* The server: routes that are not the API's, states, signals. */
#include "server/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/os.h"
#include "server/json_out.h"
#include "server/notify.h"
#include "server/page.h"

enum state { LOADING, READY, DRAINING };

struct nano_server {
    struct nano_server_config config;
    struct nano_http_server *http;
    struct nano_metrics *metrics;
    struct nano_api api; /* constant once the state is not LOADING */
    _Atomic int state;
};

/* ---- Signals -----------------------------------------------------------------------------------
 */

static int signal_pipe[2] = {-1, -1};
static volatile sig_atomic_t is_loading;

static void on_signal(int number)
{
    int saved_errno = errno;
    char byte = (char)number;
    if (is_loading)
        _exit(128 + number); /* there is no request that could be lost */
    if (write(signal_pipe[1], &byte, 1) < 0)
        errno = saved_errno; /* the pipe is full of signals */
    errno = saved_errno;
}

static enum nano_status catch_signals(struct nano_error *err)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (signal_pipe[0] < 0 && pipe(signal_pipe) != 0)
        return nano_error_set(err, NANO_ERR_IO, "cannot make a pipe for signals: %s",
                              strerror(errno));
    is_loading = 1;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    return NANO_OK;
}

/* Waits for a signal; timeout_ms -1: for ever. */
static bool wait_signal(int timeout_ms)
{
    struct pollfd signals = {.fd = signal_pipe[0], .events = POLLIN};
    char byte;
    int num_ready;
    do
        num_ready = poll(&signals, 1, timeout_ms);
    while (num_ready < 0 && errno == EINTR && timeout_ms < 0);
    return num_ready > 0 && read(signal_pipe[0], &byte, 1) == 1;
}

/* ---- Routes ------------------------------------------------------------------------------------
 */

static bool is_public(const char *path, void *user_data)
{
    static const char *const paths[] = {"/", "/health", "/metrics", "/version"};
    (void)user_data;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (strcmp(path, paths[i]) == 0)
            return true;
    return false;
}

static void refuse(struct nano_http_exchange *exchange, int status, const char *message,
                   void *user_data)
{
    (void)user_data;
    if (status == MHD_HTTP_UNAUTHORIZED)
        nano_http_add_header(exchange, "WWW-Authenticate", "Bearer");
    nano_api_error(exchange, status, NULL, "%s", message);
}

static void refuse_unready(struct nano_http_exchange *exchange, int state)
{
    nano_http_add_header(exchange, "Retry-After", "1");
    nano_api_error(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "%s",
                   state == LOADING ? "the model is being loaded" : "the server is stopping");
}

static void answer_health(struct nano_http_exchange *exchange, int state)
{
    static const char ok[] = "{\"status\":\"ok\"}";
    if (state == READY)
        nano_http_reply_static(exchange, MHD_HTTP_OK, "application/json", ok, sizeof ok - 1);
    else
        refuse_unready(exchange, state);
}

static void answer_version(struct nano_http_exchange *exchange)
{
    struct nano_json_out out = {0};
    NANO_JSON_LIT(&out, "{\"version\":");
    nano_json_cstring(&out, nano_version());
    NANO_JSON_LIT(&out, "}");
    nano_http_reply(exchange, MHD_HTTP_OK, "application/json", out.data, out.num_bytes);
    nano_json_deinit(&out);
}

static void answer_metrics(struct nano_server *server, struct nano_http_exchange *exchange,
                           int state)
{
    size_t num_bytes;
    char *text =
        nano_metrics_print(server->metrics, state == LOADING ? NULL : server->api.engine,
                           state == LOADING ? "" : server->api.served_model_names[0], &num_bytes);
    if (text)
        nano_http_reply(exchange, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text,
                        num_bytes);
    else
        nano_api_error(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "there is no memory");
    nano_mem_free(text);
}

static void answer_page(struct nano_http_exchange *exchange)
{
    nano_http_add_header(exchange, "Content-Security-Policy", NANO_PAGE_CONTENT_SECURITY_POLICY);
    nano_http_add_header(exchange, "X-Content-Type-Options", "nosniff");
    nano_http_add_header(exchange, "Referrer-Policy", "no-referrer");
    nano_http_reply_static(exchange, MHD_HTTP_OK, "text/html; charset=utf-8",
                           (const char *)nano_page_html, nano_page_html_bytes);
}

/* Answers GET on the server's own paths; false for others. */
static bool answer_own(struct nano_server *server, struct nano_http_exchange *exchange, int state)
{
    const char *path = nano_http_path(exchange);
    const char *method = nano_http_method(exchange);
    if (!is_public(path, server) || (strcmp(path, "/") == 0 && !server->config.page))
        return false;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        nano_http_add_header(exchange, "Allow", "GET, HEAD");
        nano_api_error(exchange, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, "%s: expected GET, got %s",
                       path, method);
    } else if (strcmp(path, "/health") == 0) {
        answer_health(exchange, state);
    } else if (strcmp(path, "/version") == 0) {
        answer_version(exchange);
    } else if (strcmp(path, "/metrics") == 0) {
        answer_metrics(server, exchange, state);
    } else {
        answer_page(exchange);
    }
    return true;
}

static void handle(struct nano_http_exchange *exchange, void *user_data)
{
    struct nano_server *server = user_data;
    int state = atomic_load(&server->state);
    if (answer_own(server, exchange, state))
        return;
    if (state != READY)
        refuse_unready(exchange, state);
    else if (!nano_api_handle(&server->api, exchange))
        nano_api_error(exchange, MHD_HTTP_NOT_FOUND, NULL, "%s: there is no such path",
                       nano_http_path(exchange));
}

static void done(const struct nano_http_exchange *exchange, void *user_data)
{
    struct nano_server *server = user_data;
    struct nano_http_summary summary;
    nano_http_get_summary(exchange, &summary);
    nano_metrics_answered(server->metrics, summary.status);
    if (server->config.access_log)
        nano_access_log(server->config.log_format, exchange);
}

/* ---- Life --------------------------------------------------------------------------------------
 */

enum nano_status nano_server_create(struct nano_server **out,
                                    const struct nano_server_config *config, struct nano_error *err)
{
    enum nano_status status;
    *out = NULL;
    struct nano_server *server = nano_mem_calloc(1, sizeof *server);
    if (!server)
        return nano_error_no_memory(err, "the server", sizeof *server);
    server->config = *config;
    server->config.http.handle = handle;
    server->config.http.refuse = refuse;
    server->config.http.is_public = is_public;
    server->config.http.done = done;
    server->config.http.user_data = server;
    NANO_TRY(nano_metrics_create(&server->metrics, err));
    NANO_TRY(catch_signals(err));
    NANO_TRY(nano_http_server_create(&server->http, &server->config.http, err));
    *out = server;
    return NANO_OK;
fail:
    nano_server_destroy(server);
    return status;
}

const char *nano_server_url(const struct nano_server *server)
{
    return nano_http_server_url(server->http);
}

struct nano_metrics *nano_server_metrics(struct nano_server *server)
{
    return server->metrics;
}

static void drain(struct nano_server *server)
{
    enum { LOOK_MS = 50 };
    uint64_t deadline_ns =
        nano_os_clock_ns() + (uint64_t)server->config.drain_timeout_s * 1000000000u;
    atomic_store(&server->state, DRAINING);
    nano_http_server_begin_drain(server->http);
    nano_notify("STOPPING=1");
    nano_server_log(server->config.log_format, NANO_LOG_INFO,
                    "stopping: new requests are refused, those at work have %d s",
                    server->config.drain_timeout_s);
    while (!nano_http_server_wait_idle(server->http, LOOK_MS)) {
        if (wait_signal(0) || nano_os_clock_ns() > deadline_ns) {
            nano_server_log(server->config.log_format, NANO_LOG_WARN,
                            "requests are at work still and are cancelled");
            return;
        }
    }
}

void nano_server_run(struct nano_server *server, const struct nano_api *api)
{
    server->api = *api;
    is_loading = 0;
    atomic_store(&server->state, READY);
    nano_notify("READY=1");
    wait_signal(-1);
    drain(server);
}

void nano_server_close(struct nano_server *server)
{
    if (!server)
        return;
    nano_http_server_destroy(server->http);
    server->http = NULL;
}

void nano_server_destroy(struct nano_server *server)
{
    if (!server)
        return;
    nano_server_close(server);
    nano_metrics_destroy(server->metrics);
    nano_mem_free(server);
}
