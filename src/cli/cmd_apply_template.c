/* nanovllm apply-template: a conversation to the text of its prompt. */
#include "cli/commands.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/cli_engine.h"
#include "cli/cli_json.h"
#include "cli/cli_output.h"
#include "cli/cli_template.h"

struct template_options {
    struct nano_cli_engine_options engine; /* only -m and -v */
    struct nano_cli_template_options template;
    const char *file, *bos_token, *eos_token, *now;
    bool add_generation_prompt, normalize, json;
};

#define TEMPLATE(field) offsetof(struct template_options, field)
static const struct nano_cli_option template_table[] = {
    {"-f --file", "FILE", nano_cli_parse_string, TEMPLATE(file), 0, 0,
     "the request, a JSON object with messages; \"-\" or nothing is standard input; a .jsonl file "
     "has one per line"},
    {"--add-generation-prompt", NULL, nano_cli_parse_true, TEMPLATE(add_generation_prompt), 0, 0,
     "begin the assistant's answer, unless the request says itself (the default)"},
    {"--no-add-generation-prompt", NULL, nano_cli_parse_false, TEMPLATE(add_generation_prompt), 0,
     0, "do not"},
    {"--normalize", NULL, nano_cli_parse_true, TEMPLATE(normalize), 0, 0,
     "take messages as the server does: parts of content become one string where the template "
     "takes no parts, arguments of tool calls become objects"},
    {"--bos-token", "TEXT", nano_cli_parse_string, TEMPLATE(bos_token), 0, 0,
     "bos_token in the template, the model's by default"},
    {"--eos-token", "TEXT", nano_cli_parse_string, TEMPLATE(eos_token), 0, 0,
     "eos_token in the template, the model's by default"},
    {"--now", "TIME", nano_cli_parse_string, TEMPLATE(now), 0, 0,
     "what the template takes for the time, \"YYYY-MM-DD HH:MM:SS\""},
    {"--json", NULL, nano_cli_parse_true, TEMPLATE(json), 0, 0,
     "print {\"rendered\":\"...\"} or {\"error\":\"...\"}"},
};

/* A template that is given needs no model: the built-in one is not what it was made for. */
static enum nano_status open_template(struct nano_cli_template *template, nano_model **model,
                                      const struct template_options *options,
                                      struct nano_error *err)
{
    enum nano_status status;
    if (options->engine.model || !(options->template.path || options->template.source))
        NANO_TRY(nano_model_open(model, options->engine.model, err));
    NANO_TRY(nano_cli_template_init(template, &options->template, *model,
                                    *model ? nano_model_get_tokenizer(*model, NULL) : NULL, err));
fail:
    return status;
}

/* ---- Requests -------------------------------------------------------------------------------- */

struct work {
    const struct template_options *options;
    const struct nano_cli_template *template;
    struct nano_chat_render_params params;
};

/* Prints the request's result; with JSON an error is a result, too. */
static enum nano_status render_one(const struct work *work, const char *request, size_t num_bytes,
                                   bool as_json, struct nano_error *err)
{
    char *prompt = NULL;
    size_t prompt_bytes = 0;
    struct nano_cli_json json;
    enum nano_status status =
        nano_chat_template_render(work->template->chat_template, request, num_bytes, &work->params,
                                  &prompt, &prompt_bytes, err);
    if (as_json) {
        nano_cli_json_init(&json, stdout);
        nano_cli_json_open(&json, NULL, '{');
        if (status == NANO_OK)
            nano_cli_json_string(&json, "rendered", prompt, prompt_bytes);
        else
            nano_cli_json_cstring(&json, "error", err->message);
        nano_cli_json_close(&json, '}');
    } else if (status == NANO_OK) {
        fwrite(prompt, 1, prompt_bytes, stdout);
        if (isatty(STDOUT_FILENO))
            putchar('\n');
    }
    nano_free(prompt);
    return status;
}

