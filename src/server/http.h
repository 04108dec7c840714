/* HTTP: what a route sees of it. An exchange is one request, whole, and its answer, given at once
 * or piece by piece from any thread.
 *
 *   libmicrohttpd's thread ── handler(exchange) ──▶ reply at once, or keep the exchange
 *   any other thread      ── reply, or stream_begin, stream_write …, stream_end ──▶ client
 *
 * The handler is called once per request, on one of the server's threads, with the body received.
 * From then on the exchange is the handler's until it ends the answer (reply or stream_end), which
 * it must do exactly once, whether the client is still there or not; after that the exchange must
 * not be touched. Functions are thread-safe against the server's threads, but only one thread may
 * answer an exchange at a time. No function blocks. */
#ifndef NANO_SERVER_HTTP_H
#define NANO_SERVER_HTTP_H

#include "base/error.h"

struct nano_http_exchange;

/* Borrowed; they live until the answer is ended. */
const char *nano_http_method(const struct nano_http_exchange *exchange); /* "GET", "POST", … */
const char *nano_http_path(const struct nano_http_exchange *exchange);   /* without the query */
const char *nano_http_body(const struct nano_http_exchange *exchange, size_t *num_bytes);
/* A header of the request, NULL if there is none; only within the handler's call. */
const char *nano_http_header(const struct nano_http_exchange *exchange, const char *name);
/* The client's X-Request-Id, or a new one; it is sent back with the answer. */
const char *nano_http_request_id(const struct nano_http_exchange *exchange);
uint64_t nano_http_arrival_ns(const struct nano_http_exchange *exchange); /* of its first byte */

/* Adds a header to the answer, before it is begun. `name` is a constant, the value is copied. */
void nano_http_add_header(struct nano_http_exchange *exchange, const char *name, const char *value);

/* The whole answer; `body` is copied. */
void nano_http_reply(struct nano_http_exchange *exchange, int status, const char *content_type,
                     const char *body, size_t num_bytes);

/* The whole answer, of bytes that live for ever. */
void nano_http_reply_static(struct nano_http_exchange *exchange, int status,
                            const char *content_type, const char *body, size_t num_bytes);

/* An answer in pieces: begin, any number of writes, end. Pieces are copied. A write is false when
 * the client has gone or is so slow that its answer does not fit the limit any more; further writes
 * are allowed and dropped. */
void nano_http_stream_begin(struct nano_http_exchange *exchange, int status,
                            const char *content_type);
bool nano_http_stream_write(struct nano_http_exchange *exchange, const char *data,
                            size_t num_bytes);
void nano_http_stream_end(struct nano_http_exchange *exchange);

/* Asks for `on_gone` to be called once, on a thread of the server and with no lock held, if the
 * client vanishes (or is cut off for being slow) before the answer is ended; at once if it has gone
 * already. The end of the answer waits for a call that is under way, so `user_data` may be released
 * after it; on_gone must therefore not wait for the thread that answers (cancelling a request is
 * fine). */
typedef void (*nano_http_gone_fn)(void *user_data);
void nano_http_on_gone(struct nano_http_exchange *exchange, nano_http_gone_fn on_gone,
                       void *user_data);

/* What the access log says of the answer besides, e.g. token counts; optional, before it ends. */
void nano_http_note_usage(struct nano_http_exchange *exchange, int num_prompt_tokens,
                          int num_cached_tokens, int num_completion_tokens);

#endif
