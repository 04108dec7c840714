/* Exchanges: a request's data, and the answer's way from whoever writes it to libmicrohttpd. */
#include "server/http_state.h"

#include <string.h>

#include "base/memory.h"
#include "base/os.h"

enum { BLOCK_BYTES = 4096 };

/* ---- Requests ----------------------------------------------------------------------------------
 */

/* An id is taken over if it is harmless in a header and in a log. */
static bool is_good_id(const char *id)
{
    size_t length = id ? strlen(id) : 0;
    if (length == 0 || length >= NANO_HTTP_ID_BYTES)
        return false;
    for (size_t i = 0; i < length; i++)
        if (id[i] <= ' ' || id[i] > '~' || id[i] == '"' || id[i] == '\\')
            return false;
    return true;
}

static void make_id(char out[NANO_HTTP_ID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (int part = 0; part < 2; part++) {
        uint64_t random = nano_os_random_seed();
        for (int i = 0; i < 16; i++, random >>= 4)
            out[part * 16 + i] = digits[random & 15];
    }
    out[32] = '\0';
}

struct nano_http_exchange *nano_http_exchange_create(struct nano_http_server *server,
                                                     struct nano_http_connection *connection,
                                                     struct MHD_Connection *mhd, const char *method,
                                                     const char *path)
{
    struct nano_http_exchange *exchange = nano_mem_calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    exchange->method = nano_mem_strdup(method, strlen(method));
    exchange->path = nano_mem_strdup(path, strlen(path));
    if (!exchange->method || !exchange->path) {
        nano_mem_free(exchange->method);
        nano_mem_free(exchange->path);
        nano_mem_free(exchange);
        return NULL;
    }
    exchange->server = server;
    exchange->connection = connection;
    exchange->mhd = mhd;
    exchange->num_references = 1;
    const char *id = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "X-Request-Id");
    if (is_good_id(id))
        memcpy(exchange->request_id, id, strlen(id) + 1);
    else
        make_id(exchange->request_id);
    pthread_mutex_init(&exchange->lock, NULL);
    pthread_cond_init(&exchange->gone_called, NULL);
    pthread_mutex_lock(&server->lock);
    exchange->arrival_ns = connection->since_ns;
    connection->exchange = exchange;
    server->num_exchanges++;
    pthread_mutex_unlock(&server->lock);
    return exchange;
}

static void destroy(struct nano_http_exchange *exchange)
{
    struct nano_http_server *server = exchange->server;
    for (int i = 0; i < exchange->num_headers; i++)
        nano_mem_free(exchange->headers[i].value);
    pthread_cond_destroy(&exchange->gone_called);
    pthread_mutex_destroy(&exchange->lock);
    nano_mem_free(exchange->allowed_origin);
    nano_mem_free(exchange->method);
    nano_mem_free(exchange->path);
    nano_buffer_deinit(&exchange->body);
    nano_buffer_deinit(&exchange->out);
    nano_mem_free(exchange);
    pthread_mutex_lock(&server->lock);
    server->num_exchanges--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

void nano_http_exchange_release(struct nano_http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    bool last = --exchange->num_references == 0;
    pthread_mutex_unlock(&exchange->lock);
    if (last)
        destroy(exchange);
}

void nano_http_exchange_refuse_size(struct nano_http_exchange *exchange)
{
    exchange->refused_status = MHD_HTTP_CONTENT_TOO_LARGE;
    exchange->refused_message = "the request's body is too large";
}

bool nano_http_exchange_receive(struct nano_http_exchange *exchange, const char *data,
                                size_t num_bytes)
{
    size_t limit = exchange->server->config.max_body_bytes;
    if (exchange->refused_status == 0 && num_bytes > limit - exchange->body.num_bytes)
        nano_http_exchange_refuse_size(exchange);
    if (exchange->refused_status != 0) {
        exchange->discarded_bytes += num_bytes;
        return true;
    }
    return nano_buffer_append(&exchange->body, data, num_bytes);
}

const char *nano_http_method(const struct nano_http_exchange *exchange)
{
    return exchange->method;
}

const char *nano_http_path(const struct nano_http_exchange *exchange)
{
    return exchange->path;
}

const char *nano_http_body(const struct nano_http_exchange *exchange, size_t *num_bytes)
{
    *num_bytes = exchange->body.num_bytes;
    return exchange->body.data ? exchange->body.data : "";
}

const char *nano_http_header(const struct nano_http_exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->mhd, MHD_HEADER_KIND, name);
}

const char *nano_http_request_id(const struct nano_http_exchange *exchange)
{
    return exchange->request_id;
}

uint64_t nano_http_arrival_ns(const struct nano_http_exchange *exchange)
{
    return exchange->arrival_ns;
}

/* ---- libmicrohttpd's side of the answer --------------------------------------------------------
 */

static void suspend(struct nano_http_exchange *exchange)
{
    exchange->suspended = true;
    MHD_suspend_connection(exchange->mhd);
}

