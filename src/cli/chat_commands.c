/* Commands of a conversation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/chat.h"

struct command {
    const char *name, *argument, *help;
    void (*run)(struct nano_chat *chat, char *rest); /* rest: without white space around it */
};

static void run_help(struct nano_chat *chat, char *rest);

static void run_system(struct nano_chat *chat, char *rest)
{
    struct nano_error err;
    const char *text = strcmp(rest, "\"\"") == 0 ? "" : rest;
    if (!*rest) {
        const char *system = nano_chat_system(chat);
        nano_chat_note(chat, "%s", system ? system : "(there is no system prompt)");
    } else if (nano_chat_set_system(chat, text, &err) != NANO_OK) {
        nano_chat_complain(chat, "%s", err.message);
    } else if (!*text) {
        nano_chat_note(chat, "The system prompt is gone.");
    } else {
        nano_chat_note(chat, "The system prompt is set%s.",
                       chat->template.info.takes_system
                           ? ""
                           : ", but this model's chat template does not use it");
    }
}

static void run_reset(struct nano_chat *chat, char *rest)
{
    (void)rest;
    nano_chat_reset(chat);
    nano_chat_note(chat, "A new conversation%s.",
                   nano_chat_system(chat) ? " with the same system prompt" : "");
}

/* "~/" as the shell takes it; released with nano_mem_free. NULL without memory. */
static char *expand_path(const char *path)
{
    const char *home = getenv("HOME");
    if (strncmp(path, "~/", 2) != 0 || !home)
        return nano_mem_strdup(path, strlen(path));
    const size_t num_bytes = strlen(home) + strlen(path);
    char *out = nano_mem_alloc(num_bytes, 1);
    if (out)
        snprintf(out, num_bytes, "%s%s", home, path + 1);
    return out;
}

static void use_file(struct nano_chat *chat, const char *path, bool save)
{
    struct nano_error err;
    char *expanded = expand_path(path);
    if (!expanded)
        nano_error_no_memory(&err, "a file's name", 0);
    else if (!*path)
        nano_error_set(&err, NANO_ERR_INVALID_ARGUMENT, "%s: expected a file's name after it",
                       save ? "/save" : "/load");
    else if ((save ? nano_chat_save(chat, expanded, &err) : nano_chat_load(chat, expanded, &err)) ==
             NANO_OK)
        err.status = NANO_OK;
    if (expanded && *path && err.status == NANO_OK)
        nano_chat_note(chat, "%zu messages %s %s.", json_array_size(chat->messages),
                       save ? "saved in" : "loaded from", expanded);
    else
        nano_chat_complain(chat, "%s", err.message);
    nano_mem_free(expanded);
}

static void run_save(struct nano_chat *chat, char *rest)
{
    use_file(chat, rest, true);
}

static void run_load(struct nano_chat *chat, char *rest)
{
    use_file(chat, rest, false);
}

static double rate(int num_tokens, uint64_t ns)
{
    return ns > 0 && num_tokens > 0 ? num_tokens * 1e9 / (double)ns : 0;
}

static void run_stats(struct nano_chat *chat, char *rest)
{
    const struct nano_chat_numbers *last = &chat->last, *total = &chat->total;
    struct nano_stats stats;
    (void)rest;
    nano_engine_get_stats(chat->engine, &stats);
    nano_chat_note(chat, "  last prompt    %d tokens, %d of them cached, %.0f tok/s",
                   last->num_prompt_tokens, last->num_cached_tokens,
                   rate(last->num_prompt_tokens - last->num_cached_tokens, last->prefill_ns));
    nano_chat_note(chat, "  last answer    %d tokens, %.1f tok/s", last->num_completion_tokens,
                   rate(last->num_completion_tokens - 1, last->decode_ns));
    nano_chat_note(chat, "  context        %d of %d tokens, %zu messages",
                   last->num_prompt_tokens + last->num_completion_tokens, chat->plan.max_model_len,
                   json_array_size(chat->messages));
    nano_chat_note(chat, "  all answers    %d tokens; prompts %d tokens, %d of them cached",
                   total->num_completion_tokens, total->num_prompt_tokens,
                   total->num_cached_tokens);
    const int num_kept = stats.num_blocks_used + stats.num_blocks_cached;
    nano_chat_note(chat, "  KV cache       %d of %d blocks of %d tokens, %s of %s", num_kept,
                   stats.num_blocks, chat->plan.block_size,
                   nano_cli_bytes((uint64_t)num_kept * chat->plan.kv_block_bytes).text,
                   nano_cli_bytes(chat->plan.kv_bytes).text);
}

