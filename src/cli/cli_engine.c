/* Engine and sampling options. */
#include "cli/cli_engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/cli_output.h"

#define ENGINE(field) offsetof(struct nano_cli_engine_options, field)
#define SAMPLING(field) offsetof(struct nano_cli_sampling_options, field)

enum nano_status nano_cli_parse_kv_dtype(const struct nano_cli_option *option, const char *value,
                                         void *target, struct nano_error *err)
{
    static const struct {
        const char *name;
        enum nano_kv_dtype dtype;
    } names[] = {{"auto", NANO_KV_F16},      {"f16", NANO_KV_F16},     {"fp16", NANO_KV_F16},
                 {"bf16", NANO_KV_BF16},     {"f32", NANO_KV_F32},     {"fp32", NANO_KV_F32},
                 {"bfloat16", NANO_KV_BF16}, {"float16", NANO_KV_F16}, {"float32", NANO_KV_F32},
                 {"q8_0", NANO_KV_Q8_0},     {"fp8", NANO_KV_FP8},     {"fp8_e4m3", NANO_KV_FP8}};
    (void)option;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(value, names[i].name) == 0) {
            *(enum nano_kv_dtype *)target = names[i].dtype;
            return NANO_OK;
        }
    }
    return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                          "'%s' is none of auto, f16, bf16, f32, q8_0, fp8", value);
}

/* The target is the whole struct nano_sampling_params: a seed is a number and the fact that it was
 * given. -1 asks for a new one, as in llama.cpp. */
static enum nano_status parse_seed(const struct nano_cli_option *option, const char *value,
                                   void *target, struct nano_error *err)
{
    struct nano_sampling_params *params = target;
    if (strcmp(value, "-1") == 0) {
        params->has_seed = false;
        return NANO_OK;
    }
    params->has_seed = true;
    return nano_cli_parse_u64(option, value, &params->seed, err);
}

/* "ID=BIAS", or llama.cpp's "ID+BIAS" and "ID-BIAS". The target is the whole options struct. */
static enum nano_status parse_logit_bias(const struct nano_cli_option *option, const char *value,
                                         void *target, struct nano_error *err)
{
    struct nano_cli_sampling_options *options = target;
    char *end, *last;
    long token_id = strtol(value, &end, 10);
    bool has_id = end != value && token_id >= 0 && token_id <= INT32_MAX;
    const char *number = *end == '=' ? end + 1 : end;
    double bias = strtod(number, &last);
    (void)option;
    if (!has_id || number == last || *last || isnan(bias) ||
        (number == end && *end != '+' && *end != '-'))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%s' is not like 15043=-1.5", value);
    if (options->num_logit_bias == NANO_CLI_MAX_LOGIT_BIAS)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "more than %d of them",
                              NANO_CLI_MAX_LOGIT_BIAS);
    options->logit_bias[options->num_logit_bias++] =
        (struct nano_logit_bias){(int32_t)token_id, (float)bias};
    return NANO_OK;
}

static enum nano_status add_lora(struct nano_cli_engine_options *options, const char *name,
                                 const char *path, double scale, struct nano_error *err)
{
    int *count = &options->params.num_loras;
    if (*count == NANO_CLI_MAX_LORAS)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "more than %d adapters",
                              NANO_CLI_MAX_LORAS);
    options->loras[(*count)++] = (struct nano_lora){name, path, (float)scale};
    options->params.loras = options->loras;
    return NANO_OK;
}

/* Cuts the next piece off a list in argv, whose strings are the program's to change. */
static char *next_item(char **rest)
{
    char *item = *rest, *comma = item ? strchr(item, ',') : NULL;
    *rest = comma ? comma + 1 : NULL;
    if (comma)
        *comma = '\0';
    return item;
}

/* "FILE,…", and with a max in the option "FILE:SCALE,…", as llama.cpp has them. The target is the
 * whole options struct. */
