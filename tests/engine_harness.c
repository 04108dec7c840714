/* Engine harness. */
#include "engine_harness.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t harness_random(uint64_t *state, uint32_t limit)
{
    *state += 0x9E3779B97F4A7C15u; /* splitmix64 */
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((x ^ (x >> 31)) % limit);
}

const char *test_data_path(const char *name)
{
    static char path[4096];
    const char *folder = getenv("NANOVLLM_TEST_DATA");
    if (!folder || !*folder)
        return NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

void client_init(struct client *client, int num_tokens, int32_t vocab_size, uint64_t family,
                 uint64_t seed)
{
    memset(client, 0, sizeof *client);
    client->request = nano_request_default();
    client->prompt = malloc((size_t)num_tokens * sizeof *client->prompt);
    int common = num_tokens * 3 / 4;
    for (int i = 0; i < num_tokens; i++)
        client->prompt[i] =
            (int32_t)harness_random(i < common ? &family : &seed, (uint32_t)vocab_size);
    client->request.prompt_token_ids = client->prompt;
    client->request.num_prompt_token_ids = (size_t)num_tokens;
    client->request.sampling.detokenize = false;
    client->request.sampling.ignore_eos = true;
    client->request.sampling.has_seed = true;
    client->request.sampling.seed = seed;
}

void client_reset(struct client *client)
{
    for (int i = 0; i < MAX_COMPLETIONS; i++) {
        free(client->completions[i].tokens);
        free(client->completions[i].logprobs);
        free(client->completions[i].text);
    }
    free(client->prompt_logprobs);
    memset(client->completions, 0, sizeof client->completions);
    client->prompt_logprobs = NULL;
    client->num_prompt_logprobs = 0;
}

void client_deinit(struct client *client)
{
    client_reset(client);
    free(client->prompt);
}

static void put_logprobs(float *out, const struct nano_token_logprobs *logprobs)
{
    out[0] = logprobs->logprob;
    for (int i = 0; i < MAX_TOP; i++)
        out[1 + i] = i < logprobs->num_top
                         ? logprobs->top[i].logprob + (float)logprobs->top[i].token_id
                         : 0.0f;
}

static void on_output(const struct nano_output *output, void *user_data)
{
    struct client *client = user_data;
    struct completion *c = &client->completions[output->index];
    cr_assert_eq(output->request_id, client->id);
    cr_assert_eq(c->num_finishes, 0, "nothing may come after the end");
    int total = c->num_tokens + output->num_tokens;
    c->tokens = realloc(c->tokens, (size_t)(total + 1) * sizeof *c->tokens);
    c->logprobs = realloc(c->logprobs, (size_t)(total + 1) * (1 + MAX_TOP) * sizeof *c->logprobs);
    for (int i = 0; i < output->num_tokens; i++) {
        c->tokens[c->num_tokens] = output->token_ids[i];
        if (output->logprobs)
            put_logprobs(c->logprobs + (size_t)c->num_tokens * (1 + MAX_TOP), &output->logprobs[i]);
        c->num_tokens++;
    }
    cr_assert_eq(output->num_completion_tokens, c->num_tokens);
    cr_assert_eq(output->text[output->text_bytes], '\0'); /* and it may hold NUL bytes */
    c->text = realloc(c->text, c->text_bytes + output->text_bytes + 1);
    memcpy(c->text + c->text_bytes, output->text, output->text_bytes + 1);
    c->text_bytes += output->text_bytes;
    if (output->prompt_logprobs && output->index == 0) {
        cr_assert_null(client->prompt_logprobs, "prompt logprobs come once");
        client->num_prompt_logprobs = output->num_prompt_logprobs;
        client->prompt_logprobs = calloc((size_t)output->num_prompt_logprobs * (1 + MAX_TOP),
                                         sizeof *client->prompt_logprobs);
        for (int i = 1; i < output->num_prompt_logprobs; i++)
            put_logprobs(client->prompt_logprobs + (size_t)i * (1 + MAX_TOP),
                         &output->prompt_logprobs[i]);
    }
    c->num_cached_tokens = output->num_cached_tokens;
    if (output->finish_reason != NANO_FINISH_NONE) {
        c->reason = output->finish_reason;
        c->num_finishes++;
        if (output->stop_reason)
            snprintf(c->stop_reason, sizeof c->stop_reason, "%s", output->stop_reason);
    }
    if (client->cancel_after > 0 && output->index == 0 && c->num_tokens == client->cancel_after)
        nano_engine_cancel(client->engine, client->id);
}

enum nano_status client_submit(struct client *client, nano_engine *engine, struct nano_error *err)
{
    client->engine = engine;
    client->request.on_output = on_output;
    client->request.user_data = client;
    return nano_engine_submit(engine, &client->request, &client->id, err);
}

/* With a tolerance of 0 in all bits. */
static bool same_logprobs(const float *got, const float *expected, int count, float tolerance)
{
    bool same = true;
    if (tolerance == 0)
        return memcmp(got, expected, (size_t)count * (1 + MAX_TOP) * sizeof *got) == 0;
    for (int t = 0; t < count; t++)
        same = same && fabsf(got[t * (1 + MAX_TOP)] - expected[t * (1 + MAX_TOP)]) <= tolerance;
    return same;
}

void client_compare(const struct client *got, const struct client *expected, bool prefix_only)
{
    client_compare_within(got, expected, prefix_only, 0);
}

void client_compare_within(const struct client *got, const struct client *expected,
                           bool prefix_only, float tolerance)
{
    bool logprobs = got->request.sampling.logprobs >= 0;
    for (int i = 0; i < got->request.sampling.n; i++) {
        const struct completion *g = &got->completions[i], *e = &expected->completions[i];
        cr_assert_eq(g->num_finishes, 1);
        int count = g->num_tokens;
        if (prefix_only)
            cr_assert_leq(g->num_tokens, e->num_tokens);
        else
            cr_assert_eq(g->num_tokens, e->num_tokens, "completion %d: %d tokens, expected %d", i,
                         g->num_tokens, e->num_tokens);
        for (int t = 0; t < count; t++)
            cr_assert_eq(g->tokens[t], e->tokens[t], "completion %d, token %d: %d, expected %d", i,
                         t, g->tokens[t], e->tokens[t]);
        if (logprobs && count > 0)
            cr_assert(same_logprobs(g->logprobs, e->logprobs, count, tolerance),
                      "completion %d: logprobs differ", i);
        if (!prefix_only) {
            cr_assert_eq(g->reason, e->reason);
            cr_assert_eq(g->text_bytes, e->text_bytes);
            cr_assert_eq(memcmp(g->text, e->text, e->text_bytes), 0);
            cr_assert_str_eq(g->stop_reason, e->stop_reason);
        }
    }
    if (got->prompt_logprobs) {
        cr_assert_eq(got->num_prompt_logprobs, expected->num_prompt_logprobs);
        cr_assert(same_logprobs(got->prompt_logprobs, expected->prompt_logprobs,
                                got->num_prompt_logprobs, tolerance),
                  "prompt logprobs differ");
    } else if (!prefix_only) {
        cr_assert_null(expected->prompt_logprobs);
    }
}

nano_engine *harness_engine(nano_model *model, const struct nano_engine_params *params)
{
    nano_engine *engine;
    struct nano_error err = {0};
    cr_assert_eq(nano_engine_create(&engine, model, params, &err), NANO_OK, "%s", err.message);
    return engine;
}

void harness_submit(struct client *client, nano_engine *engine)
{
    struct nano_error err = {0};
    cr_assert_eq(client_submit(client, engine, &err), NANO_OK, "%s", err.message);
}

nano_model *harness_model(void)
{
    nano_model *model;
    struct nano_error err = {0};
    cr_assert_eq(nano_model_open(&model, getenv("NANOVLLM_TEST_MODEL"), &err), NANO_OK, "%s",
                 err.message);
    return model;
}
