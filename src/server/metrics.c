/* Metrics: histograms and counters that any thread adds to without a lock, and their printing. */
#include "server/metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/os.h"
#include "server/json_out.h"

enum { MAX_BOUNDS = 24, NUM_REASONS = NANO_FINISH_ERROR + 1, MAX_STATUS = 600 };

/* Upper bounds of buckets; what is above the last counts as +Inf only. */
static const double latency_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                        1,     2.5,    5,     10,   20,    40,   80,  160,  640};
static const double gap_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                    0.075,  0.1,   0.15,   0.2,   0.3,  0.4,   0.5,
                                    0.75,   1,     2.5,    5,     10};
static const double token_bounds[] = {1,   2,    5,    10,   20,    50,    100,   200,
                                      500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

#define BOUNDS(array) (array), sizeof(array) / sizeof *(array)
static const struct {
    const char *name, *help;
    const double *bounds;
    size_t num_bounds;
    double unit; /* sums are kept as whole multiples of it */
} kinds[NANO_NUM_METRICS] = {
    [NANO_METRIC_TIME_TO_FIRST_TOKEN] = {"time_to_first_token_seconds",
                                         "Time from a request's arrival to its first token.",
                                         BOUNDS(latency_bounds), 1e-9},
    [NANO_METRIC_INTER_TOKEN_LATENCY] = {"inter_token_latency_seconds",
                                         "Time between two tokens of a completion.",
                                         BOUNDS(gap_bounds), 1e-9},
    [NANO_METRIC_E2E_LATENCY] = {"e2e_request_latency_seconds",
                                 "Time from a request's arrival to its last token.",
                                 BOUNDS(latency_bounds), 1e-9},
    [NANO_METRIC_QUEUE_TIME] = {"request_queue_time_seconds", "Time that a completion waited.",
                                BOUNDS(latency_bounds), 1e-9},
    [NANO_METRIC_PREFILL_TIME] = {"request_prefill_time_seconds",
                                  "Time from a completion's start to its first token.",
                                  BOUNDS(latency_bounds), 1e-9},
    [NANO_METRIC_DECODE_TIME] = {"request_decode_time_seconds",
                                 "Time from a completion's first token to its last.",
                                 BOUNDS(latency_bounds), 1e-9},
    [NANO_METRIC_PROMPT_TOKENS] = {"request_prompt_tokens", "Tokens of a request's prompts.",
                                   BOUNDS(token_bounds), 1},
    [NANO_METRIC_GENERATION_TOKENS] = {"request_generation_tokens", "Tokens of a completion.",
                                       BOUNDS(token_bounds), 1},
    [NANO_METRIC_ITERATION_TOKENS] = {"iteration_tokens",
                                      "Tokens computed in a step of the engine.",
                                      BOUNDS(token_bounds), 1},
};

struct histogram {
    atomic_uint_least64_t counts[MAX_BOUNDS + 1]; /* [num_bounds + 1], of each bucket alone */
    atomic_uint_least64_t sum;
};

struct nano_metrics {
    struct histogram histograms[NANO_NUM_METRICS];
    atomic_uint_least64_t finished[NUM_REASONS];
    atomic_uint_least64_t answered[MAX_STATUS];
    double start_time_s; /* Unix time */
};

enum nano_status nano_metrics_create(struct nano_metrics **out, struct nano_error *err)
{
    struct timespec now;
    *out = nano_mem_calloc(1, sizeof **out);
    if (!*out)
        return nano_error_no_memory(err, "the metrics", sizeof **out);
    clock_gettime(CLOCK_REALTIME, &now);
    (*out)->start_time_s = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    return NANO_OK;
}

void nano_metrics_destroy(struct nano_metrics *metrics)
{
    nano_mem_free(metrics);
}

static void add(atomic_uint_least64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

static uint64_t get(atomic_uint_least64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void nano_metrics_observe(struct nano_metrics *metrics, enum nano_metric metric, double value)
{
    struct histogram *histogram = &metrics->histograms[metric];
    size_t bucket = 0;
    while (bucket < kinds[metric].num_bounds && value > kinds[metric].bounds[bucket])
        bucket++;
    add(&histogram->counts[bucket], 1);
    add(&histogram->sum, value > 0 ? (uint64_t)(value / kinds[metric].unit + 0.5) : 0);
}

void nano_metrics_finished(struct nano_metrics *metrics, enum nano_finish_reason reason)
{
    add(&metrics->finished[reason], 1);
}

void nano_metrics_answered(struct nano_metrics *metrics, int status)
{
    if (status > 0 && status < MAX_STATUS)
        add(&metrics->answered[status], 1);
}

/* ---- Printing ----------------------------------------------------------------------------------
 */

struct page {
    struct nano_json_out text;
    struct nano_json_out model; /* the label's value, escaped */
};

static void print_head(struct page *page, const char *name, const char *type, const char *help)
{
    nano_json_printf(&page->text, "# HELP nanovllm_%s %s\n# TYPE nanovllm_%s %s\n", name, help,
                     name, type);
}

/* name{model_name="…"<labels>} */
static void print_name(struct page *page, const char *name, const char *suffix, const char *labels)
{
    nano_json_printf(&page->text, "nanovllm_%s%s{model_name=", name, suffix);
    nano_json_raw(&page->text, page->model.data, page->model.num_bytes);
    nano_json_printf(&page->text, "%s} ", labels);
}

static void print_value(struct page *page, const char *name, const char *labels, double value)
{
    print_name(page, name, "", labels);
    nano_json_printf(&page->text, "%.17g\n", value);
}

static void print_counter(struct page *page, const char *name, const char *help, uint64_t value)
{
    print_head(page, name, "counter", help);
    print_value(page, name, "", (double)value);
}

static void print_gauge(struct page *page, const char *name, const char *help, double value)
{
    print_head(page, name, "gauge", help);
    print_value(page, name, "", value);
}

static void print_histogram(struct page *page, struct nano_metrics *metrics, int metric)
{
    struct histogram *histogram = &metrics->histograms[metric];
    const char *name = kinds[metric].name;
    size_t num_bounds = kinds[metric].num_bounds;
    uint64_t count = 0;
    char labels[48];
    print_head(page, name, "histogram", kinds[metric].help);
    for (size_t i = 0; i <= num_bounds; i++) {
        count += get(&histogram->counts[i]);
        if (i < num_bounds)
            snprintf(labels, sizeof labels, ",le=\"%g\"", kinds[metric].bounds[i]);
        else
            snprintf(labels, sizeof labels, ",le=\"+Inf\"");
        print_name(page, name, "_bucket", labels);
        nano_json_printf(&page->text, "%llu\n", (unsigned long long)count);
    }
    print_name(page, name, "_sum", "");
    nano_json_printf(&page->text, "%.17g\n", (double)get(&histogram->sum) * kinds[metric].unit);
    print_name(page, name, "_count", "");
    nano_json_printf(&page->text, "%llu\n", (unsigned long long)count);
}

static void print_engine(struct page *page, const nano_engine *engine)
{
    struct nano_stats s;
    nano_engine_get_stats(engine, &s);
    print_gauge(page, "num_requests_running", "Sequences in the running batch.",
                s.num_requests_running);
    print_gauge(page, "num_requests_waiting", "Sequences that wait.", s.num_requests_waiting);
    print_gauge(page, "kv_cache_usage_perc", "Share of the KV cache in use, 1 is all of it.",
                s.num_blocks ? (double)s.num_blocks_used / s.num_blocks : 0);
    print_gauge(page, "kv_cache_blocks", "Blocks of the KV cache.", s.num_blocks);
    print_gauge(page, "kv_cache_blocks_used", "Blocks in use.", s.num_blocks_used);
    print_gauge(page, "kv_cache_blocks_shared", "Blocks in use by several sequences.",
                s.num_blocks_shared);
    print_gauge(page, "kv_cache_blocks_cached", "Free blocks whose content can be found again.",
                s.num_blocks_cached);
    print_counter(page, "prefix_cache_queries_total",
                  "Prompt tokens looked up in the prefix cache.", s.prefix_cache_queries_total);
    print_counter(page, "prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
                  s.prefix_cache_hits_total);
    print_counter(page, "num_preemptions_total", "Sequences that lost their blocks.",
                  s.num_preemptions_total);
    print_counter(page, "prompt_tokens_total", "Prompt tokens of admitted requests.",
                  s.prompt_tokens_total);
    print_counter(page, "generation_tokens_total", "Tokens generated.", s.generation_tokens_total);
    print_counter(page, "computed_tokens_total", "Token positions run through the model.",
                  s.computed_tokens_total);
    print_counter(page, "spec_decode_num_draft_tokens_total", "Tokens proposed by speculation.",
                  s.draft_tokens_total);
    print_counter(page, "spec_decode_num_accepted_tokens_total", "Proposed tokens that were right.",
                  s.accepted_tokens_total);
    print_counter(page, "steps_total", "Steps of the engine.", s.num_steps_total);
}

char *nano_metrics_print(struct nano_metrics *metrics, const nano_engine *engine,
                         const char *model_name, size_t *num_bytes)
{
    struct page page = {0};
    char labels[48];
    nano_json_cstring(&page.model, model_name);
    if (engine)
        print_engine(&page, engine);
    for (int i = 0; i < NANO_NUM_METRICS; i++)
        print_histogram(&page, metrics, i);
    print_head(&page, "request_success_total", "counter", "Completions that ended, by reason.");
    for (int i = NANO_FINISH_NONE + 1; i < NUM_REASONS; i++) {
        snprintf(labels, sizeof labels, ",finished_reason=\"%s\"",
                 nano_finish_reason_name((enum nano_finish_reason)i));
        print_value(&page, "request_success_total", labels, (double)get(&metrics->finished[i]));
    }
    print_head(&page, "http_requests_total", "counter", "Answers given, by HTTP status.");
    for (int i = 0; i < MAX_STATUS; i++) {
        uint64_t count = get(&metrics->answered[i]);
        snprintf(labels, sizeof labels, ",code=\"%d\"", i);
        if (count > 0)
            print_value(&page, "http_requests_total", labels, (double)count);
    }
    nano_json_printf(
        &page.text,
        "# HELP process_resident_memory_bytes Resident memory size in bytes.\n"
        "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %llu\n",
        (unsigned long long)nano_os_rss_bytes());
    nano_json_printf(&page.text,
                     "# HELP process_start_time_seconds Start time since the Unix epoch.\n"
                     "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n",
                     metrics->start_time_s);
    bool failed = page.text.failed || page.model.failed;
    nano_json_deinit(&page.model);
    if (failed) {
        nano_json_deinit(&page.text);
        return NULL;
    }
    *num_bytes = page.text.num_bytes;
    return page.text.data;
}
