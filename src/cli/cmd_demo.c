/* nanovllm demo: three requests on the built-in model in an engine that is too small for them, so
 * that everything the scheduler can do happens within a screen. */
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/cli_engine.h"
#include "cli/commands.h"
#include "cli/demo.h"

#define BLOCK_SIZE 16
#define NUM_BLOCKS 14
#define MAX_BATCHED_TOKENS 32
#define MAX_MODEL_LEN 160
#define ARRIVAL_OF_C 4 /* the step before which it is submitted */
#define LINE_WIDTH 80

struct demo_options {
    struct nano_cli_engine_options engine;
    struct nano_sampling_params sampling;
    int seed;
};

#define DEMO(field) offsetof(struct demo_options, field)
static const struct nano_cli_option demo_table[] = {
    {"-s --seed", "N", nano_cli_parse_int, DEMO(seed), 0, NANO_CLI_NO_MAX,
     "seed of the texts (default {})"},
    {"-n --max-tokens", "N", nano_cli_parse_int, DEMO(sampling.max_tokens), 1, 96,
     "tokens to generate for A and C; three quarters of that for B (default {})"},
    {"-t --threads", "N", nano_cli_parse_int, DEMO(engine.params.num_threads), 0, 4096,
     "threads that compute (default: all)"},
};

#define BEGINNING                                                                                \
    "Once upon a time, there was a young girl named Emma who lived in a town by the river. She " \
    "loved to "                                                                                  \
    "count the stars.\n\nOne day, Emma"

static const char *const prompts[NANO_DEMO_SEQS] = {
    BEGINNING " found a tiny seed",
    BEGINNING " went to the market",
    "The rain fell all day, and the wind blew around the little house by the forest. A mouse named "
    "Poppy "
    "sat at the window. \"When will the sun come back?\" she asked.",
};

static void on_output(const struct nano_output *output, void *user_data)
{
    struct nano_demo_seq *seq = user_data;
    void *text = seq->text;
    seq->num_tokens += output->num_tokens;
    if (!nano_mem_grow(&text, &seq->text_capacity, seq->text_bytes + output->text_bytes + 1, 1)) {
        nano_error_no_memory(&seq->error, "a text", seq->text_bytes + output->text_bytes + 1);
    } else {
        seq->text = text;
        memcpy(seq->text + seq->text_bytes, output->text, output->text_bytes);
        seq->text_bytes += output->text_bytes;
    }
    if (output->finish_reason == NANO_FINISH_NONE)
        return;
    seq->finishing = true;
    seq->num_cached = output->num_cached_tokens;
    if (output->error)
        seq->error = *output->error;
}

static enum nano_status submit(nano_engine *engine, const nano_tokenizer *tokenizer,
                               struct nano_demo_seq *seq, const struct demo_options *options,
                               struct nano_error *err)
{
    struct nano_request request = nano_request_default();
    int32_t *ids = NULL;
    size_t num_tokens = 0;
    enum nano_status status =
        nano_tokenizer_encode(tokenizer, seq->prompt, strlen(seq->prompt), NANO_ENCODE_ADD_SPECIAL,
                              &ids, &num_tokens, err);
    if (status != NANO_OK)
        return status;
    request.prompt_token_ids = ids;
    request.num_prompt_token_ids = num_tokens;
    request.sampling = options->sampling;
    request.sampling.seed = (uint64_t)options->seed;
    if (seq->letter == 'B') /* so that not all end together */
        request.sampling.max_tokens = (request.sampling.max_tokens * 3 + 3) / 4;
    request.sampling.min_tokens = request.sampling.max_tokens; /* the same steps on every machine */
    request.on_output = on_output;
    request.user_data = seq;
    seq->num_prompt_tokens = seq->num_tokens = (int)num_tokens;
    status = nano_engine_submit(engine, &request, &seq->request_id, err);
    if (status == NANO_OK)
        seq->state = NANO_DEMO_WAITING;
    nano_free(ids);
    return status;
}

