/* What `nanovllm run` does with outputs. */
#include "cli/run_output.h"

#include <string.h>

#include "base/memory.h"

static FILE *open_logprobs(char **text, size_t *num_bytes, bool wanted, bool *failed)
{
    FILE *file = wanted ? open_memstream(text, num_bytes) : NULL;
    *failed |= wanted && !file;
    return file;
}

enum nano_status nano_run_init(struct nano_run *run, enum nano_run_mode mode,
                               const struct nano_cli_prompts *prompts,
                               const struct nano_sampling_params *sampling, struct nano_error *err)
{
    bool failed = false;
    *run = (struct nano_run){
        .mode = mode, .display_prompt = true, .prompts = prompts, .n = sampling->n};
    nano_cli_style_init(&run->style, stdout);
    run->num_completions = prompts->num * (size_t)sampling->n;
    run->completions = nano_mem_calloc(run->num_completions, sizeof *run->completions);
    if (!run->completions) {
        run->num_completions = 0;
        return nano_error_no_memory(err, "the completions", 0);
    }
    for (size_t i = 0; i < run->num_completions; i++) {
        struct nano_run_completion *c = &run->completions[i];
        c->run = run;
        c->prompt = i / (size_t)run->n;
        c->index = (int)(i % (size_t)run->n);
        if (mode != NANO_RUN_JSON)
            continue;
        c->logprobs =
            open_logprobs(&c->logprobs_text, &c->logprobs_bytes, sampling->logprobs >= 0, &failed);
        c->prompt_logprobs =
            open_logprobs(&c->prompt_logprobs_text, &c->prompt_logprobs_bytes,
                          sampling->prompt_logprobs >= 0 && c->index == 0, &failed);
    }
    return failed ? nano_error_no_memory(err, "log-probabilities", 0) : NANO_OK;
}

void nano_run_deinit(struct nano_run *run)
{
    for (size_t i = 0; i < run->num_completions; i++) {
        struct nano_run_completion *c = &run->completions[i];
        if (c->logprobs)
            fclose(c->logprobs);
        if (c->prompt_logprobs)
            fclose(c->prompt_logprobs);
        nano_mem_free(c->logprobs_text);
        nano_mem_free(c->prompt_logprobs_text);
        nano_mem_free(c->text);
        nano_mem_free(c->token_ids);
    }
    nano_mem_free(run->completions);
}

/* One list element per position, with a comma before all but the first. */
static void write_logprobs(FILE *file, const struct nano_token_logprobs *logprobs, int num)
{
    for (int i = 0; i < num; i++) {
        struct nano_cli_json json;
        const struct nano_token_logprobs *entry = &logprobs[i];
        nano_cli_json_init(&json, file);
        json.depth = 1; /* inside the list that the document will put around it */
        json.comma = ftell(file) > 0;
        if (entry->token_id < 0) {
            nano_cli_json_null(&json, NULL);
            continue;
        }
        nano_cli_json_open(&json, NULL, '{');
        nano_cli_json_int(&json, "token_id", entry->token_id);
        nano_cli_json_float(&json, "logprob", (double)entry->logprob);
        nano_cli_json_open(&json, "top", '[');
        for (int k = 0; k < entry->num_top; k++) {
            nano_cli_json_open(&json, NULL, '[');
            nano_cli_json_int(&json, NULL, entry->top[k].token_id);
            nano_cli_json_float(&json, NULL, (double)entry->top[k].logprob);
            nano_cli_json_close(&json, ']');
        }
        nano_cli_json_close(&json, ']');
        nano_cli_json_close(&json, '}');
    }
}

