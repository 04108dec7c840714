/* Listening sockets. */
#ifndef NANO_SERVER_HTTP_LISTEN_H
#define NANO_SERVER_HTTP_LISTEN_H

#include "server/http_server.h"

/* A socket that listens where the configuration says; `url` gets its address for people. */
enum nano_status nano_http_listen(int *out, const struct nano_http_config *config, char *url,
                                  size_t url_bytes, struct nano_error *err);

#endif
