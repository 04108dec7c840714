/* nanovllm info: what is in a model file and what it takes to run it. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "cli/cli_engine.h"
#include "cli/cli_json.h"
#include "cli/cli_output.h"

struct info_options {
    struct nano_cli_engine_options engine;
    bool program, json, architectures;
};

/* Everything that is printed, as text or as JSON. */
struct report {
    const nano_model *model;
    char *program;                /* NULL: not asked for */
    struct nano_memory_plan plan; /* total_bytes 0: there is none */
    struct nano_cli_style style;
};

#define INFO(field) offsetof(struct info_options, field)
static const struct nano_cli_option info_table[] = {
    {"--program", NULL, nano_cli_parse_true, INFO(program), 0, 0,
     "print the model's program: its list of ops"},
    {"--architectures", NULL, nano_cli_parse_true, INFO(architectures), 0, 0,
     "print only the names of all architectures that this program runs"},
    {"--json", NULL, nano_cli_parse_true, INFO(json), 0, 0, "print one JSON object"},
};

static void print_summary(const struct report *report)
{
    const struct nano_model_info *info = nano_model_get_info(report->model);
    printf("%s%s%s\n", report->style.bold, info->path, report->style.reset);
    printf("  name          %s\n", *info->name ? info->name : "(none)");
    printf("  architecture  %s\n", info->architecture);
    if (!info->runnable && info->num_params) {
        printf("  values        %s in %s, %s: this is no model\n",
               nano_cli_count(info->num_params).text, info->quantization,
               nano_cli_bytes(info->weight_bytes).text);
        return;
    }
    if (info->runnable)
        printf("  parameters    %s in %s, %s\n", nano_cli_count(info->num_params).text,
               info->quantization, nano_cli_bytes(info->weight_bytes).text);
    else
        printf("  parameters    none: a vocabulary-only file\n");
    if (info->num_layers)
        printf("  shape         %" PRId64 " layers, hidden %" PRId64 ", %" PRId64 " heads (%" PRId64
               " kv) of %" PRId64 ", ffn %" PRId64 "\n",
               info->num_layers, info->hidden_size, info->num_heads, info->num_kv_heads,
               info->head_dim, info->intermediate_size);
    printf("  vocabulary    %" PRId64 "\n", info->vocab_size);
    if (info->context_length)
        printf("  context       %" PRId64 "\n", info->context_length);
    struct nano_error err = {0};
    const nano_tokenizer *tokenizer = nano_model_get_tokenizer(report->model, &err);
    if (tokenizer) {
        struct nano_tokenizer_info t;
        nano_tokenizer_get_info(tokenizer, &t);
        printf("  tokenizer     %s%s%s, bos %d, eos %d%s%s\n", t.kind, *t.pre ? " " : "", t.pre,
               t.bos_token_id, t.eos_token_id, t.add_bos ? ", adds bos" : "",
               t.add_eos ? ", adds eos" : "");
    } else {
        printf("  tokenizer     none: %s\n", err.message);
    }
}

static void print_heading(const struct report *report, const char *title)
{
    printf("\n%s%s%s\n", report->style.bold, title, report->style.reset);
}

static void print_metadata(const struct report *report)
{
    const char *key, *type, *value;
    print_heading(report, "Metadata");
    for (size_t i = 0; nano_model_get_metadata(report->model, i, &key, &type, &value); i++) {
        size_t length = strlen(value), shown = length;
        if (shown > 96)
            for (shown = 96; shown > 0 && ((unsigned char)value[shown] & 0xC0) == 0x80;)
                shown--;
        printf("  %-42s %-12s %.*s%s\n", key, type, (int)shown, value,
               shown < length ? "\xE2\x80\xA6" : "");
    }
}

static void print_tensors(const struct report *report)
{
    struct nano_tensor_info tensor;
    size_t count = 0;
    while (nano_model_get_tensor(report->model, count, &tensor))
        count++;
    if (count == 0)
        return;
    char title[40];
    snprintf(title, sizeof title, "Tensors (%zu)", count);
    print_heading(report, title);
    for (size_t i = 0; nano_model_get_tensor(report->model, i, &tensor); i++) {
        char shape[100] = "";
        size_t length = 0;
        for (int d = 0; d < tensor.num_dims; d++)
            length += (size_t)snprintf(shape + length, sizeof shape - length, "%s%" PRId64,
                                       d ? " x " : "", tensor.dims[d]);
        printf("  %-36s %-6s %-18s %12" PRIu64 "\n", tensor.name, tensor.type, shape,
               tensor.num_bytes);
    }
}

static void print_bytes(const char *name, uint64_t num_bytes, const char *note)
{
    printf("  %-16s %10s%s\n", name, nano_cli_bytes(num_bytes).text, note);
}