static enum nano_status parse_loras(const struct nano_cli_option *option, const char *value,
                                    void *target, struct nano_error *err)
{
    char *rest = (char *)(uintptr_t)value;
    enum nano_status status = NANO_OK;
    for (char *item; status == NANO_OK && (item = next_item(&rest)) != NULL;) {
        double scale = 1;
        if (option->max > 0) {
            char *colon = strrchr(item, ':'), *end = NULL;
            scale = colon ? strtod(colon + 1, &end) : 0;
            if (!colon || end == colon + 1 || *end || !(fabs(scale) <= option->max))
                return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                      "'%.200s' is not like adapter.gguf:0.5", item);
            *colon = '\0';
        }
        status = *item ? add_lora(target, NANO_CLI_LORA, item, scale, err)
                       : nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "expected a file");
    }
    return status;
}

enum nano_status nano_cli_add_lora_module(struct nano_cli_engine_options *options,
                                          const char *value, struct nano_error *err)
{
    char *name = (char *)(uintptr_t)value, *equals = strchr(name, '=');
    if (!equals || equals == name || !equals[1])
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "'%.200s' is not like name=adapter.gguf", value);
    *equals = '\0';
    for (int i = 0; i < options->params.num_loras; i++)
        if (strcmp(options->loras[i].name, name) == 0)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%.200s' is there twice", name);
    return add_lora(options, name, equals + 1, 1, err);
}

const char *nano_cli_lora(const struct nano_engine_params *params)
{
    for (int i = 0; i < params->num_loras; i++)
        if (strcmp(params->loras[i].name, NANO_CLI_LORA) == 0)
            return NANO_CLI_LORA;
    return NULL;
}

const struct nano_cli_option nano_cli_model_table[] = {
    {"-m --model", "PATH", nano_cli_parse_string, ENGINE(model), 0, 0,
     "GGUF file, folder with config.json and safetensors, or ONNX decoder; without it the "
     "built-in model"},
    {"-v --verbose", NULL, nano_cli_parse_true, ENGINE(verbose), 0, 0,
     "show the library's messages"},
};
const size_t nano_cli_num_model_options =
    sizeof nano_cli_model_table / sizeof *nano_cli_model_table;

