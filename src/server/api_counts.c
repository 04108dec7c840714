/* What an answer tells the metrics. */
#include "server/api_answer.h"

static double seconds(uint64_t ns)
{
    return (double)ns * 1e-9;
}

/* Tokens of one step share the time since the step before, so it is counted when that many are
 * known: with the next step, or at the end. */
static void count_gap(struct nano_metrics *metrics, struct nano_api_choice *choice)
{
    double share = choice->num_in_step ? seconds(choice->gap_ns) / choice->num_in_step : 0;
    for (int i = 0; choice->gap_ns && i < choice->num_in_step; i++)
        nano_metrics_observe(metrics, NANO_METRIC_INTER_TOKEN_LATENCY, share);
    choice->gap_ns = 0;
}

void nano_api_count_tokens(const struct nano_api_answer *answer, struct nano_api_choice *choice,
                           const struct nano_output *output)
{
    struct nano_metrics *metrics = answer->api->metrics;
    if (output->time_ns == choice->step_ns) {
        choice->num_in_step += output->num_tokens;
        return;
    }
    count_gap(metrics, choice);
    if (choice->step_ns)
        choice->gap_ns = output->time_ns - choice->step_ns;
    else if (output->time_ns > answer->arrival_ns)
        nano_metrics_observe(metrics, NANO_METRIC_TIME_TO_FIRST_TOKEN,
                             seconds(output->time_ns - answer->arrival_ns));
    choice->step_ns = output->time_ns;
    choice->num_in_step = output->num_tokens;
}

void nano_api_count_finish(const struct nano_api_answer *answer, struct nano_api_choice *choice,
                           const struct nano_output *output)
{
    struct nano_metrics *metrics = answer->api->metrics;
    uint64_t now_ns = output->time_ns;
    count_gap(metrics, choice);
    nano_metrics_finished(metrics, output->finish_reason);
    if (output->finish_reason == NANO_FINISH_CANCELLED ||
        output->finish_reason == NANO_FINISH_ERROR)
        return; /* how long it took says nothing */
    nano_metrics_observe(metrics, NANO_METRIC_E2E_LATENCY,
                         now_ns > answer->arrival_ns ? seconds(now_ns - answer->arrival_ns) : 0);
    nano_metrics_observe(metrics, NANO_METRIC_QUEUE_TIME, seconds(output->queued_ns));
    nano_metrics_observe(metrics, NANO_METRIC_PREFILL_TIME, seconds(output->prefill_ns));
    nano_metrics_observe(metrics, NANO_METRIC_DECODE_TIME, seconds(output->decode_ns));
    nano_metrics_observe(metrics, NANO_METRIC_GENERATION_TOKENS, output->num_completion_tokens);
    if (output->index == 0)
        nano_metrics_observe(metrics, NANO_METRIC_PROMPT_TOKENS, output->num_prompt_tokens);
}
