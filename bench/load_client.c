#include "load_client.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/memory.h"
#include "load_answer.h"

struct client {
    struct load_socket socket; /* first: events find their client by it */
    struct load_clients *clients;
    bool busy, is_reused; /* is_reused: the connection had an answer before */
    struct load_buffer request;
    size_t sent;
    bool is_waiting_to_write;
    uint64_t start_ns, last_text_ns, last_heard_ns;
    uint64_t abort_after; /* texts; 0: never */
    bool got_bytes;
    struct load_answer answer;
};

struct load_clients {
    const struct load_options *options;
    const struct load_target *target;
    struct load_stats *stats;
    struct client *clients; /* [options->max_concurrency] */
    int *free_clients;      /* a stack, so that connections that are warm are used first */
    int num_free, num_clients;
    bool has_text_hash;
    uint64_t text_hash; /* of the first answer */
};

/* ---- The end of a request ----------------------------------------------------------------------
 */

static void become_free(struct client *client, bool keep_connection)
{
    struct load_clients *all = client->clients;
    if (!keep_connection)
        load_socket_close(&client->socket);
    client->busy = false;
    all->free_clients[all->num_free++] = (int)(client - all->clients);
}

static void fail(struct client *client, enum load_failure kind)
{
    load_stats_fail(client->clients->stats, kind);
    become_free(client, false);
}

static bool has_same_text(struct load_clients *all, const struct load_answer *answer)
{
    if (!all->options->same)
        return true;
    if (!all->has_text_hash)
        all->text_hash = answer->text_hash;
    all->has_text_hash = true;
    return all->text_hash == answer->text_hash;
}

static void finish(struct client *client, uint64_t now_ns)
{
    struct load_clients *all = client->clients;
    struct load_stats *stats = all->stats;
    const struct load_answer *answer = &client->answer;
    bool is_stream = !all->options->no_stream;
    bool keep =
        answer->keep_alive && !all->options->no_keep_alive && answer->state == LOAD_COMPLETE;
    if (answer->status != 200) {
        load_stats_fail_status(stats, answer->status);
    } else if (answer->has_error) {
        load_stats_fail(stats, LOAD_FAILED_ERROR_EVENT);
    } else if (!answer->has_usage || (is_stream && !answer->is_done)) {
        load_stats_fail(stats, LOAD_FAILED_NO_USAGE);
    } else if (!has_same_text(all, answer)) {
        load_stats_fail(stats, LOAD_FAILED_TEXT);
    } else {
        stats->num_ok++;
        stats->prompt_tokens += (uint64_t)answer->prompt_tokens;
        stats->completion_tokens += (uint64_t)answer->completion_tokens;
        stats->cached_tokens += (uint64_t)answer->cached_tokens;
        load_histogram_add(&stats->e2e, now_ns - client->start_ns);
    }
    client->is_reused = keep;
    become_free(client, keep);
}

/* ---- Sending -----------------------------------------------------------------------------------
 */

static bool connect_client(struct client *client)
{
    client->is_reused = false;
    client->is_waiting_to_write = true;
    return load_socket_connect(&client->socket, client->clients->target, EPOLLIN | EPOLLOUT, 0);
}

static void begin_sending(struct client *client)
{
    client->sent = 0;
    client->got_bytes = false;
    load_answer_begin(&client->answer);
}

/* The connection ended before the answer did. A server may close one that it keeps for the next
 * request at the moment in which that is sent: then the request is sent again on a new one. */
static void lost(struct client *client)
{
    bool was_sent = client->sent == client->request.num_bytes;
    if (client->got_bytes) {
        fail(client, LOAD_FAILED_TRUNCATED);
    } else if (client->is_reused) {
        load_socket_close(&client->socket);
        begin_sending(client);
        if (!connect_client(client))
            fail(client, LOAD_FAILED_CONNECT);
    } else {
        fail(client, was_sent ? LOAD_FAILED_CLOSED : LOAD_FAILED_CONNECT);
    }
}

