/* bench_serve: load for a running "nanovllm serve" (or another server of OpenAI's completions), and
 * what its clients see of it. One thread that does little per byte, so that it can share the
 * machine with the server.
 *
 * Clients are closed loops: each sends its next request when its last is answered. With a request
 * rate, requests come at random times (Poisson) and wait for a client that is free; their time
 * begins when they are sent. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/os.h"
#include "load_client.h"
#include "load_strangers.h"

/* ---- Options -----------------------------------------------------------------------------------
 */

enum value_kind { FLAG, COUNT, NUMBER, TEXT };

#define AT(member) offsetof(struct load_options, member)
static const struct option {
    const char *name;
    enum value_kind kind;
    size_t offset;
    double min;
    const char *help;
} table[] = {
    {"--host", TEXT, AT(host), 0, "where the server is (127.0.0.1)"},
    {"--port", COUNT, AT(port), 1, "its port (8000)"},
    {"--endpoint", TEXT, AT(endpoint), 0, "/v1/completions (default) or /v1/chat/completions"},
    {"--model", TEXT, AT(model), 0, "name of the model (none is sent)"},
    {"--api-key", TEXT, AT(api_key), 0, "key"},
    {"--num-prompts", COUNT, AT(num_prompts), 0, "requests in all (100)"},
    {"--duration", NUMBER, AT(duration_s), 0, "send requests for so many seconds instead"},
    {"--max-concurrency", COUNT, AT(max_concurrency), 1, "clients, one connection each (16)"},
    {"--request-rate", NUMBER, AT(request_rate), 0, "requests per second, at random times"},
    {"--input-len", COUNT, AT(input_len), 0, "random token ids (words, for chat) of a prompt (64)"},
    {"--prefix-len", COUNT, AT(prefix_len), 0, "and as many before them, the same in all (0)"},
    {"--vocab", COUNT, AT(vocab), 1, "ids are below this (256)"},
    {"--prompt", TEXT, AT(prompt), 0, "this prompt instead"},
    {"--output-len", COUNT, AT(output_len), 1, "most tokens of an answer (64)"},
    {"--n", COUNT, AT(n), 1, "answers to each prompt (1)"},
    {"--temperature", NUMBER, AT(temperature), 0, "(0)"},
    {"--extra", TEXT, AT(extra), 0, "more fields, e.g. '\"top_k\":5,\"n\":2'"},
    {"--seed", COUNT, AT(seed), 0, "of prompts and times (0)"},
    {"--ignore-eos", FLAG, AT(ignore_eos), 0, "answers are as long as they may be"},
    {"--no-stream", FLAG, AT(no_stream), 0, "answers come whole"},
    {"--no-keep-alive", FLAG, AT(no_keep_alive), 0, "a new connection for every request"},
    {"--same", FLAG, AT(same), 0, "answers must all have the same text (with --prompt)"},
    {"--timeout", NUMBER, AT(timeout_s), 0, "seconds without a byte that end a request (120)"},
    {"--abort", NUMBER, AT(abort_share), 0, "share of the answers that are hung up on midway (0)"},
    {"--idle", COUNT, AT(num_idle), 0, "connections that are kept and not used"},
    {"--slow-loris", COUNT, AT(num_loris), 0, "connections that send a byte per second"},
    {"--slow-read", COUNT, AT(num_slow), 0, "clients that do not read their answer"},
    {"--linger", NUMBER, AT(linger_s), 0, "seconds that the run lasts after its last request (0)"},
    {"--json", FLAG, AT(json), 0, "print one line of JSON"},
};

enum { NUM_OPTIONS = sizeof table / sizeof *table };

static int usage(FILE *out, const char *problem, const char *name)
{
    if (problem) {
        fprintf(out, "bench_serve: %s: %s (see --help)\n", name, problem);
        return 2;
    }
    fprintf(out, "Usage: bench_serve [options]\n\n");
    for (int i = 0; i < NUM_OPTIONS; i++)
        fprintf(out, "  %-18s %s%s\n", table[i].name, table[i].kind == FLAG ? "" : "X  ",
                table[i].help);
    return 0;
}

static bool parse_value(const struct option *option, const char *text, struct load_options *out)
{
    char *target = (char *)out + option->offset, *end;
    if (option->kind == TEXT) {
        *(const char **)target = text;
        return true;
    }
    double value = strtod(text, &end);
    if (*end || end == text || !(value >= option->min && value <= INT_MAX))
        return false;
    if (option->kind == NUMBER)
        *(double *)target = value;
    else
        *(int *)target = (int)value;
    return option->kind == NUMBER || value == (int)value;
}

/* Exit status, or -1: go on. */
static int parse(int argc, char **argv, struct load_options *out)
{
    for (int i = 1; i < argc; i++) {
        const struct option *option = table;
        if (strcmp(argv[i], "--help") == 0)
            return usage(stdout, NULL, NULL);
        while (option < table + NUM_OPTIONS && strcmp(option->name, argv[i]) != 0)
            option++;
        if (option == table + NUM_OPTIONS)
            return usage(stderr, "unknown option", argv[i]);
        if (option->kind == FLAG)
            *(bool *)((char *)out + option->offset) = true;
        else if (++i == argc || !parse_value(option, argv[i], out))
            return usage(stderr, i == argc ? "expected a value" : "this value is not possible",
                         option->name);
    }
    return -1;
}

/* ---- The run -----------------------------------------------------------------------------------
 */