static void print_introduction(const struct nano_demo *demo)
{
    printf("Three requests, one engine: a pool of %d blocks for %d tokens each, and at most\n"
           "%d tokens computed in a step. A and B begin alike, C comes later.\n\n"
           "  P20   20 tokens of prefill          #  block shared by A and B\n"
           "  d     one token of decode           .  free block\n\n",
           demo->num_blocks, demo->block_size, MAX_BATCHED_TOKENS);
}

/* Runs all three; C is submitted in the middle. */
static enum nano_status run_requests(nano_engine *engine, const nano_tokenizer *tokenizer,
                                     struct nano_demo *demo, const struct demo_options *options,
                                     struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    bool has_work = true, cancelled = false;
    for (int step = 1; has_work && status == NANO_OK; step++) {
        for (int i = 0; i < NANO_DEMO_SEQS && status == NANO_OK; i++)
            if (step == (i == NANO_DEMO_SEQS - 1 ? ARRIVAL_OF_C : 1))
                status = submit(engine, tokenizer, &demo->seqs[i], options, err);
        for (int i = 0; i < NANO_DEMO_SEQS && nano_cli_interrupted() && !cancelled; i++)
            nano_engine_cancel(engine, demo->seqs[i].request_id);
        cancelled = nano_cli_interrupted();
        nano_demo_before_step(demo);
        if (status == NANO_OK)
            status = nano_engine_step(engine, &has_work, err);
    }
    nano_demo_flush(demo);
    return status;
}

/* Prints a paragraph that continues at *column, wrapped at spaces; newlines in it become one space.
 */
static void print_wrapped(const char *text, size_t num_bytes, size_t *column, const char *indent)
{
    for (size_t i = 0; i < num_bytes;) {
        size_t length = 0;
        bool space = text[i] == ' ' || text[i] == '\n';
        while (i + space + length < num_bytes && text[i + space + length] != ' ' &&
               text[i + space + length] != '\n')
            length++;
        if (space && length && *column + 1 + length > LINE_WIDTH) {
            printf("\n%s", indent);
            *column = strlen(indent);
        } else if (space && length) {
            putchar(' ');
            ++*column;
        }
        fwrite(text + i + space, 1, length, stdout);
        *column += length;
        i += space + length;
    }
}

static void print_texts(const struct nano_demo *demo)
{
    for (int i = 0; i < NANO_DEMO_SEQS; i++) {
        const struct nano_demo_seq *seq = &demo->seqs[i];
        size_t column = 3;
        printf("\n%s%s%c%s  %s", demo->style.bold, demo->style.color[i], seq->letter,
               demo->style.reset, demo->style.dim);
        print_wrapped(seq->prompt, strlen(seq->prompt), &column, "   ");
        fputs(demo->style.reset, stdout);
        print_wrapped(seq->text, seq->text_bytes, &column, "   ");
        putchar('\n');
    }
}

static void print_summary(const struct nano_demo *demo, const nano_engine *engine,
                          uint64_t elapsed_ns)
{
    struct nano_stats stats;
    int prompt = 0, cached = 0, alone = 0;
    nano_engine_get_stats(engine, &stats);
    for (int i = 0; i < NANO_DEMO_SEQS; i++) {
        const struct nano_demo_seq *seq = &demo->seqs[i];
        prompt += seq->num_prompt_tokens;
        cached += seq->num_cached;
        alone += (seq->num_tokens - 1 + demo->block_size - 1) / demo->block_size;
    }
    printf("\n%d prompt tokens, %d of them taken from shared blocks; %" PRIu64
           " tokens generated.\n",
           prompt, cached, stats.generation_tokens_total);
    printf("%" PRIu64 " steps, %d with prefill and decode together; %" PRIu64
           " positions computed.\n",
           stats.num_steps_total, demo->num_mixed_steps, stats.computed_tokens_total);
    printf("At most %d of %d blocks used, %d shared (the three alone need %d); %" PRIu64
           " preemption%s.\n",
           stats.max_blocks_used, demo->num_blocks, demo->max_shared, alone,
           stats.num_preemptions_total, stats.num_preemptions_total == 1 ? "" : "s");
    fflush(stdout);
    fprintf(stderr, "%.3f s, %.0f tok/s generated, kernels: %s\n", (double)elapsed_ns / 1e9,
            (double)stats.generation_tokens_total * 1e9 / (double)elapsed_ns,
            nano_engine_get_isa(engine));
}

