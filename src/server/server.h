/* The server: the API, the page, health and metrics on HTTP, from start to the end of its drain. */
#ifndef NANO_SERVER_SERVER_H
#define NANO_SERVER_SERVER_H

#include "server/access_log.h"
#include "server/api.h"

struct nano_server;

struct nano_server_config {
    struct nano_http_config http; /* the callbacks are the server's */
    int drain_timeout_s;          /* that requests have to end in after SIGTERM */
    bool access_log, page;        /* page: the web page at / */
    enum nano_log_format log_format;
};

/* Listens, catches SIGINT and SIGTERM, and answers 503 until there is an API. Strings are borrowed.
 * One server in a process. */
enum nano_status nano_server_create(struct nano_server **out,
                                    const struct nano_server_config *config,
                                    struct nano_error *err);

const char *nano_server_url(const struct nano_server *server);
struct nano_metrics *nano_server_metrics(struct nano_server *server);

/* Serves `api` (copied) until a signal, then lets requests end: new ones are refused, those at work
 * have drain_timeout_s, a second signal ends at once. What is left is cancelled. */
void nano_server_run(struct nano_server *server, const struct nano_api *api);

/* Ends HTTP; the engine must be there still. NULL is fine. */
void nano_server_close(struct nano_server *server);

/* The rest, among it the metrics that the engine's last step still counts in: destroy the engine
 * before. NULL is fine. */
void nano_server_destroy(struct nano_server *server);

#endif