static void print_plan(const struct report *report)
{
    const struct nano_memory_plan *plan = &report->plan;
    char blocks[120], states[120];
    int length =
        snprintf(blocks, sizeof blocks, "   %d blocks of %d tokens, %s each", plan->num_blocks,
                 plan->block_size, nano_cli_bytes(plan->kv_block_bytes).text);
    if (plan->num_kv_groups > 1)
        snprintf(blocks + length, sizeof blocks - (size_t)length, ", for %d groups of layers",
                 plan->num_kv_groups);
    snprintf(states, sizeof states, "   of %d sequences, and %d kept ones, %s each",
             plan->max_num_seqs, plan->num_states - plan->max_num_seqs,
             nano_cli_bytes(plan->state_bytes).text);
    print_heading(report, "Memory plan");
    print_bytes("weights, packed", plan->weight_bytes, "");
    print_bytes("weights, mapped", plan->mapped_bytes, "");
    print_bytes("KV cache", plan->kv_bytes, blocks);
    if (plan->num_states > 0)
        print_bytes("recurrent states", plan->states_bytes, states);
    print_bytes("activations", plan->activation_bytes, "");
    print_bytes("engine", plan->engine_bytes, "");
    print_bytes("total", plan->total_bytes, plan->device_bytes ? "   of the GPU" : "");
    if (plan->budget_bytes)
        print_bytes("budget", plan->budget_bytes, plan->device_bytes ? "   of the GPU" : "");
    if (plan->device_bytes)
        print_bytes("GPU memory", plan->device_bytes, "");
    printf("  for %d sequences at once of up to %d tokens, %d tokens a step, %d threads\n",
           plan->max_num_seqs, plan->max_model_len, plan->max_num_batched_tokens,
           plan->num_threads);
}

static void print_text(const struct report *report)
{
    print_summary(report);
    print_metadata(report);
    print_tensors(report);
    if (report->program) {
        print_heading(report, "Program");
        fputs(report->program, stdout);
    }
    if (report->plan.total_bytes)
        print_plan(report);
}

static void json_plan(struct nano_cli_json *json, const struct nano_memory_plan *plan)
{
    nano_cli_json_open(json, "memory_plan", '{');
    nano_cli_json_int(json, "weight_bytes", (int64_t)plan->weight_bytes);
    nano_cli_json_int(json, "mapped_bytes", (int64_t)plan->mapped_bytes);
    nano_cli_json_int(json, "kv_block_bytes", (int64_t)plan->kv_block_bytes);
    nano_cli_json_int(json, "kv_bytes", (int64_t)plan->kv_bytes);
    nano_cli_json_int(json, "state_bytes", (int64_t)plan->state_bytes);
    nano_cli_json_int(json, "states_bytes", (int64_t)plan->states_bytes);
    nano_cli_json_int(json, "activation_bytes", (int64_t)plan->activation_bytes);
    nano_cli_json_int(json, "engine_bytes", (int64_t)plan->engine_bytes);
    nano_cli_json_int(json, "device_bytes", (int64_t)plan->device_bytes);
    nano_cli_json_int(json, "total_bytes", (int64_t)plan->total_bytes);
    nano_cli_json_int(json, "budget_bytes", (int64_t)plan->budget_bytes);
    nano_cli_json_int(json, "num_blocks", plan->num_blocks);
    nano_cli_json_int(json, "num_kv_groups", plan->num_kv_groups);
    nano_cli_json_int(json, "num_states", plan->num_states);
    nano_cli_json_int(json, "block_size", plan->block_size);
    nano_cli_json_int(json, "max_model_len", plan->max_model_len);
    nano_cli_json_int(json, "max_num_seqs", plan->max_num_seqs);
    nano_cli_json_int(json, "max_num_batched_tokens", plan->max_num_batched_tokens);
    nano_cli_json_int(json, "num_threads", plan->num_threads);
    nano_cli_json_close(json, '}');
}

static void json_lists(struct nano_cli_json *json, const nano_model *model)
{
    const char *key, *type, *value;
    struct nano_tensor_info tensor;
    nano_cli_json_open(json, "metadata", '[');
    for (size_t i = 0; nano_model_get_metadata(model, i, &key, &type, &value); i++) {
        nano_cli_json_open(json, NULL, '{');
        nano_cli_json_cstring(json, "key", key);
        nano_cli_json_cstring(json, "type", type);
        nano_cli_json_cstring(json, "value", value);
        nano_cli_json_close(json, '}');
    }
    nano_cli_json_close(json, ']');
    nano_cli_json_open(json, "tensors", '[');
    for (size_t i = 0; nano_model_get_tensor(model, i, &tensor); i++) {
        nano_cli_json_open(json, NULL, '{');
        nano_cli_json_cstring(json, "name", tensor.name);
        nano_cli_json_cstring(json, "type", tensor.type);
        nano_cli_json_open(json, "shape", '[');
        for (int d = 0; d < tensor.num_dims; d++)
            nano_cli_json_int(json, NULL, tensor.dims[d]);
        nano_cli_json_close(json, ']');
        nano_cli_json_int(json, "num_bytes", (int64_t)tensor.num_bytes);
        nano_cli_json_close(json, '}');
    }
    nano_cli_json_close(json, ']');
}

