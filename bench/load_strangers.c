#include "load_strangers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/memory.h"
#include "load_answer.h"

#define SECOND_NS 1000000000u

enum kind {
    IDLE,
    DRIBBLE_HEAD, /* the header never ends */
    DRIBBLE_BODY,
    NOT_READING,
};

enum phase { SENDING, WAITING, RESTING, ENDED };

struct stranger {
    struct load_socket socket; /* first: events find their stranger by it */
    struct load_strangers *all;
    enum kind kind;
    enum phase phase;
    bool is_last_round;
    const char *text; /* what it sends at once */
    size_t num_bytes, sent;
    uint64_t start_ns, dribbled_ns;
    struct load_answer answer;
};

struct load_strangers {
    const struct load_options *options;
    const struct load_target *target;
    struct load_stats *stats;
    struct stranger *strangers;
    int num_strangers;
    struct load_buffer request; /* of slow readers */
    struct load_buffer texts[NOT_READING];
};

/* The connection is over, whoever ended it. */
static void end(struct stranger *stranger, uint64_t now_ns)
{
    struct load_stats *stats = stranger->all->stats;
    double lasted_s = (double)(now_ns - stranger->start_ns) / SECOND_NS;
    load_socket_close(&stranger->socket);
    stranger->phase = ENDED;
    if (stranger->kind == NOT_READING) {
        stats->num_slow_cut += stranger->answer.state != LOAD_COMPLETE;
    } else if (stranger->kind != IDLE) {
        stats->num_loris_cut++;
        if (lasted_s > stats->loris_cut_s)
            stats->loris_cut_s = lasted_s;
    }
}

static uint32_t resting_events(const struct stranger *stranger)
{
    return stranger->kind == NOT_READING ? 0 : EPOLLIN;
}

static void send_some(struct stranger *stranger, uint64_t now_ns)
{
    if (!load_socket_send(&stranger->socket, stranger->text, stranger->num_bytes,
                          &stranger->sent)) {
        end(stranger, now_ns);
        return;
    }
    if (stranger->sent < stranger->num_bytes)
        return;
    stranger->phase = stranger->kind == IDLE ? WAITING : RESTING;
    load_socket_watch(&stranger->socket, stranger->all->target, resting_events(stranger));
}

static void answered(struct stranger *stranger, uint64_t now_ns)
{
    if (stranger->is_last_round && stranger->kind == IDLE)
        stranger->all->stats->num_idle_alive += stranger->answer.status == 200;
    if (stranger->is_last_round)
        end(stranger, now_ns);
    else
        stranger->phase = RESTING;
}

static void on_events(struct load_socket *socket, uint32_t events, uint64_t now_ns)
{
    static char data[64 * 1024];
    struct stranger *stranger = (struct stranger *)socket;
    if (stranger->phase == SENDING && (events & EPOLLOUT)) {
        send_some(stranger, now_ns);
        return;
    }
    ssize_t num_bytes = recv(socket->fd, data, sizeof data, 0);
    if (num_bytes == 0 || (num_bytes < 0 && errno != EAGAIN && errno != EINTR)) {
        end(stranger, now_ns);
        return;
    }
    if (num_bytes > 0 && (stranger->kind == IDLE || stranger->kind == NOT_READING))
        load_answer_feed(&stranger->answer, data, (size_t)num_bytes);
    if (stranger->answer.state == LOAD_COMPLETE && stranger->phase == WAITING)
        answered(stranger, now_ns);
}

/* ---- All of them -------------------------------------------------------------------------------
 */

static void build_texts(struct load_strangers *all)
{
    const struct load_options *o = all->options;
    load_request_build(&all->request, o, UINT32_MAX);
    load_buffer_add(&all->texts[IDLE], "GET /health HTTP/1.1\r\nHost: %s:%d\r\n\r\n", o->host,
                    o->port);
    load_buffer_add(&all->texts[DRIBBLE_HEAD],
                    "POST %s HTTP/1.1\r\nHost: %s:%d\r\nX-Dribble: ", o->endpoint, o->host,
                    o->port);
    load_buffer_add(&all->texts[DRIBBLE_BODY],
                    "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: 10000\r\n\r\n{",
                    o->endpoint, o->host, o->port);
}

