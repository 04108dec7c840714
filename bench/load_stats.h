/* What a run measured: histograms of latencies, counts of failures by kind, and the report. */
#ifndef NANO_BENCH_LOAD_STATS_H
#define NANO_BENCH_LOAD_STATS_H

#include <stdbool.h>
#include <stdint.h>

/* Buckets less than 1 % wide, so that memory does not grow with a run. */
enum { LOAD_SUB_BUCKETS = 128, LOAD_NUM_BUCKETS = 64 * LOAD_SUB_BUCKETS };

struct load_histogram {
    uint64_t counts[LOAD_NUM_BUCKETS];
    uint64_t num, sum_ns, max_ns;
};

void load_histogram_add(struct load_histogram *histogram, uint64_t ns);
/* Seconds that a share of the samples does not exceed. */
double load_histogram_quantile(const struct load_histogram *histogram, double share);

enum load_failure {
    LOAD_FAILED_CONNECT, /* nobody listens, or the door was closed before the request went in */
    LOAD_FAILED_CLOSED,  /* no answer at all to a request that was sent */
    LOAD_FAILED_TRUNCATED,
    LOAD_FAILED_NOT_HTTP,
    LOAD_FAILED_ERROR_EVENT,
    LOAD_FAILED_NO_USAGE, /* an answer that is whole and yet lacks usage or [DONE] */
    LOAD_FAILED_TEXT,     /* another text than the first answer's */
    LOAD_FAILED_TIMEOUT,
    LOAD_FAILED_STATUS, /* by_status says which */
    LOAD_NUM_FAILURES,
};

struct load_stats {
    uint64_t num_ok, num_failed, num_aborted;
    uint64_t failures[LOAD_NUM_FAILURES], by_status[600];
    uint64_t prompt_tokens, completion_tokens, cached_tokens;
    double elapsed_s; /* from the first request to the last answer's end */
    struct load_histogram ttft, gap, e2e;
    /* Connections that are not clients. */
    uint64_t num_idle, num_idle_alive, num_loris, num_loris_cut, num_slow, num_slow_cut;
    double loris_cut_s; /* the longest that one of them lasted */
    double cpu_s;       /* that this program took */
};

void load_stats_fail(struct load_stats *stats, enum load_failure kind);
void load_stats_fail_status(struct load_stats *stats, int status);

void load_stats_print(const struct load_stats *stats);
void load_stats_print_json(const struct load_stats *stats);

#endif