static void run_retry(struct nano_chat *chat, char *rest)
{
    (void)rest;
    nano_chat_retry(chat);
}

static void run_exit(struct nano_chat *chat, char *rest)
{
    (void)rest;
    chat->done = true;
}

static const struct command commands[] = {
    {"/help", "", "this list", run_help},
    {"/system", "[TEXT]", "set the system prompt (\"\" removes it), or show it", run_system},
    {"/retry", "", "answer the last question again", run_retry},
    {"/reset", "", "begin a new conversation", run_reset},
    {"/save", "FILE", "save the conversation as JSON", run_save},
    {"/load", "FILE", "go on with a saved conversation", run_load},
    {"/set", "[NAME [VALUE]]", "change or show settings: temperature, max_tokens …", nano_chat_set},
    {"/stats", "", "tokens, speed, and use of the context and the KV cache", run_stats},
    {"/exit", "", "leave, as Ctrl-D does", run_exit},
};
#define NUM_COMMANDS (sizeof commands / sizeof *commands)

const char *const nano_chat_command_names[] = {"/help", "/system", "/retry", "/reset", "/save",
                                               "/load", "/set",    "/stats", "/exit",  NULL};

static void run_help(struct nano_chat *chat, char *rest)
{
    (void)rest;
    for (size_t i = 0; i < NUM_COMMANDS; i++) {
        char usage[32];
        snprintf(usage, sizeof usage, "%s %s", commands[i].name, commands[i].argument);
        nano_chat_note(chat, "  %-22s%s", usage, commands[i].help);
    }
    nano_chat_note(chat,
                   "Ctrl-C stops an answer, or clears the line. A line that ends in \\ goes on in "
                   "the next;\nso does everything between two \"\"\". A message that begins with a "
                   "slash begins with two.");
}

void nano_chat_command(struct nano_chat *chat, const char *line)
{
    const size_t name_bytes = strcspn(line, " \t\n");
    const char *rest = line + name_bytes + strspn(line + name_bytes, " \t\n");
    size_t rest_bytes = strlen(rest);
    while (rest_bytes > 0 && strchr(" \t\n", rest[rest_bytes - 1]))
        rest_bytes--;
    char *name = nano_mem_strdup(line, name_bytes), *argument = nano_mem_strdup(rest, rest_bytes);
    const struct command *command = NULL;
    for (size_t i = 0; i < NUM_COMMANDS && name; i++)
        if (strcmp(name, commands[i].name) == 0)
            command = &commands[i];
    if (!name || !argument) {
        nano_chat_complain(chat, "there is no memory left for the command");
    } else if (!command) {
        const char *nearest = nano_cli_nearest(name, nano_chat_command_names, NUM_COMMANDS);
        if (nearest)
            nano_chat_complain(chat, "%s: unknown command, did you mean %s?", name, nearest);
        else
            nano_chat_complain(chat, "%s: unknown command, /help lists them", name);
    } else if (*argument && !*command->argument) {
        nano_chat_complain(chat, "%s: takes nothing after it", name);
    } else {
        command->run(chat, argument);
    }
    nano_mem_free(name);
    nano_mem_free(argument);
}