static void open_one(struct load_strangers *all, struct stranger *stranger, enum kind kind,
                     uint64_t now_ns)
{
    const struct load_buffer *text = kind == NOT_READING ? &all->request : &all->texts[kind];
    *stranger = (struct stranger){.socket = {.fd = -1, .on_events = on_events},
                                  .all = all,
                                  .kind = kind,
                                  .text = text->data,
                                  .num_bytes = text->num_bytes,
                                  .start_ns = now_ns,
                                  .dribbled_ns = now_ns};
    load_answer_begin(&stranger->answer);
    if (!load_socket_connect(&stranger->socket, all->target, EPOLLOUT,
                             kind == NOT_READING ? 4096 : 0))
        end(stranger, now_ns);
}

struct load_strangers *load_strangers_create(const struct load_options *options,
                                             const struct load_target *target,
                                             struct load_stats *stats, uint64_t now_ns)
{
    struct load_strangers *all = nano_mem_calloc(1, sizeof *all);
    int num = options->num_idle + options->num_loris + options->num_slow;
    if (!all)
        return NULL;
    all->options = options;
    all->target = target;
    all->stats = stats;
    all->strangers = nano_mem_calloc((size_t)num + 1, sizeof *all->strangers);
    build_texts(all);
    if (!all->strangers || all->request.failed || all->texts[DRIBBLE_BODY].failed) {
        load_strangers_destroy(all);
        return NULL;
    }
    stats->num_idle = (uint64_t)options->num_idle;
    stats->num_loris = (uint64_t)options->num_loris;
    stats->num_slow = (uint64_t)options->num_slow;
    for (all->num_strangers = 0; all->num_strangers < num; all->num_strangers++) {
        int i = all->num_strangers - options->num_idle;
        open_one(all, &all->strangers[all->num_strangers],
                 i < 0                     ? IDLE
                 : i >= options->num_loris ? NOT_READING
                 : i % 2                   ? DRIBBLE_BODY
                                           : DRIBBLE_HEAD,
                 now_ns);
    }
    return all;
}

void load_strangers_destroy(struct load_strangers *all)
{
    if (!all)
        return;
    for (int i = 0; i < all->num_strangers; i++)
        load_socket_close(&all->strangers[i].socket);
    for (int i = 0; i < NOT_READING; i++)
        load_buffer_free(&all->texts[i]);
    load_buffer_free(&all->request);
    nano_mem_free(all->strangers);
    nano_mem_free(all);
}

bool load_strangers_are_ready(const struct load_strangers *all)
{
    for (int i = 0; i < all->num_strangers; i++)
        if (all->strangers[i].phase < RESTING)
            return false;
    return true;
}

void load_strangers_tick(struct load_strangers *all, uint64_t now_ns)
{
    for (int i = 0; i < all->num_strangers; i++) {
        struct stranger *stranger = &all->strangers[i];
        size_t sent = 0;
        bool dribbles = stranger->kind == DRIBBLE_HEAD || stranger->kind == DRIBBLE_BODY;
        if (!dribbles || stranger->phase != RESTING || now_ns - stranger->dribbled_ns < SECOND_NS)
            continue;
        stranger->dribbled_ns = now_ns;
        if (!load_socket_send(&stranger->socket, " ", 1, &sent))
            end(stranger, now_ns);
    }
}

void load_strangers_settle(struct load_strangers *all, uint64_t now_ns)
{
    for (int i = 0; i < all->num_strangers; i++) {
        struct stranger *stranger = &all->strangers[i];
        bool dribbles = stranger->kind == DRIBBLE_HEAD || stranger->kind == DRIBBLE_BODY;
        stranger->is_last_round = true;
        if (stranger->phase != RESTING || dribbles)
            continue;
        stranger->phase = WAITING;
        if (stranger->kind == IDLE) {
            load_answer_begin(&stranger->answer);
            stranger->sent = 0;
            stranger->phase = SENDING;
            send_some(stranger, now_ns);
        } else {
            load_socket_watch(&stranger->socket, all->target, EPOLLIN);
        }
    }
}

bool load_strangers_are_settled(const struct load_strangers *all)
{
    for (int i = 0; i < all->num_strangers; i++) {
        const struct stranger *stranger = &all->strangers[i];
        if (stranger->phase == SENDING || stranger->phase == WAITING)
            return false;
    }
    return true;
}
