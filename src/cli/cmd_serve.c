/* nanovllm serve: an OpenAI-compatible HTTP server. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/cli_engine.h"
#include "cli/cli_output.h"
#include "cli/cli_template.h"
#include "cli/commands.h"
#include "server/server.h"

struct serve_options {
    struct nano_cli_engine_options engine;
    struct nano_cli_template_options template;
    struct nano_cli_sampling_options sampling; /* what requests do not say */
    struct nano_cli_strings models;            /* positional */
    struct nano_cli_strings names, api_keys, origins;
    const char *lora_names[NANO_CLI_MAX_LORAS]; /* of --lora-modules */
    int num_lora_names;
    const char *api_key_file;
    struct nano_server_config server;
    uint64_t max_body_bytes;
    int max_logprobs;
    bool reasoning;
};

/* What is made from the options and must live as long as the server. */
struct serving {
    nano_model *model;
    nano_engine *engine;
    struct nano_cli_template template;
    char *api_key_text; /* of the file */
    const char *name;   /* when no name was given */
    struct nano_server *server;
};

static enum nano_status parse_log_format(const struct nano_cli_option *option, const char *value,
                                         void *target, struct nano_error *err)
{
    (void)option;
    if (strcmp(value, "text") != 0 && strcmp(value, "json") != 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%s' is none of text, json", value);
    *(enum nano_log_format *)target = *value == 'j' ? NANO_LOG_JSON : NANO_LOG_TEXT;
    return NANO_OK;
}

/* The target is the whole options struct. */
static enum nano_status parse_lora_module(const struct nano_cli_option *option, const char *value,
                                          void *target, struct nano_error *err)
{
    struct serve_options *options = target;
    (void)option;
    enum nano_status status = nano_cli_add_lora_module(&options->engine, value, err);
    if (status == NANO_OK)
        options->lora_names[options->num_lora_names++] = value;
    return status;
}

/* --lora-modules takes all that follows it, so the words that look like modules are no models. */
static enum nano_status take_lora_modules(struct serve_options *options, struct nano_error *err)
{
    size_t num_models = 0;
    enum nano_status status = NANO_OK;
    for (size_t i = 0; i < options->models.num && status == NANO_OK; i++) {
        const char *word = options->models.items[i];
        if (options->num_lora_names > 0 && strchr(word, '='))
            status = parse_lora_module(NULL, word, options, err);
        else
            options->models.items[num_models++] = word;
    }
    if (status == NANO_OK)
        options->models.num = num_models;
    return status;
}

#define SERVE(field) offsetof(struct serve_options, field)
static const struct nano_cli_option http_table[] = {
    {"--host", "HOST", nano_cli_parse_string, SERVE(server.http.host), 0, 0,
     "address to listen on; 0.0.0.0 or :: for all (default {})"},
    {"--port", "N", nano_cli_parse_int, SERVE(server.http.port), 0, 65535,
     "port; 0: any that is free (default {})"},
    {"--uds", "PATH", nano_cli_parse_string, SERVE(server.http.uds), 0, 0,
     "listen on a UNIX socket instead"},
    {"--ssl-certfile --ssl-cert-file", "FILE", nano_cli_parse_string,
     SERVE(server.http.ssl_certfile), 0, 0, "serve HTTPS with this certificate (PEM)"},
    {"--ssl-keyfile --ssl-key-file", "FILE", nano_cli_parse_string, SERVE(server.http.ssl_keyfile),
     0, 0, "its private key (PEM)"},
    {"--api-key", "KEY", nano_cli_parse_strings, SERVE(api_keys), 0, 0,
     "requests need this key; repeatable"},
    {"--api-key-file", "FILE", nano_cli_parse_string, SERVE(api_key_file), 0, 0,
     "a file with keys, one on a line"},
    {"--allowed-origins", "ORIGIN", nano_cli_parse_strings, SERVE(origins), 0, 0,
     "let web pages of this origin use the server, \"*\": of any; repeatable"},
    {"--served-model-name --alias -a", "NAME", nano_cli_parse_strings, SERVE(names), 0, 0,
     "name of the model for clients; repeatable"},
    {"--lora-modules", "NAME=FILE", parse_lora_module, 0, 0, 0,
     "LoRA adapter (GGUF) that requests choose as their model; more may follow, and repeatable"},
    {"--max-num-queued-reqs", "N", nano_cli_parse_int, SERVE(engine.params.max_num_queued_reqs), 0,
     NANO_CLI_NO_MAX,
     "requests that may wait before others get status 429; 0: no limit (default {})"},
    {"--max-body-size", "SIZE", nano_cli_parse_size, SERVE(max_body_bytes), 0, 0,
     "most bytes of a request, e.g. 4M (default 16M)"},
    {"--max-logprobs", "N", nano_cli_parse_int, SERVE(max_logprobs), 0, NANO_CLI_NO_MAX,
     "log-probabilities that a request may ask for (default {})"},
    {"--max-connections", "N", nano_cli_parse_int, SERVE(server.http.max_connections), 1, 1000000,
     "connections at once (default {})"},
    {"--threads-http", "N", nano_cli_parse_int, SERVE(server.http.num_threads), 1, 256,
     "threads that read requests and send answers (default {})"},
    {"--timeout", "S", nano_cli_parse_int, SERVE(server.http.timeout_s), 1, 86400,
     "seconds in which a request must have arrived, and in which a client must take some of its "
     "answer (default {})"},
    {"--timeout-keep-alive", "S", nano_cli_parse_int, SERVE(server.http.keep_alive_s), 1, 86400,
     "seconds that an idle connection stays open (default {})"},
    {"--drain-timeout", "S", nano_cli_parse_int, SERVE(server.drain_timeout_s), 0, 86400,
     "seconds that requests have to end in after SIGTERM (default {})"},
    {"--no-reasoning-parser", NULL, nano_cli_parse_false, SERVE(reasoning), 0, 0,
     "leave the model's reasoning in the content"},
    {"--no-webui", NULL, nano_cli_parse_false, SERVE(server.page), 0, 0, "no web page at /"},
    {"--log-format", "FORMAT", parse_log_format, SERVE(server.log_format), 0, 0,
     "text or json (default text)"},
    {"--disable-access-log --disable-uvicorn-access-log", NULL, nano_cli_parse_false,
     SERVE(server.access_log), 0, 0, "no line for each request"},
};

static void options_init(struct serve_options *options)
{
    *options = (struct serve_options){
        .server = {.http = {.host = "127.0.0.1",
                            .port = 8000,
                            .max_connections = 4096,
                            .num_threads = 2,
                            .max_backlog_bytes = 256 * 1024,
                            .timeout_s = 60,
                            .keep_alive_s = 75},
                   .drain_timeout_s = 30,
                   .access_log = true,
                   .page = true},
        .max_body_bytes = 16 << 20,
        .max_logprobs = 20,
        .reasoning = true,
    };
    nano_cli_engine_options_init(&options->engine);
    nano_cli_sampling_options_init(&options->sampling);
    options->sampling.params = nano_sampling_params_default();
    options->sampling.params.max_tokens = -1;
    options->engine.params.manual_step = false;
    options->engine.params.max_num_queued_reqs = 1024;
}

static int parse(const struct nano_cli_command *command, struct serve_options *options, int argc,
                 char **argv)
{
    const struct nano_cli_group groups[] = {
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options->engine},
        NANO_CLI_GROUP("Server", http_table, options),
        {"Chat template", nano_cli_template_table, nano_cli_num_template_options,
         &options->template},
        {"Generation, where a request does not say", nano_cli_sampling_table,
         nano_cli_num_sampling_options, &options->sampling},
        {"Engine", nano_cli_engine_table, nano_cli_num_engine_options, &options->engine},
    };
    struct nano_http_config *http = &options->server.http;
    struct nano_error err = {0};
    int result = nano_cli_parse(command, groups, sizeof groups / sizeof *groups, &options->models,
                                argc, argv);
    if (result >= 0)
        return result;
    if (take_lora_modules(options, &err) != NANO_OK)
        return nano_cli_usage_error(command, "--lora-modules: %s", err.message);
    if (options->models.num + (options->engine.model ? 1 : 0) > 1)
        return nano_cli_usage_error(command, "%s: expected one model",
                                    options->models.items[options->models.num - 1]);
    if (options->models.num == 1)
        options->engine.model = options->models.items[0];
    if (!http->ssl_certfile != !http->ssl_keyfile)
        return nano_cli_usage_error(command, "--ssl-certfile and --ssl-keyfile belong together");
    if (http->uds && http->ssl_certfile)
        return nano_cli_usage_error(command, "--ssl-certfile: not with --uds");
    return -1;
}