static void append_output(struct nano_run_completion *c, const struct nano_output *output)
{
    void *text = c->text, *ids = c->token_ids;
    size_t num_tokens = (size_t)output->num_tokens;
    bool grown = nano_mem_grow(&text, &c->text_capacity, c->text_bytes + output->text_bytes + 1, 1);
    c->text = text;
    grown &=
        nano_mem_grow(&ids, &c->ids_capacity, c->num_tokens + num_tokens, sizeof *c->token_ids);
    c->token_ids = ids;
    if (!grown) {
        c->run->out_of_memory = true;
        nano_engine_cancel(c->run->engine, output->request_id);
        return;
    }
    if (output->text_bytes)
        memcpy(c->text + c->text_bytes, output->text, output->text_bytes);
    if (num_tokens)
        memcpy(c->token_ids + c->num_tokens, output->token_ids, num_tokens * sizeof *c->token_ids);
    c->text_bytes += output->text_bytes;
    c->num_tokens += num_tokens;
    c->text[c->text_bytes] = '\0';
    if (c->logprobs && output->logprobs)
        write_logprobs(c->logprobs, output->logprobs, output->num_tokens);
    if (c->prompt_logprobs && output->prompt_logprobs)
        write_logprobs(c->prompt_logprobs, output->prompt_logprobs, output->num_prompt_logprobs);
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static void print_rate(struct nano_cli_json *json, const char *key, double count, uint64_t ns)
{
    if (ns > 0 && count > 0)
        nano_cli_json_float(json, key, count / seconds(ns));
    else
        nano_cli_json_null(json, key);
}

static void print_json(const struct nano_run *run, struct nano_run_completion *c)
{
    const struct nano_cli_prompt *prompt = &run->prompts->items[c->prompt];
    struct nano_cli_json json;
    nano_cli_json_init(&json, stdout);
    nano_cli_json_open(&json, NULL, '{');
    if (prompt->text)
        nano_cli_json_string(&json, "prompt", prompt->text, prompt->text_bytes);
    else
        nano_cli_json_null(&json, "prompt");
    nano_cli_json_ints(&json, "prompt_token_ids", prompt->token_ids, prompt->num_tokens);
    if (run->n > 1)
        nano_cli_json_int(&json, "index", c->index);
    nano_cli_json_string(&json, "text", c->text ? c->text : "", c->text_bytes);
    nano_cli_json_ints(&json, "token_ids", c->token_ids, c->num_tokens);
    nano_cli_json_cstring(&json, "finish_reason", nano_finish_reason_name(c->finish_reason));
    if (c->finish_reason == NANO_FINISH_ERROR)
        nano_cli_json_cstring(&json, "error", c->error.message);
    if (c->logprobs && fflush(c->logprobs) == 0) {
        nano_cli_json_open(&json, "logprobs", '[');
        nano_cli_json_raw(&json, NULL, c->logprobs_text, c->logprobs_bytes);
        nano_cli_json_close(&json, ']');
    }
    if (c->prompt_logprobs && fflush(c->prompt_logprobs) == 0) {
        nano_cli_json_open(&json, "prompt_logprobs", '[');
        nano_cli_json_raw(&json, NULL, c->prompt_logprobs_text, c->prompt_logprobs_bytes);
        nano_cli_json_close(&json, ']');
    }
    nano_cli_json_open(&json, "usage", '{');
    nano_cli_json_int(&json, "prompt_tokens", c->num_prompt_tokens);
    nano_cli_json_int(&json, "completion_tokens", (int64_t)c->num_tokens);
    nano_cli_json_int(&json, "cached_tokens", c->num_cached_tokens);
    nano_cli_json_close(&json, '}');
    nano_cli_json_open(&json, "timing", '{');
    nano_cli_json_float(&json, "queued_s", seconds(c->queued_ns));
    nano_cli_json_float(&json, "prefill_s", seconds(c->prefill_ns));
    nano_cli_json_float(&json, "decode_s", seconds(c->decode_ns));
    print_rate(&json, "prefill_tokens_per_s", c->num_prompt_tokens - c->num_cached_tokens,
               c->prefill_ns);
    print_rate(&json, "decode_tokens_per_s", (double)c->num_tokens - 1, c->decode_ns);
    nano_cli_json_close(&json, '}');
    nano_cli_json_close(&json, '}');
}

static void print_text(const struct nano_run *run, const struct nano_run_completion *c)
{
    const struct nano_cli_prompt *prompt = &run->prompts->items[c->prompt];
    if (c->prompt > 0 || c->index > 0)
        putchar('\n');
    printf("%s--- prompt %zu", run->style.bold, c->prompt + 1);
    if (run->n > 1)
        printf(", completion %d", c->index + 1);
    printf(" (%zu tokens, %s) ---%s\n", c->num_tokens, nano_finish_reason_name(c->finish_reason),
           run->style.reset);
    if (run->display_prompt && prompt->text)
        printf("%s%.*s%s", run->style.dim, (int)prompt->text_bytes, prompt->text, run->style.reset);
    if (c->text)
        fwrite(c->text, 1, c->text_bytes, stdout);
    putchar('\n');
}

static void print_finished(struct nano_run *run)
{
    while (run->num_printed < run->num_completions) {
        struct nano_run_completion *c = &run->completions[run->num_printed];
        if (c->finish_reason == NANO_FINISH_NONE)
            break;
        if (run->mode == NANO_RUN_JSON)
            print_json(run, c);
        else if (run->mode == NANO_RUN_TEXT)
            print_text(run, c);
        else if (!c->ends_line)
            putchar('\n');
        run->num_printed++;
    }
    fflush(stdout);
}

void nano_run_begin(struct nano_run *run)
{
    const struct nano_cli_prompt *prompt = &run->prompts->items[0];
    if (!run->display_prompt || !prompt->text)
        return;
    fputs(run->style.dim, stdout);
    fwrite(prompt->text, 1, prompt->text_bytes, stdout);
    fputs(run->style.reset, stdout);
    fflush(stdout);
}

void nano_run_on_output(const struct nano_output *output, void *user_data)
{
    struct nano_run_completion *c = (struct nano_run_completion *)user_data + output->index;
    struct nano_run *run = c->run;
    if (run->silent)
        return;
    append_output(c, output);
    if (run->mode == NANO_RUN_STREAM && output->text_bytes) {
        fwrite(output->text, 1, output->text_bytes, stdout);
        c->ends_line = output->text[output->text_bytes - 1] == '\n';
        fflush(stdout);
    }
    if (output->finish_reason != NANO_FINISH_NONE) {
        c->finish_reason = output->finish_reason;
        if (output->error)
            c->error = *output->error;
        c->num_prompt_tokens = output->num_prompt_tokens;
        c->num_cached_tokens = output->num_cached_tokens;
        c->queued_ns = output->queued_ns;
        c->prefill_ns = output->prefill_ns;
        c->decode_ns = output->decode_ns;
        print_finished(run);
    }
    if (ferror(stdout)) /* nobody reads it any more */
        nano_engine_cancel(run->engine, output->request_id);
}
