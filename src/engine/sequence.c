/* Requests and sequences: checking, copying, one arena each. */
#include "engine/sequence.h"

#include <string.h>

#include "base/memory.h"
#include "engine/sampler.h"

static enum nano_status check_token(int32_t token, int64_t vocab_size, const char *what,
                                    struct nano_error *err)
{
    if (token < 0 || token >= vocab_size)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%s: token id %d, expected 0 to %lld",
                              what, token, (long long)vocab_size - 1);
    return NANO_OK;
}

static enum nano_status check(const struct nano_request *request, const int32_t *prompt,
                              size_t num_prompt_tokens, const struct nano_request_limits *limits,
                              struct nano_error *err)
{
    enum nano_status status;
    const struct nano_sampling_params *p = &request->sampling;
    NANO_TRY(nano_sampling_params_check(p, err));
    if (request->embedding)
        NANO_TRY(nano_embedding_params_check(request->embedding, err));
    if (request->embedding && limits->hidden_size == 0)
        return nano_error_set(
            err, NANO_ERR_UNSUPPORTED,
            "embeddings are made of hidden states, which an ONNX graph does not give");
    if (!request->embedding && limits->encoder_name)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "%s is an encoder: it only makes embeddings", limits->encoder_name);
    if (!request->on_output)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "on_output is not set");
    if (num_prompt_tokens == 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "the prompt is empty, expected at least one token");
    size_t room = p->max_tokens == 0 ? 0 : 1;
    if (num_prompt_tokens + room > (size_t)limits->max_model_len)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "the prompt has %zu tokens, expected at most %zu (max_model_len %d)",
                              num_prompt_tokens, (size_t)limits->max_model_len - room,
                              limits->max_model_len);
    for (size_t i = 0; i < num_prompt_tokens; i++)
        NANO_TRY(check_token(prompt[i], limits->vocab_size, "the prompt", err));
    for (int i = 0; i < p->num_stop_token_ids; i++)
        NANO_TRY(check_token(p->stop_token_ids[i], limits->vocab_size, "stop_token_ids", err));
    for (int i = 0; i < p->num_logit_bias; i++)
        NANO_TRY(check_token(p->logit_bias[i].token_id, limits->vocab_size, "logit_bias", err));
    if (p->logprobs > limits->vocab_size || p->prompt_logprobs > limits->vocab_size)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "logprobs is more than the vocabulary's size, %lld",
                              (long long)limits->vocab_size);
    if (p->detokenize && !limits->tokenizer)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "detokenize is set, but the model has no tokenizer");
    return NANO_OK;
fail:
    return status;
}

static void *copy_array(struct nano_arena *arena, const void *source, size_t count, size_t size)
{
    void *copy = nano_arena_alloc(arena, count ? count : 1, size);
    if (copy && count)
        memcpy(copy, source, count * size);
    return copy;
}

/* Copies the arrays of the parameters and joins the model's end tokens to the stop tokens. */
static bool copy_params(struct nano_request_state *r, const struct nano_sampling_params *p,
                        const struct nano_request_limits *limits)
{
    struct nano_arena *arena = &r->arena;
    r->params = *p;
    const char **stop = nano_arena_alloc(arena, (size_t)p->num_stop + 1, sizeof *stop);
    if (!stop)
        return false;
    for (int i = 0; i < p->num_stop; i++)
        if (!(stop[i] = nano_arena_strdup(arena, p->stop[i], strlen(p->stop[i]))))
            return false;
    r->params.stop = stop;
    r->params.logit_bias =
        copy_array(arena, p->logit_bias, (size_t)p->num_logit_bias, sizeof *p->logit_bias);
    const int32_t *eog = NULL;
    int num_eog = limits->tokenizer && !p->ignore_eos
                      ? nano_tokenizer_eog_tokens(limits->tokenizer, &eog)
                      : 0;
    int32_t *tokens =
        nano_arena_alloc(arena, (size_t)p->num_stop_token_ids + (size_t)num_eog, sizeof *tokens);
    if (!r->params.logit_bias || !tokens)
        return false;
    int count = p->num_stop_token_ids;
    if (count)
        memcpy(tokens, p->stop_token_ids, (size_t)count * sizeof *tokens);
    r->params.stop_token_ids = tokens;
    for (int i = 0; i < num_eog; i++)
        if (eog[i] < limits->vocab_size)
            tokens[count++] = eog[i];
    r->stop_tokens = tokens;
    r->num_stop_tokens = count;
    return true;
}