/* Adds the keys of the file to those of the command line. */
static enum nano_status read_keys(struct serve_options *options, char **text,
                                  struct nano_error *err)
{
    size_t num_bytes;
    enum nano_status status = NANO_OK;
    if (!options->api_key_file)
        return NANO_OK;
    NANO_TRY(nano_cli_read(options->api_key_file, text, &num_bytes, err));
    size_t num_before = options->api_keys.num;
    char *rest = NULL;
    for (char *key = strtok_r(*text, " \t\r\n", &rest); key && status == NANO_OK;
         key = strtok_r(NULL, " \t\r\n", &rest))
        status = nano_cli_parse_strings(NULL, key, &options->api_keys, err);
    if (status == NANO_OK && options->api_keys.num == num_before)
        status = nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%s: there is no key in it",
                                options->api_key_file);
fail:
    return status;
}

/* The name for clients when none was given: the model's own, or its file's. */
static const char *default_name(const nano_model *model)
{
    const struct nano_model_info *info = nano_model_get_info(model);
    const char *slash = strrchr(info->path, '/');
    const char *file = slash ? slash + 1 : info->path;
    return *info->name ? info->name : *file ? file : "nanovllm";
}

static void on_step(const struct nano_step *step, void *user_data)
{
    nano_metrics_observe(user_data, NANO_METRIC_ITERATION_TOKENS,
                         step->num_prefill_tokens + step->num_decode_tokens);
}

