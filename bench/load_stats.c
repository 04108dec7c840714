#include "load_stats.h"

#include <stdio.h>

/* ---- Histograms --------------------------------------------------------------------------------
 */

static unsigned bucket_of(uint64_t ns)
{
    unsigned shift = 0;
    while (ns >> shift >= 2 * LOAD_SUB_BUCKETS)
        shift++;
    return shift * LOAD_SUB_BUCKETS + (unsigned)(ns >> shift);
}

static double bucket_middle_ns(unsigned bucket)
{
    if (bucket < 2 * LOAD_SUB_BUCKETS)
        return bucket;
    unsigned shift = bucket / LOAD_SUB_BUCKETS - 1;
    uint64_t low = (uint64_t)(bucket - shift * LOAD_SUB_BUCKETS) << shift;
    return (double)low + (double)((uint64_t)1 << shift) / 2;
}

void load_histogram_add(struct load_histogram *histogram, uint64_t ns)
{
    histogram->counts[bucket_of(ns)]++;
    histogram->num++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

double load_histogram_quantile(const struct load_histogram *histogram, double share)
{
    double wanted = share * (double)histogram->num;
    uint64_t num_seen = 0;
    for (unsigned i = 0; i < LOAD_NUM_BUCKETS; i++) {
        num_seen += histogram->counts[i];
        if (num_seen > 0 && (double)num_seen >= wanted)
            return bucket_middle_ns(i) < (double)histogram->max_ns
                       ? bucket_middle_ns(i) * 1e-9
                       : (double)histogram->max_ns * 1e-9;
    }
    return 0;
}

/* ---- Failures ----------------------------------------------------------------------------------
 */

static const char *const failure_names[LOAD_NUM_FAILURES] = {
    [LOAD_FAILED_CONNECT] = "no connection",   [LOAD_FAILED_CLOSED] = "closed without an answer",
    [LOAD_FAILED_TRUNCATED] = "truncated",     [LOAD_FAILED_NOT_HTTP] = "not HTTP",
    [LOAD_FAILED_ERROR_EVENT] = "error event", [LOAD_FAILED_NO_USAGE] = "no usage",
    [LOAD_FAILED_TEXT] = "other text",         [LOAD_FAILED_TIMEOUT] = "timeout",
};

void load_stats_fail(struct load_stats *stats, enum load_failure kind)
{
    stats->num_failed++;
    stats->failures[kind]++;
}

void load_stats_fail_status(struct load_stats *stats, int status)
{
    load_stats_fail(stats, LOAD_FAILED_STATUS);
    if (status >= 0 && status < (int)(sizeof stats->by_status / sizeof *stats->by_status))
        stats->by_status[status]++;
}

/* "2 status 429, 1 truncated", or its JSON. */
static void print_failures(const struct load_stats *stats, bool json)
{
    const char *separator = "";
    char name[40];
    for (int i = 0; i < LOAD_FAILED_STATUS + 600; i++) {
        bool is_status = i >= LOAD_FAILED_STATUS;
        uint64_t num = is_status ? stats->by_status[i - LOAD_FAILED_STATUS] : stats->failures[i];
        if (num == 0)
            continue;
        if (is_status)
            snprintf(name, sizeof name, "status %d", i - LOAD_FAILED_STATUS);
        else
            snprintf(name, sizeof name, "%s", failure_names[i]);
        if (json)
            printf("%s\"%s\":%llu", separator, name, (unsigned long long)num);
        else
            printf("%s%llu %s", separator, (unsigned long long)num, name);
        separator = json ? "," : ", ";
    }
}

/* ---- Reports -----------------------------------------------------------------------------------
 */

static double rate(const struct load_stats *stats, uint64_t num)
{
    return stats->elapsed_s > 0 ? (double)num / stats->elapsed_s : 0;
}

static double mean_s(const struct load_histogram *histogram)
{
    return histogram->num > 0 ? (double)histogram->sum_ns * 1e-9 / (double)histogram->num : 0;
}

static void print_row(const char *name, const struct load_histogram *histogram)
{
    printf("%-20s %10.3f %10.3f %10.3f %10.3f %10.3f\n", name, mean_s(histogram) * 1e3,
           load_histogram_quantile(histogram, 0.5) * 1e3,
           load_histogram_quantile(histogram, 0.9) * 1e3,
           load_histogram_quantile(histogram, 0.99) * 1e3, (double)histogram->max_ns * 1e-6);
}

void load_stats_print(const struct load_stats *stats)
{
    printf("requests             %llu ok, %llu failed", (unsigned long long)stats->num_ok,
           (unsigned long long)stats->num_failed);
    if (stats->num_failed > 0) {
        printf(" (");
        print_failures(stats, false);
        printf(")");
    }
    if (stats->num_aborted > 0)
        printf(", %llu aborted", (unsigned long long)stats->num_aborted);
    printf(", in %.3f s\n", stats->elapsed_s);
    printf("tokens               %llu of prompts (%llu cached), %llu of output\n",
           (unsigned long long)stats->prompt_tokens, (unsigned long long)stats->cached_tokens,
           (unsigned long long)stats->completion_tokens);
    printf("throughput           %.1f output tok/s, %.1f total tok/s, %.2f requests/s\n",
           rate(stats, stats->completion_tokens),
           rate(stats, stats->completion_tokens + stats->prompt_tokens),
           rate(stats, stats->num_ok));
    printf("%-20s %10s %10s %10s %10s %10s\n", "ms", "mean", "median", "p90", "p99", "max");
    print_row("first token", &stats->ttft);
    print_row("inter-token", &stats->gap);
    print_row("request", &stats->e2e);
    if (stats->num_idle > 0)
        printf("idle connections     %llu, %llu alive at the end\n",
               (unsigned long long)stats->num_idle, (unsigned long long)stats->num_idle_alive);
    if (stats->num_loris > 0)
        printf("dribbling            %llu, %llu cut off, within %.1f s\n",
               (unsigned long long)stats->num_loris, (unsigned long long)stats->num_loris_cut,
               stats->loris_cut_s);
    if (stats->num_slow > 0)
        printf("not reading          %llu, %llu cut off\n", (unsigned long long)stats->num_slow,
               (unsigned long long)stats->num_slow_cut);
    printf("this program         %.2f s of processor time\n", stats->cpu_s);
}

static void print_json_row(const char *name, const struct load_histogram *histogram)
{
    printf(",\"%s\":{\"num\":%llu,\"mean\":%.6f,\"median\":%.6f,\"p90\":%.6f,\"p99\":%.6f,\"max\":%"
           ".6f}",
           name, (unsigned long long)histogram->num, mean_s(histogram),
           load_histogram_quantile(histogram, 0.5), load_histogram_quantile(histogram, 0.9),
           load_histogram_quantile(histogram, 0.99), (double)histogram->max_ns * 1e-9);
}

void load_stats_print_json(const struct load_stats *stats)
{
    printf("{\"ok\":%llu,\"failed\":%llu,\"aborted\":%llu,\"failures\":{",
           (unsigned long long)stats->num_ok, (unsigned long long)stats->num_failed,
           (unsigned long long)stats->num_aborted);
    print_failures(stats, true);
    printf(
        "},\"elapsed_s\":%.6f,\"prompt_tokens\":%llu,\"cached_tokens\":%llu,\"output_tokens\":%llu",
        stats->elapsed_s, (unsigned long long)stats->prompt_tokens,
        (unsigned long long)stats->cached_tokens, (unsigned long long)stats->completion_tokens);
    printf(",\"output_tokens_per_s\":%.3f,\"total_tokens_per_s\":%.3f,\"requests_per_s\":%.3f",
           rate(stats, stats->completion_tokens),
           rate(stats, stats->completion_tokens + stats->prompt_tokens),
           rate(stats, stats->num_ok));
    print_json_row("ttft_s", &stats->ttft);
    print_json_row("itl_s", &stats->gap);
    print_json_row("e2e_s", &stats->e2e);
    printf(",\"idle\":{\"opened\":%llu,\"alive\":%llu}", (unsigned long long)stats->num_idle,
           (unsigned long long)stats->num_idle_alive);
    printf(",\"slow_loris\":{\"opened\":%llu,\"cut\":%llu,\"longest_s\":%.3f}",
           (unsigned long long)stats->num_loris, (unsigned long long)stats->num_loris_cut,
           stats->loris_cut_s);
    printf(",\"slow_read\":{\"opened\":%llu,\"cut\":%llu}", (unsigned long long)stats->num_slow,
           (unsigned long long)stats->num_slow_cut);
    printf(",\"cpu_s\":%.3f}\n", stats->cpu_s);
}