struct run {
    const struct load_options *options;
    struct load_target target;
    struct load_stats *stats;
    struct load_clients *clients;
    struct load_strangers *strangers;
    uint64_t num_sent, next_ns, ticked_ns; /* next_ns: when a request comes next */
};

static bool find_server(struct run *run)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)run->options->port & 0xFFFFu);
    int result = getaddrinfo(run->options->host, port, &hints, &found);
    if (result != 0) {
        fprintf(stderr, "bench_serve: %s: %s\n", run->options->host, gai_strerror(result));
        return false;
    }
    memcpy(&run->target.address, found->ai_addr, found->ai_addrlen);
    run->target.address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

/* One round of the event loop. */
static void turn(struct run *run)
{
    enum { MAX_EVENTS = 256, TICK_MS = 100 };
    struct epoll_event events[MAX_EVENTS];
    uint64_t now_ns = nano_os_clock_ns();
    int wait_ms = TICK_MS;
    if (run->next_ns > now_ns && run->next_ns - now_ns < (uint64_t)TICK_MS * 1000000u)
        wait_ms = (int)((run->next_ns - now_ns) / 1000000u);
    int num = epoll_wait(run->target.epoll_fd, events, MAX_EVENTS, wait_ms);
    now_ns = nano_os_clock_ns();
    for (int i = 0; i < num; i++) {
        struct load_socket *socket = events[i].data.ptr;
        socket->on_events(socket, events[i].events, now_ns);
    }
    if (now_ns - run->ticked_ns < (uint64_t)TICK_MS * 1000000u)
        return;
    run->ticked_ns = now_ns;
    load_strangers_tick(run->strangers, now_ns);
    load_clients_check_time(run->clients, now_ns);
}

static bool is_over(const struct run *run, uint64_t start_ns, uint64_t now_ns)
{
    const struct load_options *options = run->options;
    if (options->duration_s > 0)
        return (double)(now_ns - start_ns) * 1e-9 >= options->duration_s;
    return run->num_sent >= (uint64_t)options->num_prompts;
}

/* Sends what is due; false when all has been sent. */
static bool send_due(struct run *run, uint64_t start_ns)
{
    enum { TIME_STREAM = 3 /* of random numbers */, RETRY_NS = 10000000 };
    const struct load_options *options = run->options;
    uint64_t now_ns = nano_os_clock_ns();
    uint64_t num_failed = run->stats->num_failed;
    while (!is_over(run, start_ns, now_ns)) {
        if (run->stats->num_failed > num_failed) /* nobody is there; asking faster does not help */
            run->next_ns = now_ns + RETRY_NS;
        if (run->next_ns > now_ns || !load_clients_start(run->clients, run->num_sent, now_ns))
            return true;
        run->num_sent++;
        if (options->request_rate > 0) {
            double share = load_random_share(TIME_STREAM + (uint64_t)options->seed, run->num_sent);
            run->next_ns += (uint64_t)(-log(1 - share) / options->request_rate * 1e9);
        }
        now_ns = nano_os_clock_ns();
    }
    return false;
}

static void turn_until(struct run *run, bool (*are)(const struct load_strangers *), double seconds)
{
    uint64_t end_ns = nano_os_clock_ns() + (uint64_t)(seconds * 1e9);
    while (!(are && are(run->strangers)) && nano_os_clock_ns() < end_ns)
        turn(run);
}

static void measure(struct run *run)
{
    enum { PATIENCE_S = 15 };
    turn_until(run, load_strangers_are_ready, PATIENCE_S);
    uint64_t start_ns = run->next_ns = nano_os_clock_ns();
    while (send_due(run, start_ns) || load_clients_num_busy(run->clients) > 0)
        turn(run);
    run->stats->elapsed_s = (double)(nano_os_clock_ns() - start_ns) * 1e-9;
    turn_until(run, NULL, run->options->linger_s);
    load_strangers_settle(run->strangers, nano_os_clock_ns());
    turn_until(run, load_strangers_are_settled, PATIENCE_S);
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) == 0)
        run->stats->cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                            (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

/* Every connection is a file. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static struct load_stats stats;
    struct load_options options = {
        .host = "127.0.0.1",
        .endpoint = "/v1/completions",
        .port = 8000,
        .num_prompts = 100,
        .max_concurrency = 16,
        .input_len = 64,
        .output_len = 64,
        .vocab = 256,
        .n = 1,
        .timeout_s = 120,
    };
    struct run run = {.options = &options, .stats = &stats};
    int result = parse(argc, argv, &options);
    if (result < 0 && options.port > 65535)
        result = usage(stderr, "expected at most 65535", "--port");
    if (result >= 0)
        return result;
    raise_file_limit();
    if (!find_server(&run))
        return 1;
    run.target.epoll_fd = epoll_create1(0);
    run.clients = load_clients_create(&options, &run.target, &stats);
    run.strangers = load_strangers_create(&options, &run.target, &stats, nano_os_clock_ns());
    result = run.target.epoll_fd >= 0 && run.clients && run.strangers ? 0 : 1;
    if (result == 0) {
        measure(&run);
        (options.json ? load_stats_print_json : load_stats_print)(&stats);
        result = stats.num_failed > 0;
    } else {
        fprintf(stderr, "bench_serve: cannot start: %s\n", strerror(errno));
    }
    load_strangers_destroy(run.strangers);
    load_clients_destroy(run.clients);
    if (run.target.epoll_fd >= 0)
        close(run.target.epoll_fd);
    return result;
}
