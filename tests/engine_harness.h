/* Engine harness: requests with reproducible content, and what came out of them. */
#ifndef NANO_TESTS_ENGINE_HARNESS_H
#define NANO_TESTS_ENGINE_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nanovllm.h"

enum { MAX_COMPLETIONS = 4, MAX_TOP = 8 };

/* Everything one completion gave. */
struct completion {
    int32_t *tokens;
    float *logprobs; /* the token's and its MAX_TOP alternatives', per token */
    char *text;
    int num_tokens;
    size_t text_bytes;
    enum nano_finish_reason reason;
    char stop_reason[64];
    int num_finishes; /* must end at 1 */
    int num_cached_tokens;
};

struct client {
    struct nano_request request;
    int32_t *prompt;
    uint64_t id;
    struct completion completions[MAX_COMPLETIONS];
    float *prompt_logprobs;
    int num_prompt_logprobs;
    int cancel_after; /* cancels itself at that many tokens of completion 0; 0: never */
    nano_engine *engine;
};

/* A client with a prompt of num_tokens tokens below vocab_size; prompts of equal `family` begin
 * alike. */
void client_init(struct client *client, int num_tokens, int32_t vocab_size, uint64_t family,
                 uint64_t seed);
void client_deinit(struct client *client);

/* Forgets the results, keeps the request. */
void client_reset(struct client *client);

/* Submits; results are collected until the engine is idle. */
enum nano_status client_submit(struct client *client, nano_engine *engine, struct nano_error *err);

/* Fails the running test unless both have the same tokens, text, logprobs and reason; with
 * `prefix_only` the first may have stopped early. */
void client_compare(const struct client *got, const struct client *expected, bool prefix_only);

/* The same of a runner that rounds differently from batch to batch: logprobs may differ by so much,
 * and alternatives, which could change places, are not looked at. */
void client_compare_within(const struct client *got, const struct client *expected,
                           bool prefix_only, float tolerance);

/* An engine, and a submitted request; failures fail the running test. */
nano_engine *harness_engine(nano_model *model, const struct nano_engine_params *params);
void harness_submit(struct client *client, nano_engine *engine);

/* The model of $NANOVLLM_TEST_MODEL, or the built-in one. */
nano_model *harness_model(void);

/* A reproducible number below limit; *state is any seed. */
uint32_t harness_random(uint64_t *state, uint32_t limit);

/* $NANOVLLM_TEST_DATA/name, or NULL when the variable is not set; static storage. */
const char *test_data_path(const char *name);

#endif