static void resume(struct nano_http_exchange *exchange)
{
    if (!exchange->suspended)
        return;
    exchange->suspended = false;
    atomic_store_explicit(&exchange->progress_ns, nano_os_clock_ns(), memory_order_relaxed);
    MHD_resume_connection(exchange->mhd);
}

/* libmicrohttpd can take up to `most` bytes of a stream. */
static ssize_t read_stream(void *user_data, uint64_t position, char *out, size_t most)
{
    struct nano_http_exchange *exchange = user_data;
    ssize_t result = 0;
    (void)position;
    pthread_mutex_lock(&exchange->lock);
    size_t num_bytes = exchange->out.num_bytes - exchange->out_begin;
    atomic_store_explicit(&exchange->progress_ns, nano_os_clock_ns(), memory_order_relaxed);
    if (exchange->gone) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (num_bytes > 0) {
        num_bytes = num_bytes < most ? num_bytes : most;
        memcpy(out, exchange->out.data + exchange->out_begin, num_bytes);
        exchange->out_begin += num_bytes;
        exchange->answer_bytes += num_bytes;
        result = (ssize_t)num_bytes;
    } else if (exchange->ended) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        suspend(exchange);
    }
    pthread_mutex_unlock(&exchange->lock);
    return result;
}

static struct MHD_Response *make_response(struct nano_http_exchange *exchange)
{
    if (exchange->answer == NANO_HTTP_STREAM)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream,
                                                 exchange, NULL);
    exchange->answer_bytes =
        exchange->static_body ? exchange->static_bytes : exchange->out.num_bytes;
    if (exchange->static_body)
        return MHD_create_response_from_buffer(exchange->static_bytes,
                                               (void *)(uintptr_t)exchange->static_body,
                                               MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(
        exchange->out.num_bytes, exchange->out.data, nano_mem_free);
    if (response)
        exchange->out = (struct nano_buffer){0}; /* it is libmicrohttpd's now */
    return response;
}

static void add_headers(struct nano_http_exchange *exchange, struct MHD_Response *response)
{
    if (exchange->content_type)
        MHD_add_response_header(response, "Content-Type", exchange->content_type);
    MHD_add_response_header(response, "X-Request-Id", exchange->request_id);
    if (exchange->answer == NANO_HTTP_STREAM) {
        MHD_add_response_header(response, "Cache-Control", "no-cache");
        MHD_add_response_header(response, "X-Accel-Buffering",
                                "no"); /* nginx passes it on at once */
    }
    if (exchange->allowed_origin) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin", exchange->allowed_origin);
        MHD_add_response_header(response, "Access-Control-Expose-Headers",
                                "X-Request-Id, Retry-After");
        MHD_add_response_header(response, "Vary", "Origin");
    }
    for (int i = 0; i < exchange->num_headers; i++)
        MHD_add_response_header(response, exchange->headers[i].name, exchange->headers[i].value);
    if (atomic_load(&exchange->server->draining))
        MHD_add_response_header(response, "Connection", "close");
}

enum MHD_Result nano_http_exchange_advance(struct nano_http_exchange *exchange)
{
    enum MHD_Result result = MHD_YES;
    pthread_mutex_lock(&exchange->lock);
    if (exchange->gone) {
        result = MHD_NO;
    } else if (exchange->answer == NANO_HTTP_NONE) {
        suspend(exchange);
    } else if (!exchange->queued) {
        struct MHD_Response *response = make_response(exchange);
        if (response) {
            add_headers(exchange, response);
            exchange->queued = true;
            atomic_store(&exchange->progress_ns, nano_os_clock_ns());
        }
        int status = exchange->status;
        /* Queueing may call read_stream at once. */
        pthread_mutex_unlock(&exchange->lock);
        result = response ? MHD_queue_response(exchange->mhd, (unsigned)status, response) : MHD_NO;
        if (response)
            MHD_destroy_response(response);
        nano_http_connection_set_state(exchange->connection, NANO_HTTP_ANSWERING);
        return result;
    }
    pthread_mutex_unlock(&exchange->lock);
    return result;
}

void nano_http_exchange_client_gone(struct nano_http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    if (!exchange->gone) {
        exchange->gone = true;
        nano_http_gone_fn on_gone = exchange->ended ? NULL : exchange->on_gone;
        if (on_gone) {
            exchange->in_gone_call = true;
            pthread_mutex_unlock(&exchange->lock);
            on_gone(exchange->on_gone_user_data);
            pthread_mutex_lock(&exchange->lock);
            exchange->in_gone_call = false;
            pthread_cond_broadcast(&exchange->gone_called);
        }
    }
    resume(exchange);
    pthread_mutex_unlock(&exchange->lock);
}

/* ---- The handler's side of the answer ----------------------------------------------------------
 */

void nano_http_add_header(struct nano_http_exchange *exchange, const char *name, const char *value)
{
    char *copy = nano_mem_strdup(value, strlen(value));
    pthread_mutex_lock(&exchange->lock);
    if (copy && exchange->num_headers < NANO_HTTP_MAX_HEADERS) {
        exchange->headers[exchange->num_headers].name = name;
        exchange->headers[exchange->num_headers++].value = copy;
        copy = NULL;
    }
    pthread_mutex_unlock(&exchange->lock);
    nano_mem_free(copy);
}

