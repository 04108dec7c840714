/* Engine options and the loop that drives an engine: what run, perplexity, bench and info share. */
#ifndef NANO_CLI_ENGINE_H
#define NANO_CLI_ENGINE_H

#include "cli/cli_options.h"

#define NANO_CLI_MAX_LOGIT_BIAS 1024

/* Context of a model whose own is longer, unless the user asks for more: a KV cache for 128k tokens
 * is nothing to take unasked. */
#define NANO_CLI_DEFAULT_CONTEXT 4096

#define NANO_CLI_MAX_LORAS 64
#define NANO_CLI_LORA "--lora" /* name of the adapter that --lora makes */

struct nano_cli_engine_options {
    const char *model; /* NULL: the built-in one */
    struct nano_model_params model_params;
    struct nano_engine_params params;
    struct nano_lora loras[NANO_CLI_MAX_LORAS]; /* what params has, which points here */
    bool verbose;
};

extern const struct nano_cli_option nano_cli_model_table[];  /* -m, -v */
extern const struct nano_cli_option nano_cli_engine_table[]; /* everything else */
extern const size_t nano_cli_num_model_options, nano_cli_num_engine_options;

/* For other tables; `target` is an enum nano_kv_dtype. */
enum nano_status nano_cli_parse_kv_dtype(const struct nano_cli_option *option, const char *value,
                                         void *target, struct nano_error *err);

/* "NAME=PATH", kept in place: the '=' becomes the end of the name. */
enum nano_status nano_cli_add_lora_module(struct nano_cli_engine_options *options,
                                          const char *value, struct nano_error *err);

/* The adapter that every request of the command runs with; NULL: none. */
const char *nano_cli_lora(const struct nano_engine_params *params);

void nano_cli_engine_options_init(struct nano_cli_engine_options *options);

/* The model at `path`, or, with NULL, the options'. */
enum nano_status nano_cli_open_model(nano_model **out,
                                     const struct nano_cli_engine_options *options,
                                     const char *path, struct nano_error *err);

struct nano_cli_sampling_options {
    struct nano_sampling_params params;
    struct nano_cli_strings stop;
    struct nano_cli_ints stop_token_ids;
    struct nano_logit_bias logit_bias[NANO_CLI_MAX_LOGIT_BIAS];
    int num_logit_bias;
};

extern const struct nano_cli_option nano_cli_sampling_table[];
extern const size_t nano_cli_num_sampling_options;

/* The program's defaults: those of llama.cpp's command line. */
void nano_cli_sampling_options_init(struct nano_cli_sampling_options *options);
void nano_cli_sampling_options_deinit(struct nano_cli_sampling_options *options);

/* The parameters with their lists, which the options keep. */
const struct nano_sampling_params *nano_cli_sampling(struct nano_cli_sampling_options *options);

/* Steps an engine made with manual_step until it has no work. After Ctrl-C the requests are
 * cancelled, so that their last outputs still arrive. */
enum nano_status nano_cli_drive(nano_engine *engine, const uint64_t *request_ids,
                                size_t num_requests, struct nano_error *err);

#endif
