/* What the parts of the HTTP server share: the table of connections and the exchanges' insides. */
#ifndef NANO_SERVER_HTTP_STATE_H
#define NANO_SERVER_HTTP_STATE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "server/http_server.h"

enum { NANO_HTTP_PEER_BYTES = 64, NANO_HTTP_ID_BYTES = 129, NANO_HTTP_MAX_HEADERS = 8 };

enum nano_http_connection_state {
    NANO_HTTP_IDLE,
    NANO_HTTP_RECEIVING,
    NANO_HTTP_WORKING,  /* the handler has it */
    NANO_HTTP_ANSWERING /* the answer has begun */
};

/* A client's connection; under the server's lock but for `peer`. */
struct nano_http_connection {
    struct nano_http_connection *next, *prev;
    struct nano_http_server *server;
    int fd;
    uint32_t serial; /* tells it from others that had the same fd */
    enum nano_http_connection_state state;
    bool cut_off;
    uint64_t since_ns;                   /* of the state */
    uint64_t hung_up_ns;                 /* 0: not seen to have hung up */
    struct nano_http_exchange *exchange; /* of the request being received or answered */
    char peer[NANO_HTTP_PEER_BYTES];
};

struct nano_http_server {
    struct nano_http_config config;
    struct MHD_Daemon *daemon;
    char *key, *cert; /* of TLS */
    int listen_fd;
    char url[160];

    pthread_mutex_t lock;
    pthread_cond_t changed; /* num_busy, or a connection's state */
    struct nano_http_connection *connections;
    struct nano_http_connection **by_fd; /* [by_fd_capacity] */
    size_t by_fd_capacity;
    size_t num_receiving;
    size_t num_exchanges; /* alive, whoever holds them */
    size_t num_busy;      /* handed to the handler and not over for libmicrohttpd */
    uint32_t last_serial;

    pthread_t watcher;
    bool watcher_started;
    int epoll_fd, wake_fd;
    atomic_bool stopping, draining;
};

enum nano_http_answer { NANO_HTTP_NONE, NANO_HTTP_WHOLE, NANO_HTTP_STREAM };

struct nano_http_exchange {
    struct nano_http_server *server;
    struct MHD_Connection *mhd;
    struct nano_http_connection
        *connection; /* alive until libmicrohttpd is done with the request */
    char request_id[NANO_HTTP_ID_BYTES];
    char *method, *path;
    char *allowed_origin; /* for the answer, or NULL */
    uint64_t arrival_ns, done_ns;
    struct nano_buffer body;
    size_t discarded_bytes;
    int refused_status; /* 0: not refused */
    const char *refused_message;
    bool received; /* with its body */

    pthread_mutex_t lock;
    pthread_cond_t gone_called;
    int num_references; /* libmicrohttpd's, the handler's, and for moments the watcher's */
    bool suspended;     /* libmicrohttpd waits for us */
    bool queued;        /* libmicrohttpd has the answer (or its beginning) */
    bool ended;         /* the handler has ended the answer */
    bool gone, in_gone_call, complete;
    nano_http_gone_fn on_gone;
    void *on_gone_user_data;
    enum nano_http_answer answer;
    int status;
    const char *content_type;
    struct {
        const char *name;
        char *value;
    } headers[NANO_HTTP_MAX_HEADERS];
    int num_headers;
    const char *static_body; /* of static_bytes, in place of `out` */
    size_t static_bytes;
    struct nano_buffer out; /* from out_begin on it is to be sent */
    size_t out_begin;
    uint64_t answer_bytes;
    atomic_uint_least64_t progress_ns; /* when the client last took something, or could not */
    bool has_usage;
    int num_prompt_tokens, num_cached_tokens, num_completion_tokens;
};

/* ---- Exchanges (http_exchange.c) ---------------------------------------------------------------
 */

/* A request whose headers are there; NULL without memory. The reference is the caller's. */
struct nano_http_exchange *nano_http_exchange_create(struct nano_http_server *server,
                                                     struct nano_http_connection *connection,
                                                     struct MHD_Connection *mhd, const char *method,
                                                     const char *path);
void nano_http_exchange_release(struct nano_http_exchange *exchange);

/* Its body is larger than the limit. */
void nano_http_exchange_refuse_size(struct nano_http_exchange *exchange);

/* Adds to the body, up to the limit; false: there is no memory. */
bool nano_http_exchange_receive(struct nano_http_exchange *exchange, const char *data,
                                size_t num_bytes);

/* Gives libmicrohttpd the answer, or suspends the connection until there is one. Called on its
 * thread. */
enum MHD_Result nano_http_exchange_advance(struct nano_http_exchange *exchange);

/* The client is not there any more (or is to be treated so). */
void nano_http_exchange_client_gone(struct nano_http_exchange *exchange);

/* ---- Connections (http_connections.c) ----------------------------------------------------------
 */

enum nano_status nano_http_watch_start(struct nano_http_server *server, struct nano_error *err);
void nano_http_watch_stop(struct nano_http_server *server);

struct nano_http_connection *nano_http_connection_open(struct nano_http_server *server, int fd,
                                                       const struct sockaddr *address);
void nano_http_connection_close(struct nano_http_connection *connection);
void nano_http_connection_set_state(struct nano_http_connection *connection,
                                    enum nano_http_connection_state state);

/* Shuts down every connection. */
void nano_http_connections_cut(struct nano_http_server *server);

#endif