const struct nano_cli_option nano_cli_engine_table[] = {
    {"--quantization", "TYPE", nano_cli_parse_string, ENGINE(model_params.quantization), 0, 0,
     "quantise matrices that are larger to this format while they are loaded, e.g. q8_0 or q4_0"},
    {"--lora", "FILE", parse_loras, 0, 0, 0,
     "LoRA adapter (GGUF) that the model runs with; repeatable, several count together"},
    {"--lora-scaled", "FILE:SCALE", parse_loras, 0, 0, 1e6, "the same, times SCALE"},
    {"-t --threads", "N", nano_cli_parse_int, ENGINE(params.num_threads), 0, 4096,
     "threads that compute (default and most: CPUs this process may use)"},
    {"-c --max-model-len --ctx-size", "N", nano_cli_parse_int, ENGINE(params.max_model_len), 0,
     NANO_CLI_NO_MAX, "tokens of prompt and output of one sequence; 0: the model's"},
    {"--max-num-seqs --parallel", "N", nano_cli_parse_int, ENGINE(params.max_num_seqs), 1,
     NANO_CLI_NO_MAX, "sequences that run at once (default {})"},
    {"-b --max-num-batched-tokens --batch-size", "N", nano_cli_parse_int,
     ENGINE(params.max_num_batched_tokens), 1, NANO_CLI_NO_MAX,
     "tokens computed in one step; longer prompts go in pieces (default 512, on a GPU up to 4096)"},
    {"--block-size", "N", nano_cli_parse_int, ENGINE(params.block_size), 1, NANO_CLI_NO_MAX,
     "tokens in a block of the KV cache (default {})"},
    {"--num-blocks", "N", nano_cli_parse_int, ENGINE(params.num_blocks), 0, NANO_CLI_NO_MAX,
     "blocks of the KV cache; 0: as many as the limits need or the budget allows"},
    {"--mem-budget", "SIZE", nano_cli_parse_size, ENGINE(params.mem_budget_bytes), 0, 0,
     "most memory to take for weights, KV cache and activations, e.g. 300M or 2G; what does not "
     "fit is "
     "refused"},
    {"--gpu-memory-utilization", "X", nano_cli_parse_float, ENGINE(params.gpu_memory_utilization),
     0, 1, "without --mem-budget, the share of a GPU's memory that may be in use (default {})"},
    {"--no-batch-invariant", NULL, nano_cli_parse_false, ENGINE(params.batch_invariant), 0, 0,
     "on a GPU: compute long prompts with cuBLASLt, faster, but tokens may then depend on what else "
     "is in the batch"},
    {"--enforce-eager", NULL, nano_cli_parse_true, ENGINE(params.enforce_eager), 0, 0,
     "on a GPU: start each op's kernels by themselves instead of as recorded CUDA graphs"},
    {"--no-async-scheduling", NULL, nano_cli_parse_false, ENGINE(params.async_scheduling), 0, 0,
     "on a GPU: do not prepare and start a step while the one before it computes"},
    {"--async-scheduling", NULL, nano_cli_parse_true, ENGINE(params.async_scheduling), 0, 0,
     "do (default)"},
    {"--kv-cache-dtype", "TYPE", nano_cli_parse_kv_dtype, ENGINE(params.kv_cache_dtype), 0, 0,
     "f16, bf16, f32, q8_0, fp8 or auto (default auto: f16)"},
    {"--no-enable-prefix-caching", NULL, nano_cli_parse_false, ENGINE(params.enable_prefix_caching),
     0, 0, "do not share the KV cache of equal prefixes"},
    {"--enable-prefix-caching", NULL, nano_cli_parse_true, ENGINE(params.enable_prefix_caching), 0,
     0, "share it (default)"},
    {"--itl-target-ms", "X", nano_cli_parse_float, ENGINE(params.itl_target_ms), 0, 1e6,
     "while sequences generate, cut prompts so that a step takes about X ms; 0: do not (default "
     "{})"},
    {"--num-speculative-tokens --spec-draft-n-max", "N", nano_cli_parse_int,
     ENGINE(params.num_speculative_tokens), 0, 64,
     "propose at most N tokens by looking up the newest ones earlier in the sequence, and verify "
     "them in one step; 0: off (default {})"},
    {"--prompt-lookup-max", "N", nano_cli_parse_int, ENGINE(params.prompt_lookup_max), 1, 64,
     "longest match to look for (default {})"},
    {"--prompt-lookup-min", "N", nano_cli_parse_int, ENGINE(params.prompt_lookup_min), 1, 64,
     "shortest match to propose from (default {})"},
    {"--runner", "NAME", nano_cli_parse_string, ENGINE(params.runner), 0, 0,
     "what computes: cpu, cuda (an NVIDIA GPU), onnx (ONNX Runtime), or mock, which only pretends "
     "to (default: onnx for ONNX graphs, else cpu)"},
    {"--onnx-providers", "LIST", nano_cli_parse_string, ENGINE(params.onnx_providers), 0, 0,
     "ONNX Runtime's execution providers in order of preference, such as cuda,cpu (default cpu)"},
};
const size_t nano_cli_num_engine_options =
    sizeof nano_cli_engine_table / sizeof *nano_cli_engine_table;

