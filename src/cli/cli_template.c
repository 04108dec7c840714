/* The chat template of a command. */
#include "cli/cli_template.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "cli/cli_output.h"

#define TEMPLATE(field) offsetof(struct nano_cli_template_options, field)
const struct nano_cli_option nano_cli_template_table[] = {
    {"--chat-template", "TEXT", nano_cli_parse_string, TEMPLATE(source), 0, 0,
     "chat template (Jinja) in place of the model's; also the name of a file that holds one"},
    {"--chat-template-file", "FILE", nano_cli_parse_string, TEMPLATE(path), 0, 0,
     "a file that holds one: Jinja, or a tokenizer_config.json"},
    {"--chat-template-kwargs", "JSON", nano_cli_parse_string, TEMPLATE(kwargs), 0, 0,
     "variables of the template, e.g. '{\"enable_thinking\": false}'"},
};
const size_t nano_cli_num_template_options =
    sizeof nano_cli_template_table / sizeof *nano_cli_template_table;

static enum nano_status check_kwargs(const char *text, struct nano_error *err)
{
    json_error_t error = {0};
    json_t *kwargs = json_loads(text, 0, &error);
    bool is_object = json_is_object(kwargs);
    json_decref(kwargs);
    if (!kwargs)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "--chat-template-kwargs: not JSON: %s", error.text);
    if (!is_object)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "--chat-template-kwargs: expected a JSON object");
    return NANO_OK;
}

static enum nano_status copy_token(const nano_tokenizer *tokenizer, int32_t token_id, char **out,
                                   struct nano_error *err)
{
    const char *bytes;
    size_t num_bytes;
    if (token_id < 0 || !nano_tokenizer_get_piece(tokenizer, token_id, &bytes, &num_bytes))
        return NANO_OK;
    *out = nano_mem_strdup(bytes, num_bytes);
    return *out ? NANO_OK : nano_error_no_memory(err, "a token's name", num_bytes);
}

static enum nano_status create(nano_chat_template **out,
                               const struct nano_cli_template_options *options,
                               const nano_model *model, struct nano_error *err)
{
    const char *source = options->source, *path = options->path;
    if (!path && source && !strchr(source, '{') && nano_os_file_exists(source))
        path = source;
    if (path)
        return nano_chat_template_open(out, path, err);
    const char *where = source ? "--chat-template" : "the model's chat template";
    if (!source)
        source = nano_model_get_info(model)->chat_template;
    if (!source)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: has no chat template: expected --chat-template-file FILE",
                              *nano_model_get_info(model)->path ? nano_model_get_info(model)->path
                                                                : "the model");
    enum nano_status status = nano_chat_template_create(out, source, strlen(source), err);
    return status == NANO_OK ? status : nano_error_prefix(err, "%s", where);
}

enum nano_status nano_cli_template_init(struct nano_cli_template *out,
                                        const struct nano_cli_template_options *options,
                                        const nano_model *model, const nano_tokenizer *tokenizer,
                                        struct nano_error *err)
{
    struct nano_tokenizer_info tokens;
    enum nano_status status;
    *out = (struct nano_cli_template){0};
    out->kwargs = options->kwargs;
    if (out->kwargs)
        NANO_TRY(check_kwargs(out->kwargs, err));
    if (tokenizer) {
        nano_tokenizer_get_info(tokenizer, &tokens);
        NANO_TRY(copy_token(tokenizer, tokens.bos_token_id, &out->bos_token, err));
        NANO_TRY(copy_token(tokenizer, tokens.eos_token_id, &out->eos_token, err));
    }
    NANO_TRY(create(&out->chat_template, options, model, err));
    nano_chat_template_get_info(out->chat_template, &out->info);
fail:
    return status;
}

void nano_cli_template_deinit(struct nano_cli_template *template)
{
    nano_chat_template_destroy(template->chat_template);
    nano_mem_free(template->bos_token);
    nano_mem_free(template->eos_token);
    *template = (struct nano_cli_template){0};
}

enum nano_status nano_cli_template_render(const struct nano_cli_template *template,
                                          json_t *messages, char **prompt, size_t *prompt_bytes,
                                          struct nano_error *err)
{
    struct nano_chat_render_params params = nano_chat_render_params_default();
    json_t *request = json_pack("{sO}", "messages", messages);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    enum nano_status status = NANO_OK;
    json_decref(request);
    if (!text)
        return nano_error_no_memory(err, "the conversation", 0);
    params.bos_token = template->bos_token;
    params.eos_token = template->eos_token;
    params.kwargs_json = template->kwargs;
    params.normalize_messages = true;
    status = nano_chat_template_render(template->chat_template, text, strlen(text), &params, prompt,
                                       prompt_bytes, err);
    free(text);
    return status;
}
