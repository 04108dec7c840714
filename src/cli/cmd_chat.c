/* nanovllm chat: a conversation on the terminal, or of lines from a pipe. */
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/chat.h"
#include "cli/chat_message.h"
#include "cli/commands.h"

struct chat_options {
    struct nano_cli_engine_options engine;
    struct nano_cli_template_options template;
    const char *system, *system_path;
    int reasoning; /* 1: show it, 0: do not, -1: on a terminal */
};

static enum nano_status parse_reasoning(const struct nano_cli_option *option, const char *value,
                                        void *target, struct nano_error *err)
{
    (void)value;
    (void)err;
    *(int *)target = option->names[2] != 'n'; /* --reasoning, --no-reasoning */
    return NANO_OK;
}

#define CHAT(field) offsetof(struct chat_options, field)
static const struct nano_cli_option chat_table[] = {
    {"--system --system-prompt -sys", "TEXT", nano_cli_parse_string, CHAT(system), 0, 0,
     "system prompt: what the model is told before the conversation"},
    {"--system-prompt-file -sysf", "FILE", nano_cli_parse_string, CHAT(system_path), 0, 0,
     "a file that holds it"},
    {"--reasoning", NULL, parse_reasoning, CHAT(reasoning), 0, 0,
     "show the model's reasoning (default: on a terminal)"},
    {"--no-reasoning", NULL, parse_reasoning, CHAT(reasoning), 0, 0, "do not show it"},
};

static int parse(const struct nano_cli_command *command, struct chat_options *options,
                 struct nano_cli_sampling_options *sampling, int argc, char **argv)
{
    const struct nano_cli_group groups[] = {
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options->engine},
        NANO_CLI_GROUP("Conversation", chat_table, options),
        {"Chat template", nano_cli_template_table, nano_cli_num_template_options,
         &options->template},
        {"Generation", nano_cli_sampling_table, nano_cli_num_sampling_options, sampling},
        {"Engine", nano_cli_engine_table, nano_cli_num_engine_options, &options->engine},
    };
    int result = nano_cli_parse(command, groups, sizeof groups / sizeof *groups, NULL, argc, argv);
    if (result < 0 && sampling->params.n > 1)
        result = nano_cli_usage_error(command, "-N: a conversation has one answer");
    if (result < 0 && options->system && options->system_path)
        result = nano_cli_usage_error(command, "--system: not with --system-prompt-file");
    return result;
}

static enum nano_status set_system(struct nano_chat *chat, const struct chat_options *options,
                                   struct nano_error *err)
{
    char *text = NULL;
    size_t num_bytes;
    enum nano_status status = NANO_OK;
    if (options->system_path)
        NANO_TRY(nano_cli_read(options->system_path, &text, &num_bytes, err));
    if (text && num_bytes > 0 && text[num_bytes - 1] == '\n')
        text[num_bytes - 1] = '\0';
    if (text || options->system)
        NANO_TRY(nano_chat_set_system(chat, text ? text : options->system, err));
    if (nano_chat_system(chat) && !chat->template.info.takes_system)
        nano_chat_note(chat, "The model's chat template does not use the system prompt.");
fail:
    nano_mem_free(text);
    return status;
}

static enum nano_status open_chat(struct nano_chat *chat, struct chat_options *options,
                                  nano_model *model, struct nano_error *err)
{
    struct nano_engine_params *params = &options->engine.params;
    const struct nano_model_info *info = nano_model_get_info(model);
    enum nano_status status;
    chat->tokenizer = nano_model_get_tokenizer(model, err);
    if (!chat->tokenizer)
        return err->status;
    chat->messages = json_array();
    if (!chat->messages)
        return nano_error_no_memory(err, "the conversation", 0);
    if (params->max_model_len < 0)
        params->max_model_len =
            info->context_length > NANO_CLI_DEFAULT_CONTEXT ? NANO_CLI_DEFAULT_CONTEXT : 0;
    params->max_num_seqs = 1;
    NANO_TRY(
        nano_cli_template_init(&chat->template, &options->template, model, chat->tokenizer, err));
    NANO_TRY(set_system(chat, options, err));
    NANO_TRY(nano_engine_create(&chat->engine, model, params, err));
    chat->lora = nano_cli_lora(params);
    nano_engine_get_plan(chat->engine, &chat->plan);
    chat->longer = chat->plan.max_model_len < info->context_length ? ", -c N makes it longer" : "";
fail:
    return status;
}

