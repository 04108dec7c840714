/* Sampling parameters: defaults and checks. */
#include <math.h>

#include "engine/sequence.h"

#define MAX_N 64

struct nano_sampling_params nano_sampling_params_default(void)
{
    return (struct nano_sampling_params){
        .n = 1,
        .max_tokens = -1,
        .temperature = 1.0f,
        .top_p = 1.0f,
        .repetition_penalty = 1.0f,
        .logprobs = -1,
        .prompt_logprobs = -1,
        .skip_special_tokens = true,
        .detokenize = true,
    };
}

struct nano_request nano_request_default(void)
{
    return (struct nano_request){
        .encode_flags = NANO_ENCODE_ADD_SPECIAL | NANO_ENCODE_PARSE_SPECIAL,
        .sampling = nano_sampling_params_default(),
    };
}

const char *nano_finish_reason_name(enum nano_finish_reason reason)
{
    switch (reason) {
    case NANO_FINISH_STOP:
        return "stop";
    case NANO_FINISH_LENGTH:
        return "length";
    case NANO_FINISH_CANCELLED:
        return "cancelled";
    case NANO_FINISH_ERROR:
        return "error";
    case NANO_FINISH_NONE:
        break;
    }
    return NULL;
}

static enum nano_status out_of_range(const char *name, double value, const char *expected,
                                     struct nano_error *err)
{
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%s is %g, expected %s", name, value,
                          expected);
}

enum nano_status nano_sampling_params_check(const struct nano_sampling_params *p,
                                            struct nano_error *err)
{
    if (p->n < 1 || p->n > MAX_N)
        return out_of_range("n", p->n, "1 to 64", err);
    if (p->max_tokens < -1)
        return out_of_range("max_tokens", p->max_tokens, "0 or more, or -1 for no limit", err);
    if (p->min_tokens < 0 || (p->max_tokens >= 0 && p->min_tokens > p->max_tokens))
        return out_of_range("min_tokens", p->min_tokens, "0 to max_tokens", err);
    if (!(p->temperature >= 0.0f) || !isfinite(p->temperature))
        return out_of_range("temperature", (double)p->temperature, "0 or more", err);
    if (p->top_k < -1)
        return out_of_range("top_k", p->top_k, "1 or more, or 0 or -1 for all", err);
    if (!(p->top_p > 0.0f && p->top_p <= 1.0f))
        return out_of_range("top_p", (double)p->top_p, "more than 0, at most 1", err);
    if (!(p->min_p >= 0.0f && p->min_p <= 1.0f))
        return out_of_range("min_p", (double)p->min_p, "0 to 1", err);
    if (!(p->repetition_penalty > 0.0f) || !isfinite(p->repetition_penalty))
        return out_of_range("repetition_penalty", (double)p->repetition_penalty, "more than 0",
                            err);
    if (!isfinite(p->presence_penalty))
        return out_of_range("presence_penalty", (double)p->presence_penalty, "a finite number",
                            err);
    if (!isfinite(p->frequency_penalty))
        return out_of_range("frequency_penalty", (double)p->frequency_penalty, "a finite number",
                            err);
    if (p->logprobs < -1)
        return out_of_range("logprobs", p->logprobs, "0 or more, or -1 for none", err);
    if (p->prompt_logprobs < -1)
        return out_of_range("prompt_logprobs", p->prompt_logprobs, "0 or more, or -1 for none",
                            err);
    if (p->num_stop < 0 || p->num_stop_token_ids < 0 || p->num_logit_bias < 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "a count of stop or logit_bias entries is negative");
    if (p->num_stop > 0 && !p->detokenize)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "stop strings need detokenize");
    for (int i = 0; i < p->num_stop; i++)
        if (!p->stop[i] || !p->stop[i][0])
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "stop string %d is empty", i);
    for (int i = 0; i < p->num_logit_bias; i++)
        if (isnan(p->logit_bias[i].bias))
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "logit_bias of token %d is not a number",
                                  p->logit_bias[i].token_id);
    return NANO_OK;
}