/* The handler is done: under the lock, which it releases. Whoever called on_gone must be out of it.
 */
static void end(struct nano_http_exchange *exchange)
{
    exchange->ended = true;
    while (exchange->in_gone_call)
        pthread_cond_wait(&exchange->gone_called, &exchange->lock);
    resume(exchange);
    pthread_mutex_unlock(&exchange->lock);
    nano_http_exchange_release(exchange);
}

/* What was sent makes room. */
static bool append(struct nano_http_exchange *exchange, const char *data, size_t num_bytes)
{
    struct nano_buffer *out = &exchange->out;
    if (exchange->out_begin == out->num_bytes || out->num_bytes + num_bytes >= out->capacity) {
        out->num_bytes -= exchange->out_begin;
        if (exchange->out_begin > 0 && out->num_bytes > 0)
            memmove(out->data, out->data + exchange->out_begin, out->num_bytes);
        exchange->out_begin = 0;
    }
    return nano_buffer_append(out, data, num_bytes);
}

static void begin(struct nano_http_exchange *exchange, enum nano_http_answer answer, int status,
                  const char *content_type)
{
    exchange->answer = answer;
    exchange->status = status;
    exchange->content_type = content_type;
}

void nano_http_reply(struct nano_http_exchange *exchange, int status, const char *content_type,
                     const char *body, size_t num_bytes)
{
    pthread_mutex_lock(&exchange->lock);
    begin(exchange, NANO_HTTP_WHOLE, status, content_type);
    if (num_bytes > 0 && !append(exchange, body, num_bytes))
        begin(exchange, NANO_HTTP_WHOLE, MHD_HTTP_SERVICE_UNAVAILABLE, NULL);
    end(exchange);
}

void nano_http_reply_static(struct nano_http_exchange *exchange, int status,
                            const char *content_type, const char *body, size_t num_bytes)
{
    pthread_mutex_lock(&exchange->lock);
    begin(exchange, NANO_HTTP_WHOLE, status, content_type);
    exchange->static_body = body;
    exchange->static_bytes = num_bytes;
    end(exchange);
}

void nano_http_stream_begin(struct nano_http_exchange *exchange, int status,
                            const char *content_type)
{
    pthread_mutex_lock(&exchange->lock);
    begin(exchange, NANO_HTTP_STREAM, status, content_type);
    resume(exchange);
    pthread_mutex_unlock(&exchange->lock);
}

bool nano_http_stream_write(struct nano_http_exchange *exchange, const char *data, size_t num_bytes)
{
    pthread_mutex_lock(&exchange->lock);
    size_t backlog = exchange->out.num_bytes - exchange->out_begin;
    bool good = !exchange->gone;
    /* A piece by itself may be larger than the limit. */
    if (good &&
        ((backlog > 0 && backlog + num_bytes > exchange->server->config.max_backlog_bytes) ||
         !append(exchange, data, num_bytes))) {
        exchange->gone = true;
        good = false;
    }
    resume(exchange);
    pthread_mutex_unlock(&exchange->lock);
    return good;
}

void nano_http_stream_end(struct nano_http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    end(exchange);
}

void nano_http_on_gone(struct nano_http_exchange *exchange, nano_http_gone_fn on_gone,
                       void *user_data)
{
    pthread_mutex_lock(&exchange->lock);
    exchange->on_gone = on_gone;
    exchange->on_gone_user_data = user_data;
    bool gone = exchange->gone;
    pthread_mutex_unlock(&exchange->lock);
    if (gone)
        on_gone(user_data);
}

void nano_http_note_usage(struct nano_http_exchange *exchange, int num_prompt_tokens,
                          int num_cached_tokens, int num_completion_tokens)
{
    pthread_mutex_lock(&exchange->lock);
    exchange->has_usage = true;
    exchange->num_prompt_tokens = num_prompt_tokens;
    exchange->num_cached_tokens = num_cached_tokens;
    exchange->num_completion_tokens = num_completion_tokens;
    pthread_mutex_unlock(&exchange->lock);
}

void nano_http_get_summary(const struct nano_http_exchange *exchange, struct nano_http_summary *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&exchange->lock;
    pthread_mutex_lock(lock);
    *out = (struct nano_http_summary){
        .method = exchange->method,
        .path = exchange->path,
        .request_id = exchange->request_id,
        .peer = exchange->connection->peer,
        .status = exchange->queued ? exchange->status : 0,
        .answer_bytes = exchange->answer_bytes,
        .duration_ns = exchange->done_ns - exchange->arrival_ns,
        .complete = exchange->complete,
        .has_usage = exchange->has_usage,
        .num_prompt_tokens = exchange->num_prompt_tokens,
        .num_cached_tokens = exchange->num_cached_tokens,
        .num_completion_tokens = exchange->num_completion_tokens,
    };
    pthread_mutex_unlock(lock);
}