static enum nano_status run_demo(struct demo_options *options, struct nano_demo *demo,
                                 struct nano_error *err)
{
    enum nano_status status;
    nano_model *model = NULL;
    nano_engine *engine = NULL;
    options->engine.params.on_step = nano_demo_on_step;
    options->engine.params.on_step_user_data = demo;
    NANO_TRY(nano_model_open(&model, NULL, err));
    const nano_tokenizer *tokenizer = nano_model_get_tokenizer(model, err);
    if (!tokenizer) {
        status = err->status;
        goto fail;
    }
    NANO_TRY(nano_engine_create(&engine, model, &options->engine.params, err));
    print_introduction(demo);
    nano_demo_print_header(demo);
    nano_cli_catch_interrupt();
    uint64_t start = nano_os_clock_ns();
    NANO_TRY(run_requests(engine, tokenizer, demo, options, err));
    uint64_t elapsed = nano_os_clock_ns() - start;
    for (int i = 0; i < NANO_DEMO_SEQS; i++) {
        if (demo->seqs[i].error.status != NANO_OK) {
            status =
                nano_error_set(err, demo->seqs[i].error.status, "%s", demo->seqs[i].error.message);
            goto fail;
        }
    }
    print_texts(demo);
    print_summary(demo, engine, elapsed);
fail:
    nano_engine_destroy(engine);
    nano_model_close(model);
    return status;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct demo_options options = {.sampling = nano_sampling_params_default(), .seed = 1};
    struct nano_demo demo = {.block_size = BLOCK_SIZE, .num_blocks = NUM_BLOCKS};
    struct nano_error err = {0};
    nano_cli_engine_options_init(&options.engine);
    options.engine.params.block_size = BLOCK_SIZE;
    options.engine.params.num_blocks = NUM_BLOCKS;
    options.engine.params.max_num_seqs = NANO_DEMO_SEQS;
    options.engine.params.max_num_batched_tokens = MAX_BATCHED_TOKENS;
    options.engine.params.max_model_len = MAX_MODEL_LEN;
    options.sampling.max_tokens = 64;
    options.sampling.temperature = 0.7f;
    options.sampling.top_p = 0.95f;
    options.sampling.has_seed = true;
    const struct nano_cli_group groups[] = {NANO_CLI_GROUP("Options", demo_table, &options)};
    int result = nano_cli_parse(command, groups, 1, NULL, argc, argv);
    if (result >= 0)
        return result;
    nano_cli_log_to_stderr(false);
    nano_cli_style_init(&demo.style, stdout);
    for (int i = 0; i < NANO_DEMO_SEQS; i++) {
        demo.seqs[i].letter = (char)('A' + i);
        demo.seqs[i].prompt = prompts[i];
    }
    result = run_demo(&options, &demo, &err) == NANO_OK ? 0 : nano_cli_fail(&err);
    for (int i = 0; i < NANO_DEMO_SEQS; i++)
        nano_mem_free(demo.seqs[i].text);
    return result == 0 && nano_cli_interrupted() ? NANO_CLI_INTERRUPTED : result;
}

const struct nano_cli_command nano_cmd_demo = {
    "demo",
    "[options]",
    "Watch the engine work: three requests, step by step.",
    "Runs on the built-in model with a pool of KV blocks that is too small for all of them, and "
    "shows "
    "blocks being allocated, prefix blocks being shared, prefill and decode in one step, and "
    "preemption.",
    run,
};
