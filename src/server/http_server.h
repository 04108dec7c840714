/* The HTTP server: libmicrohttpd's threads, a table of connections, and one thread that watches
 * them.
 *
 *   accept ─▶ IDLE ─▶ RECEIVING ─▶ WORKING ─▶ ANSWERING ─▶ IDLE …
 *             │        │            │          └ takes no byte for timeout_s: cut off
 *             │        │            └ hangs up: its exchange learns that it is gone, at once
 *             │        └ request not there after timeout_s: cut off
 *             └ no request for keep_alive_s: closed
 *
 * libmicrohttpd does not look at connections that are suspended (which ours are while the engine
 * works), misses an end that arrives together with the last bytes, and does not limit the time of a
 * client that sends a byte now and then. The watcher sees to all three by shutting the socket down,
 * which libmicrohttpd then notices. A client that only closes its side gets an
 * answer that is there at once, and otherwise counts as gone. */
#ifndef NANO_SERVER_HTTP_SERVER_H
#define NANO_SERVER_HTTP_SERVER_H

#include "server/http.h"

struct nano_http_server;

struct nano_http_config {
    const char *host;                       /* name or address, IPv4 or IPv6 */
    int port;                               /* 0: any that is free */
    const char *uds;                        /* path of a UNIX socket instead, or NULL */
    const char *ssl_keyfile, *ssl_certfile; /* both or none */
    const char *const *api_keys;            /* a request needs one of them; none: open to all */
    size_t num_api_keys;
    const char *const *allowed_origins; /* of cross-origin requests; "*": any; none: no CORS */
    size_t num_allowed_origins;
    size_t max_body_bytes;
    size_t max_backlog_bytes; /* of an answer that its client does not take */
    int max_connections, num_threads;
    int timeout_s, keep_alive_s;

    /* Answers a request. */
    void (*handle)(struct nano_http_exchange *exchange, void *user_data);
    /* Answers a request that the server itself refuses, for a reason in words. */
    void (*refuse)(struct nano_http_exchange *exchange, int status, const char *message,
                   void *user_data);
    /* True for what is served without a key. */
    bool (*is_public)(const char *path, void *user_data);
    /* A request is over; may be NULL. */
    void (*done)(const struct nano_http_exchange *exchange, void *user_data);
    void *user_data;
};

/* Starts serving. The configuration's strings are borrowed for as long as the server. */
enum nano_status nano_http_server_create(struct nano_http_server **out,
                                         const struct nano_http_config *config,
                                         struct nano_error *err);

/* "http://127.0.0.1:8000" or "unix:/path" */
const char *nano_http_server_url(const struct nano_http_server *server);

/* From now on answers ask clients to close their connections. */
void nano_http_server_begin_drain(struct nano_http_server *server);

/* True once no request is being received, worked on or answered; waits up to timeout_ms for it. */
bool nano_http_server_wait_idle(struct nano_http_server *server, int timeout_ms);

/* Cuts off who is left, waits until every handler has ended its answers, closes everything. NULL is
 * fine. */
void nano_http_server_destroy(struct nano_http_server *server);

/* What `done` may ask about the exchange that is over. */
struct nano_http_summary {
    const char *method, *path, *request_id, *peer;
    int status; /* 0: no answer was begun, the client had gone */
    uint64_t answer_bytes, duration_ns;
    bool complete; /* the client got all of it */
    bool has_usage;
    int num_prompt_tokens, num_cached_tokens, num_completion_tokens;
};
void nano_http_get_summary(const struct nano_http_exchange *exchange,
                           struct nano_http_summary *out);

#endif