/* One request per line; what is wrong with one does not stop the others. */
static void render_lines(const struct work *work, const char *text, size_t num_bytes)
{
    const char *end = text + num_bytes;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        struct nano_error err = {0};
        if (strspn(text, " \t\r") < (size_t)(stop - text))
            render_one(work, text, (size_t)(stop - text), true, &err);
        text = stop + 1;
    }
}

/* True if the first line that is not empty holds a whole object and another line follows. */
static bool has_one_per_line(const char *text)
{
    int depth = 0;
    bool in_string = false;
    text += strspn(text, " \t\r\n");
    for (; *text && *text != '\n'; text++) {
        if (in_string && *text == '\\' && text[1])
            text++;
        else if (*text == '"')
            in_string = !in_string;
        else if (!in_string)
            depth += *text == '{' || *text == '[' ? 1 : *text == '}' || *text == ']' ? -1 : 0;
    }
    return depth == 0 && text[strspn(text, " \t\r\n")] != '\0';
}

static bool is_jsonl(const char *path)
{
    size_t length = path ? strlen(path) : 0;
    return length > 6 && strcmp(path + length - 6, ".jsonl") == 0;
}

static enum nano_status render_all(const struct template_options *options,
                                   const struct nano_cli_template *template, const char *text,
                                   size_t num_bytes, struct nano_error *err)
{
    struct work work = {options, template, nano_chat_render_params_default()};
    work.params.bos_token = options->bos_token ? options->bos_token : template->bos_token;
    work.params.eos_token = options->eos_token ? options->eos_token : template->eos_token;
    work.params.add_generation_prompt = options->add_generation_prompt;
    work.params.normalize_messages = options->normalize;
    work.params.now = options->now;
    work.params.kwargs_json = options->template.kwargs;
    if (is_jsonl(options->file) || (options->json && has_one_per_line(text))) {
        render_lines(&work, text, num_bytes);
        return NANO_OK;
    }
    return render_one(&work, text, num_bytes, options->json, err);
}

/* ---- The command ----------------------------------------------------------------------------- */

static int parse(const struct nano_cli_command *command, struct template_options *options, int argc,
                 char **argv)
{
    const struct nano_cli_group groups[] = {
        NANO_CLI_GROUP("Options", template_table, options),
        {"Chat template", nano_cli_template_table, nano_cli_num_template_options,
         &options->template},
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options->engine},
    };
    int result = nano_cli_parse(command, groups, 3, NULL, argc, argv);
    if (result < 0 && options->template.path && options->template.source)
        result = nano_cli_usage_error(
            command, "expected one of --chat-template-file and --chat-template, not both");
    if (result < 0 && !options->file && isatty(STDIN_FILENO))
        result =
            nano_cli_usage_error(command, "no request: expected -f FILE or JSON on standard input");
    return result;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct template_options options = {.add_generation_prompt = true};
    struct nano_error err = {0};
    struct nano_cli_template template = {0};
    nano_model *model = NULL;
    enum nano_status status;
    char *text = NULL;
    size_t num_bytes = 0;
    int result = parse(command, &options, argc, argv);
    if (result >= 0)
        return result;
    nano_cli_log_to_stderr(options.engine.verbose);
    NANO_TRY(open_template(&template, &model, &options, &err));
    NANO_TRY(nano_cli_read(options.file, &text, &num_bytes, &err));
    status = render_all(&options, &template, text, num_bytes, &err);
fail:
    if (status == NANO_OK)
        result = 0;
    else
        result = options.json && text ? 1 : nano_cli_fail(&err);
    nano_mem_free(text);
    nano_cli_template_deinit(&template);
    nano_model_close(model);
    return result;
}

const struct nano_cli_command nano_cmd_apply_template = {
    "apply-template",
    "[-m MODEL] [-f REQUEST.json] [options]",
    "Print the prompt that a chat template makes of messages.",
    NULL,
    run,
};