const struct nano_cli_option nano_cli_sampling_table[] = {
    {"-n --max-tokens --predict --n-predict", "N", nano_cli_parse_int, SAMPLING(params.max_tokens),
     -1, NANO_CLI_NO_MAX,
     "tokens to generate; -1: until the model ends the text or the context is full; 0: only "
     "compute the "
     "prompt (default {})"},
    {"-N --n", "N", nano_cli_parse_int, SAMPLING(params.n), 1, 64,
     "completions of each prompt (default {})"},
    {"-s --seed", "N", parse_seed, SAMPLING(params), 0, 0,
     "seed of the random choices: the same one gives the same text (default: a new one each time)"},
    {"--temp --temperature", "X", nano_cli_parse_float, SAMPLING(params.temperature), 0, 100,
     "randomness; 0: always the most likely token (default {})"},
    {"--top-k", "N", nano_cli_parse_int, SAMPLING(params.top_k), -1, NANO_CLI_NO_MAX,
     "choose among the N most likely tokens; 0: all (default {})"},
    {"--top-p", "X", nano_cli_parse_float, SAMPLING(params.top_p), 0, 1,
     "choose among the most likely tokens that have probability X together; 1: all (default {})"},
    {"--min-p", "X", nano_cli_parse_float, SAMPLING(params.min_p), 0, 1,
     "choose among tokens at least X times as likely as the most likely one; 0: all (default {})"},
    {"--repeat-penalty --repetition-penalty", "X", nano_cli_parse_float,
     SAMPLING(params.repetition_penalty), 0.01, 100,
     "above 1: makes tokens that occurred less likely (default {})"},
    {"--presence-penalty", "X", nano_cli_parse_float, SAMPLING(params.presence_penalty), -100, 100,
     "subtracted from the logits of tokens that were generated (default {})"},
    {"--frequency-penalty", "X", nano_cli_parse_float, SAMPLING(params.frequency_penalty), -100,
     100, "the same, once for each time (default {})"},
    {"--logit-bias", "ID=X", parse_logit_bias, 0, 0, 0,
     "adds X to the logit of a token; repeatable"},
    {"--stop --reverse-prompt -r", "TEXT", nano_cli_parse_strings, SAMPLING(stop), 0, 0,
     "ends the output, and is no part of it; repeatable"},
    {"--stop-token-ids", "IDS", nano_cli_parse_ints, SAMPLING(stop_token_ids), 0, NANO_CLI_NO_MAX,
     "token ids that end the output, e.g. 13,198"},
    {"--ignore-eos", NULL, nano_cli_parse_true, SAMPLING(params.ignore_eos), 0, 0,
     "go on where the model would end the text"},
    {"--min-tokens", "N", nano_cli_parse_int, SAMPLING(params.min_tokens), 0, NANO_CLI_NO_MAX,
     "do not end before N tokens (default {})"},
};
const size_t nano_cli_num_sampling_options =
    sizeof nano_cli_sampling_table / sizeof *nano_cli_sampling_table;

void nano_cli_engine_options_init(struct nano_cli_engine_options *options)
{
    *options = (struct nano_cli_engine_options){.params = nano_engine_params_default()};
    options->params.manual_step = true;
}

enum nano_status nano_cli_open_model(nano_model **out,
                                     const struct nano_cli_engine_options *options,
                                     const char *path, struct nano_error *err)
{
    return nano_model_open_with(out, path ? path : options->model, &options->model_params, err);
}

void nano_cli_sampling_options_init(struct nano_cli_sampling_options *options)
{
    memset(options, 0, sizeof *options);
    options->params = nano_sampling_params_default();
    options->params.max_tokens = -1;
    options->params.temperature = 0.8f;
    options->params.top_k = 40;
    options->params.top_p = 0.95f;
    options->params.min_p = 0.05f;
}

void nano_cli_sampling_options_deinit(struct nano_cli_sampling_options *options)
{
    nano_cli_strings_free(&options->stop);
    nano_cli_ints_free(&options->stop_token_ids);
}

const struct nano_sampling_params *nano_cli_sampling(struct nano_cli_sampling_options *options)
{
    struct nano_sampling_params *params = &options->params;
    params->stop = options->stop.items;
    params->num_stop = (int)options->stop.num;
    params->stop_token_ids = options->stop_token_ids.items;
    params->num_stop_token_ids = (int)options->stop_token_ids.num;
    params->logit_bias = options->logit_bias;
    params->num_logit_bias = options->num_logit_bias;
    return params;
}

enum nano_status nano_cli_drive(nano_engine *engine, const uint64_t *request_ids,
                                size_t num_requests, struct nano_error *err)
{
    bool cancelled = false, has_work = true;
    while (has_work) {
        if (nano_cli_interrupted() && !cancelled) {
            for (size_t i = 0; i < num_requests; i++)
                nano_engine_cancel(engine, request_ids[i]);
            cancelled = true;
        }
        enum nano_status status = nano_engine_step(engine, &has_work, err);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}
