/* Metrics: counters and histograms of requests, and the engine's statistics, as Prometheus reads
 * them (https://prometheus.io/docs/instrumenting/exposition_formats/). Names follow vLLM's with the
 * prefix "nanovllm_". All functions are thread-safe and take no lock that is held for long. */
#ifndef NANO_SERVER_METRICS_H
#define NANO_SERVER_METRICS_H

#include "base/error.h"

struct nano_metrics;

enum nano_metric {
    NANO_METRIC_TIME_TO_FIRST_TOKEN, /* seconds from the request's arrival */
    NANO_METRIC_INTER_TOKEN_LATENCY, /* seconds between two tokens of one completion */
    NANO_METRIC_E2E_LATENCY,
    NANO_METRIC_QUEUE_TIME,
    NANO_METRIC_PREFILL_TIME,
    NANO_METRIC_DECODE_TIME,
    NANO_METRIC_PROMPT_TOKENS,
    NANO_METRIC_GENERATION_TOKENS,
    NANO_METRIC_ITERATION_TOKENS,
    NANO_NUM_METRICS
};

enum nano_status nano_metrics_create(struct nano_metrics **out, struct nano_error *err);
void nano_metrics_destroy(struct nano_metrics *metrics);

void nano_metrics_observe(struct nano_metrics *metrics, enum nano_metric metric, double value);

/* A completion has ended; counts it by reason. */
void nano_metrics_finished(struct nano_metrics *metrics, enum nano_finish_reason reason);

/* An answer has been given. */
void nano_metrics_answered(struct nano_metrics *metrics, int status);

/* The whole exposition; the caller releases it with nano_mem_free. NULL without memory. `engine`
 * NULL: not loaded yet. */
char *nano_metrics_print(struct nano_metrics *metrics, const nano_engine *engine,
                         const char *model_name, size_t *num_bytes);

#endif