static enum nano_status init_sequence(struct nano_sequence *s, struct nano_request_state *r,
                                      int index, const int32_t *prompt, int num_prompt_tokens,
                                      const struct nano_embedding_params *embedding,
                                      const struct nano_request_limits *limits,
                                      struct nano_error *err)
{
    struct nano_arena *arena = &r->arena;
    const struct nano_sampling_params *p = &r->params;
    int room = limits->max_model_len - num_prompt_tokens;
    int max_output = p->max_tokens < 0 || p->max_tokens > room ? room : p->max_tokens;
    s->request = r;
    s->index = (uint8_t)index;
    s->in_prefill = true;
    s->num_prompt_tokens = s->num_tokens = num_prompt_tokens;
    s->max_length = num_prompt_tokens + max_output;
    if (p->logprobs >= 0) {
        size_t count = 1 + (size_t)limits->speculative->num_speculative_tokens;
        size_t num_top = (size_t)p->logprobs;
        s->logprobs = nano_arena_alloc(arena, count, sizeof *s->logprobs);
        s->top = nano_arena_alloc(arena, count, num_top * sizeof *s->top);
        if (!s->logprobs || !s->top)
            return nano_error_no_memory(err, "logprobs", count * num_top * sizeof *s->top);
    }
    if (p->prompt_logprobs >= 0 && index == 0) { /* they are the same for all completions */
        size_t count = (size_t)num_prompt_tokens, num_top = (size_t)p->prompt_logprobs;
        s->prompt_logprobs = nano_arena_alloc(arena, count, sizeof *s->prompt_logprobs);
        s->prompt_top = nano_arena_alloc(arena, count, num_top * sizeof *s->prompt_top);
        if (!s->prompt_logprobs || !s->prompt_top)
            return nano_error_no_memory(err, "prompt_logprobs",
                                        count * num_top * sizeof *s->prompt_top);
        s->prompt_logprobs[0].token_id = -1; /* nothing predicts the first token */
        s->wants_prompt_logprobs = true;
    }
    if (embedding) {
        s->pooling = embedding->pooling ? embedding->pooling : limits->pooling;
        s->embedding = nano_embedding_create(arena, (int)limits->hidden_size, embedding->normalize);
        if (!s->embedding)
            return nano_error_no_memory(err, "an embedding",
                                        nano_embedding_bytes(limits->hidden_size));
    }
    s->greedy = nano_sampling_is_greedy(p);
    s->draws = limits->runner_draws && nano_sampling_is_draw(p);
    s->plain =
        !p->detokenize && p->logprobs < 0 && !s->wants_prompt_logprobs && r->num_stop_tokens == 0;
    if (p->detokenize) {
        enum nano_status status = nano_text_output_init(&s->text, limits->tokenizer, p, arena, err);
        if (status != NANO_OK)
            return status;
    }
    const struct nano_speculative_config *speculative = limits->speculative;
    bool speculates = speculative->num_speculative_tokens > 0 && !embedding;
    if (speculates && !(s->draft = nano_arena_alloc(arena, 1, sizeof *s->draft)))
        return nano_error_no_memory(err, "a sequence", sizeof *s->draft);
    /* In one piece and last: what is large gets a chunk of the arena that fits exactly. */
    size_t length = (size_t)s->max_length, block_size = (size_t)limits->block_size;
    size_t stride = (length + block_size - 1) / block_size;
    size_t num_blocks = stride * (size_t)limits->num_kv_groups;
    size_t count = length + num_blocks + (speculates ? nano_draft_size(s->max_length) : 0);
    s->tokens = nano_arena_alloc(arena, count, sizeof *s->tokens);
    if (!s->tokens)
        return nano_error_no_memory(err, "a sequence", count * sizeof *s->tokens);
    s->block_table = s->tokens + length;
    s->table_stride = (int)stride;
    s->rolling_entry = -1;
    memcpy(s->tokens, prompt, (size_t)num_prompt_tokens * sizeof *prompt);
    if (speculates) {
        nano_draft_init(s->draft, speculative, s->block_table + num_blocks, s->max_length);
        nano_draft_index(s->draft, prompt, num_prompt_tokens);
    }
    return NANO_OK;
}

/* At a cache line, which the arena alone does not promise. */
static struct nano_sequence *alloc_sequences(struct nano_arena *arena, size_t n)
{
    unsigned char *memory =
        nano_arena_alloc(arena, n * sizeof(struct nano_sequence) + NANO_CACHE_LINE, 1);
    if (!memory)
        return NULL;
    memory += (NANO_CACHE_LINE - (uintptr_t)memory % NANO_CACHE_LINE) % NANO_CACHE_LINE;
    return (struct nano_sequence *)(void *)memory;
}

/* Of a request for an embedding: the prompt is computed, nothing is sampled. */
static struct nano_sampling_params no_sampling(void)
{
    struct nano_sampling_params params = nano_sampling_params_default();
    params.max_tokens = 0;
    params.has_seed = params.ignore_eos = true;
    params.detokenize = false;
    return params;
}

enum nano_status nano_request_create(struct nano_request_state **out,
                                     const struct nano_request *given, const int32_t *prompt,
                                     size_t num_prompt_tokens,
                                     const struct nano_request_limits *limits,
                                     struct nano_error *err)
{
    enum nano_status status;
    struct nano_request copy = *given;
    const struct nano_request *request = &copy;
    *out = NULL;
    if (given->embedding)
        copy.sampling = no_sampling();
    NANO_TRY(check(request, prompt, num_prompt_tokens, limits, err));
    struct nano_arena arena;
    nano_arena_init(&arena);
    struct nano_request_state *r = nano_arena_alloc(&arena, 1, sizeof *r);
    if (!r)
        return nano_error_no_memory(err, "a request", sizeof *r);
    r->arena = arena;
    r->priority = request->priority;
    r->on_output = request->on_output;
    r->user_data = request->user_data;
    int n = request->sampling.n;
    if (!copy_params(r, &request->sampling, limits) ||
        !(r->sequences = alloc_sequences(&r->arena, (size_t)n))) {
        nano_request_destroy(r);
        return nano_error_no_memory(err, "a request", sizeof *r->sequences * (size_t)n);
    }
    if (!r->params.has_seed)
        r->params.seed = nano_os_random_seed();
    r->num_unfinished = n;
    for (int i = 0; i < n; i++) {
        status = init_sequence(&r->sequences[i], r, i, prompt, (int)num_prompt_tokens,
                               request->embedding, limits, err);
        if (status != NANO_OK) {
            nano_request_destroy(r);
            return status;
        }
    }
    *out = r;
    return NANO_OK;
fail:
    return status;
}

void nano_request_destroy(struct nano_request_state *request)
{
    if (!request)
        return;
    struct nano_arena arena = request->arena; /* the request itself lives in it */
    nano_arena_deinit(&arena);
}

size_t nano_request_bytes(const struct nano_request_state *request)
{
    return request->arena.total_bytes;
}