static void print_json(const struct report *report)
{
    const struct nano_model_info *info = nano_model_get_info(report->model);
    struct nano_cli_json json;
    nano_cli_json_init(&json, stdout);
    nano_cli_json_open(&json, NULL, '{');
    nano_cli_json_cstring(&json, "path", info->path);
    nano_cli_json_cstring(&json, "name", info->name);
    nano_cli_json_cstring(&json, "architecture", info->architecture);
    nano_cli_json_cstring(&json, "quantization", info->quantization);
    nano_cli_json_cstring(&json, "chat_template", info->chat_template);
    nano_cli_json_bool(&json, "runnable", info->runnable);
    nano_cli_json_int(&json, "num_params", (int64_t)info->num_params);
    nano_cli_json_int(&json, "weight_bytes", (int64_t)info->weight_bytes);
    nano_cli_json_int(&json, "vocab_size", info->vocab_size);
    nano_cli_json_int(&json, "hidden_size", info->hidden_size);
    nano_cli_json_int(&json, "intermediate_size", info->intermediate_size);
    nano_cli_json_int(&json, "num_layers", info->num_layers);
    nano_cli_json_int(&json, "num_heads", info->num_heads);
    nano_cli_json_int(&json, "num_kv_heads", info->num_kv_heads);
    nano_cli_json_int(&json, "head_dim", info->head_dim);
    nano_cli_json_int(&json, "context_length", info->context_length);
    json_lists(&json, report->model);
    if (report->program)
        nano_cli_json_cstring(&json, "program", report->program);
    if (report->plan.total_bytes)
        json_plan(&json, &report->plan);
    nano_cli_json_close(&json, '}');
}

static void print_architectures(bool as_json)
{
    struct nano_cli_json json;
    const char *name;
    if (as_json) {
        nano_cli_json_init(&json, stdout);
        nano_cli_json_open(&json, NULL, '[');
    }
    for (size_t i = 0; (name = nano_architecture_name(i)) != NULL; i++) {
        if (as_json)
            nano_cli_json_cstring(&json, NULL, name);
        else
            puts(name);
    }
    if (as_json)
        nano_cli_json_close(&json, ']');
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct info_options options = {0};
    struct nano_cli_strings files = {0};
    struct report report = {0};
    struct nano_error err = {0};
    nano_model *model = NULL;
    enum nano_status status = NANO_OK;
    nano_cli_engine_options_init(&options.engine);
    const struct nano_cli_group groups[] = {
        NANO_CLI_GROUP("Options", info_table, &options),
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options.engine},
        {"Memory plan for an engine with", nano_cli_engine_table, nano_cli_num_engine_options,
         &options.engine},
    };
    int result =
        nano_cli_parse(command, groups, sizeof groups / sizeof *groups, &files, argc, argv);
    if (result < 0 && files.num + (options.engine.model ? 1 : 0) > 1)
        result =
            nano_cli_usage_error(command, "%s: expected one model", files.items[files.num - 1]);
    if (result < 0 && options.architectures) {
        print_architectures(options.json);
        result = 0;
    }
    if (result >= 0)
        goto done;
    nano_cli_log_to_stderr(options.engine.verbose);
    NANO_TRY(nano_cli_open_model(&model, &options.engine, files.num ? files.items[0] : NULL, &err));
    report.model = model;
    nano_cli_style_init(&report.style, stdout);
    /* what cannot run is described all the same, and then the reason is the command's error */
    if (nano_model_get_info(model)->runnable) {
        status = nano_engine_plan(model, &options.engine.params, &report.plan, &err);
        if (status == NANO_OK && options.program)
            status = nano_model_print_program(model, &report.program, &err);
    } else if (options.program) {
        status =
            nano_error_set(&err, NANO_ERR_UNSUPPORTED, "%s: has no tensors, so there is no program",
                           nano_model_get_info(model)->path);
    }
    if (options.json)
        print_json(&report);
    else
        print_text(&report);
    result = 0;
fail:
    if (status != NANO_OK)
        result = nano_cli_fail(&err);
done:
    nano_free(report.program);
    nano_model_close(model);
    nano_cli_strings_free(&files);
    return result;
}

const struct nano_cli_command nano_cmd_info = {
    "info",
    "[-m MODEL | MODEL] [options]",
    "Show a model file's metadata, tensors, program and memory plan.",
    NULL,
    run,
};