static bool send_some(struct client *client)
{
    const struct load_buffer *request = &client->request;
    if (!load_socket_send(&client->socket, request->data, request->num_bytes, &client->sent))
        return false;
    bool wants_to_write = client->sent < request->num_bytes;
    if (wants_to_write == client->is_waiting_to_write)
        return true;
    client->is_waiting_to_write = wants_to_write;
    return load_socket_watch(&client->socket, client->clients->target,
                             wants_to_write ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* ---- Receiving ---------------------------------------------------------------------------------
 */

/* True when this was the request's end. */
static bool take_bytes(struct client *client, const char *data, size_t num_bytes, uint64_t now_ns)
{
    struct load_stats *stats = client->clients->stats;
    struct load_answer *answer = &client->answer;
    uint64_t num_texts = answer->num_texts;
    client->got_bytes = true;
    client->last_heard_ns = now_ns;
    load_answer_feed(answer, data, num_bytes);
    if (answer->state == LOAD_BROKEN) {
        fail(client, LOAD_FAILED_NOT_HTTP);
        return true;
    }
    for (; num_texts < answer->num_texts; num_texts++) {
        load_histogram_add(num_texts == 0 ? &stats->ttft : &stats->gap,
                           now_ns - (num_texts == 0 ? client->start_ns : client->last_text_ns));
        client->last_text_ns = now_ns;
    }
    if (answer->state == LOAD_COMPLETE) {
        finish(client, now_ns);
        return true;
    }
    if (client->abort_after > 0 && answer->num_texts >= client->abort_after) {
        stats->num_aborted++;
        become_free(client, false);
        return true;
    }
    return false;
}

static void on_events(struct load_socket *socket, uint32_t events, uint64_t now_ns)
{
    static char data[64 * 1024];
    struct client *client = (struct client *)socket;
    if (!client->busy) { /* closed by the server, or bytes that nobody asked for */
        load_socket_close(socket);
        return;
    }
    if ((events & EPOLLOUT) && !send_some(client)) {
        lost(client);
        return;
    }
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
        return;
    ssize_t num_bytes = recv(socket->fd, data, sizeof data, 0);
    if (num_bytes > 0) {
        take_bytes(client, data, (size_t)num_bytes, now_ns);
    } else if (num_bytes == 0 || (errno != EAGAIN && errno != EINTR)) {
        load_answer_end(&client->answer);
        if (client->answer.state == LOAD_COMPLETE)
            finish(client, now_ns);
        else
            lost(client);
    }
}

/* ---- All of them -------------------------------------------------------------------------------
 */

struct load_clients *load_clients_create(const struct load_options *options,
                                         const struct load_target *target, struct load_stats *stats)
{
    struct load_clients *all = nano_mem_calloc(1, sizeof *all);
    if (!all)
        return NULL;
    all->options = options;
    all->target = target;
    all->stats = stats;
    all->num_clients = options->max_concurrency;
    all->clients = nano_mem_calloc((size_t)all->num_clients, sizeof *all->clients);
    all->free_clients = nano_mem_calloc((size_t)all->num_clients, sizeof *all->free_clients);
    if (!all->clients || !all->free_clients) {
        load_clients_destroy(all);
        return NULL;
    }
    for (int i = 0; i < all->num_clients; i++) {
        all->clients[i].socket = (struct load_socket){.fd = -1, .on_events = on_events};
        all->clients[i].clients = all;
        all->free_clients[all->num_free++] = all->num_clients - 1 - i;
    }
    return all;
}

void load_clients_destroy(struct load_clients *all)
{
    if (!all)
        return;
    for (int i = 0; all->clients && i < all->num_clients; i++) {
        load_socket_close(&all->clients[i].socket);
        load_buffer_free(&all->clients[i].request);
    }
    nano_mem_free(all->clients);
    nano_mem_free(all->free_clients);
    nano_mem_free(all);
}

bool load_clients_start(struct load_clients *all, uint64_t number, uint64_t now_ns)
{
    enum { ABORT_STREAM = 1, LENGTH_STREAM = 2 }; /* of random numbers; prompts use others */
    const struct load_options *options = all->options;
    if (all->num_free == 0)
        return false;
    struct client *client = &all->clients[all->free_clients[--all->num_free]];
    client->busy = true;
    client->start_ns = client->last_heard_ns = now_ns;
    client->abort_after = 0;
    if (load_random_share(ABORT_STREAM, number) < options->abort_share)
        client->abort_after =
            1 + load_random(LENGTH_STREAM, number) % (uint64_t)options->output_len;
    load_request_build(&client->request, options, number);
    begin_sending(client);
    bool is_there = client->socket.fd >= 0 ? send_some(client) : connect_client(client);
    if (client->request.failed || (!is_there && !client->is_reused))
        fail(client, LOAD_FAILED_CONNECT);
    else if (!is_there)
        lost(client);
    return true;
}

int load_clients_num_busy(const struct load_clients *all)
{
    return all->num_clients - all->num_free;
}

void load_clients_check_time(struct load_clients *all, uint64_t now_ns)
{
    uint64_t timeout_ns = (uint64_t)(all->options->timeout_s * 1e9);
    for (int i = 0; i < all->num_clients; i++) {
        struct client *client = &all->clients[i];
        if (client->busy && now_ns > client->last_heard_ns &&
            now_ns - client->last_heard_ns > timeout_ns)
            fail(client, LOAD_FAILED_TIMEOUT);
    }
}