/* A template of the model's own that cannot be used only takes the chat away. */
static enum nano_status load_template(struct serving *serving, const struct serve_options *options,
                                      const nano_tokenizer *tokenizer, struct nano_error *err)
{
    const struct nano_cli_template_options *template = &options->template;
    bool is_given = template->source || template->path;
    if (!is_given && !nano_model_get_info(serving->model)->chat_template)
        return NANO_OK;
    enum nano_status status =
        nano_cli_template_init(&serving->template, template, serving->model, tokenizer, err);
    if (status == NANO_ERR_FORMAT && !is_given) {
        nano_server_log(options->server.log_format, NANO_LOG_WARN, "%s", err->message);
        return NANO_OK;
    }
    return status;
}

static enum nano_status load(struct serving *serving, struct serve_options *options,
                             struct nano_error *err)
{
    enum nano_status status;
    struct nano_engine_params *params = &options->engine.params;
    NANO_TRY(nano_cli_open_model(&serving->model, &options->engine, NULL, err));
    const nano_tokenizer *tokenizer = nano_model_get_tokenizer(serving->model, err);
    if (!tokenizer)
        return err->status;
    NANO_TRY(load_template(serving, options, tokenizer, err));
    params->on_step = on_step;
    params->on_step_user_data = nano_server_metrics(serving->server);
    NANO_TRY(nano_engine_create(&serving->engine, serving->model, params, err));
fail:
    return status;
}

static void serve(struct serving *serving, struct serve_options *options)
{
    enum nano_log_format format = options->server.log_format;
    struct nano_memory_plan plan;
    serving->name = default_name(serving->model);
    struct nano_api api = {
        .engine = serving->engine,
        .model = serving->model,
        .tokenizer = nano_model_get_tokenizer(serving->model, NULL),
        .chat_template = serving->template.chat_template,
        .bos_token = serving->template.bos_token,
        .eos_token = serving->template.eos_token,
        .metrics = nano_server_metrics(serving->server),
        .served_model_names = options->names.num ? options->names.items : &serving->name,
        .num_served_model_names = options->names.num ? (int)options->names.num : 1,
        .lora = nano_cli_lora(&options->engine.params),
        .lora_names = options->lora_names,
        .num_lora_names = options->num_lora_names,
        .max_logprobs = options->max_logprobs,
        .created_s = (uint64_t)time(NULL),
        .reasoning = options->reasoning,
        .sampling = *nano_cli_sampling(&options->sampling),
        .chat_template_kwargs = serving->template.kwargs,
    };
    nano_engine_get_plan(serving->engine, &plan);
    nano_server_log(
        format, NANO_LOG_INFO,
        "%s: %d threads of %s, %d sequences of up to %d tokens, KV cache of %d blocks of "
        "%d tokens, %s in all%s",
        api.served_model_names[0], plan.num_threads, nano_engine_get_isa(serving->engine),
        plan.max_num_seqs, plan.max_model_len, plan.num_blocks, plan.block_size,
        nano_cli_bytes(plan.total_bytes).text,
        api.chat_template ? "" : "; no chat template: no /v1/chat/completions");
    nano_server_log(format, NANO_LOG_INFO, "ready");
    nano_server_run(serving->server, &api);
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct serve_options options;
    struct serving serving = {0};
    struct nano_error err = {0};
    enum nano_status status;
    options_init(&options);
    int result = parse(command, &options, argc, argv);
    if (result >= 0)
        goto done;
    nano_cli_log_to_stderr(options.engine.verbose);
    NANO_TRY(read_keys(&options, &serving.api_key_text, &err));
    struct nano_http_config *http = &options.server.http;
    http->api_keys = options.api_keys.items;
    http->num_api_keys = options.api_keys.num;
    http->allowed_origins = options.origins.items;
    http->num_allowed_origins = options.origins.num;
    http->max_body_bytes = (size_t)options.max_body_bytes;
    NANO_TRY(nano_server_create(&serving.server, &options.server, &err));
    nano_server_log(options.server.log_format, NANO_LOG_INFO, "listening on %s",
                    nano_server_url(serving.server));
    NANO_TRY(load(&serving, &options, &err));
    serve(&serving, &options);
    result = 0;
    goto done;
fail:
    (void)status;
    result = nano_cli_fail(&err);
done:
    nano_server_close(serving.server);
    nano_engine_destroy(serving.engine);
    nano_server_destroy(serving.server);
    nano_cli_template_deinit(&serving.template);
    nano_model_close(serving.model);
    nano_mem_free(serving.api_key_text);
    nano_cli_sampling_options_deinit(&options.sampling);
    nano_cli_strings_free(&options.models);
    nano_cli_strings_free(&options.names);
    nano_cli_strings_free(&options.api_keys);
    nano_cli_strings_free(&options.origins);
    return result;
}

const struct nano_cli_command nano_cmd_serve = {
    "serve",
    "[MODEL] [options]",
    "Serve the model over HTTP, as OpenAI's API does, with a web page at /.",
    "Requests are computed together in one batch that changes with every token, and equal "
    "beginnings "
    "of prompts are computed once. SIGTERM lets requests end before the server does.",
    run,
};