static void greet(const struct nano_chat *chat, const nano_model *model)
{
    const struct nano_model_info *info = nano_model_get_info(model);
    const char *name = *info->name ? info->name : *info->path ? info->path : "the built-in model";
    if (!chat->screen.is_terminal)
        return;
    printf("%s%s%s, context of %d tokens\n", chat->screen.style.bold, name,
           chat->screen.style.reset, chat->plan.max_model_len);
    nano_chat_note(chat, "/help lists commands, Ctrl-C stops an answer, Ctrl-D ends.\n");
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

static void take_message(struct nano_chat *chat, const char *text)
{
    if (is_blank(text))
        return;
    if (text[0] == '/' && text[1] != '/')
        nano_chat_command(chat, text);
    else
        nano_chat_say(chat, text + (text[0] == '/'));
}

/* Until the user leaves; the exit status. */
static int converse(struct nano_chat *chat, struct nano_chat_lines *lines)
{
    bool again = false; /* Ctrl-C was the last that the user did */
    while (!chat->done && !ferror(stdout)) {
        char *text;
        switch (nano_chat_message_read(lines, &text)) {
        case NANO_CHAT_LINE_TEXT:
            take_message(chat, text);
            break;
        case NANO_CHAT_LINE_NO_MEMORY:
            nano_chat_complain(chat, "there is no memory left for the message");
            break;
        case NANO_CHAT_LINE_END:
            chat->done = true;
            break;
        case NANO_CHAT_LINE_INTERRUPTED:
            if (again)
                nano_chat_note(chat, "(Ctrl-D or /exit ends)");
            break;
        }
        again = !text;
        nano_mem_free(text);
        if (chat->screen.is_terminal)
            nano_cli_clear_interrupt();
        if (nano_cli_interrupted())
            return NANO_CLI_INTERRUPTED;
    }
    return chat->failed && !chat->screen.is_terminal ? 1 : 0;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct chat_options options = {.reasoning = -1};
    struct nano_chat chat = {0};
    struct nano_chat_lines *lines = NULL;
    struct nano_error err = {0};
    enum nano_status status;
    nano_model *model = NULL;
    const bool is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    nano_cli_engine_options_init(&options.engine);
    nano_cli_sampling_options_init(&chat.sampling);
    options.engine.params.max_model_len = -1; /* open_chat chooses */

    int result = parse(command, &options, &chat.sampling, argc, argv);
    if (result >= 0)
        goto done;
    nano_cli_log_to_stderr(options.engine.verbose);
    nano_chat_screen_init(&chat.screen, is_terminal);
    chat.show_reasoning = options.reasoning < 0 ? is_terminal : options.reasoning;
    NANO_TRY(nano_cli_open_model(&model, &options.engine, NULL, &err));
    NANO_TRY(open_chat(&chat, &options, model, &err));
    nano_cli_hold_interrupts();
    NANO_TRY(nano_chat_lines_open(&lines, is_terminal, nano_chat_command_names, &err));
    greet(&chat, model);
    result = converse(&chat, lines);
    goto done;
fail:
    (void)status;
    result = nano_cli_fail(&err);
done:
    nano_chat_lines_close(lines);
    nano_engine_destroy(chat.engine);
    nano_cli_template_deinit(&chat.template);
    json_decref(chat.messages);
    nano_model_close(model);
    nano_cli_sampling_options_deinit(&chat.sampling);
    return result;
}

const struct nano_cli_command nano_cmd_chat = {
    "chat",
    "[-m MODEL] [--system TEXT] [options]",
    "Talk with a model on the terminal.",
    "Answers are streamed, and can be stopped with Ctrl-C. /help lists the commands of a "
    "conversation. Without a terminal each line of standard input is a message or a command, and "
    "standard output has the answers only. The context is the model's, at most 4096 tokens unless "
    "-c asks for more (0: all of it).",
    run,
};
