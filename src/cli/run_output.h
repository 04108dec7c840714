/* What `nanovllm run` does with outputs: streams one, collects several and prints each when it and
 * all before it are complete, as text or as JSON lines. */
#ifndef NANO_CLI_RUN_OUTPUT_H
#define NANO_CLI_RUN_OUTPUT_H

#include "cli/cli_json.h"
#include "cli/cli_output.h"
#include "cli/cli_prompts.h"

enum nano_run_mode { NANO_RUN_STREAM, NANO_RUN_TEXT, NANO_RUN_JSON };

struct nano_run_completion {
    struct nano_run *run;
    size_t prompt; /* index */
    int index;     /* which completion of the prompt */
    char *text;
    size_t text_bytes, text_capacity;
    int32_t *token_ids;
    size_t num_tokens, ids_capacity;
    FILE *logprobs, *prompt_logprobs; /* memory streams of JSON list elements; NULL: none wanted */
    char *logprobs_text, *prompt_logprobs_text;
    size_t logprobs_bytes, prompt_logprobs_bytes;
    enum nano_finish_reason finish_reason;
    struct nano_error error;
    int num_prompt_tokens, num_cached_tokens;
    uint64_t queued_ns, prefill_ns, decode_ns;
    bool ends_line; /* what was streamed ended with a newline */
};

struct nano_run {
    enum nano_run_mode mode;
    bool display_prompt;
    const struct nano_cli_prompts *prompts;
    nano_engine *engine;
    struct nano_run_completion *completions; /* n of the first prompt, n of the second, … */
    size_t num_completions, num_printed;
    int n;
    bool out_of_memory;
    bool silent; /* the run has failed: what is cancelled is not printed */
    struct nano_cli_style style;
};

enum nano_status nano_run_init(struct nano_run *run, enum nano_run_mode mode,
                               const struct nano_cli_prompts *prompts,
                               const struct nano_sampling_params *sampling, struct nano_error *err);
void nano_run_deinit(struct nano_run *run);

/* For STREAM: the prompt, before its continuation. */
void nano_run_begin(struct nano_run *run);

/* The requests' callback; user_data is the first struct nano_run_completion of the prompt. */
void nano_run_on_output(const struct nano_output *output, void *user_data);

#endif
