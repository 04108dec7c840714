/* A client for tests: one connection, whole requests as bytes, whole answers. It blocks, and checks
 * that what it reads is HTTP. */
#ifndef NANO_TESTS_HTTP_CLIENT_H
#define NANO_TESTS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum http_outcome {
    HTTP_ANSWERED,
    HTTP_CLOSED,   /* without a whole answer; `status` is that of a part, or 0 */
    HTTP_NOT_HTTP, /* what came is none */
    HTTP_TIMED_OUT,
};

struct http_reply {
    int status;
    char head[16384]; /* with the status line, ends with NUL */
    char *body;       /* without chunks' sizes, ends with NUL; reused from call to call */
    size_t body_bytes;
    char *bytes; /* what was received and belongs to the next answer, if anything */
    size_t num_bytes;
};

/* -1: nobody listens there. */
int http_connect(int port);

/* False: the connection ended while bytes were left to send. */
bool http_send(int fd, const void *data, size_t num_bytes);

/* Reads one answer; to a HEAD request without a body. */
enum http_outcome http_read(int fd, struct http_reply *reply, bool is_head, int timeout_ms);

/* Forgets bytes that an earlier connection left. */
void http_reply_reset(struct http_reply *reply);
void http_reply_free(struct http_reply *reply);

/* The header's value, copied to static storage; NULL: not there. */
const char *http_header(const struct http_reply *reply, const char *name);

#endif
