/* /set: the sampling options of the command line, under the names of OpenAI's and vLLM's fields,
 * and whether reasoning is shown. */
#include <stdio.h>
#include <string.h>

#include "cli/chat.h"

static const char *const names[] = {
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "min_tokens",
    "seed",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "reasoning",
};
#define NUM_NAMES (sizeof names / sizeof *names)

/* The command line's option of that name; NULL: there is none. */
static const struct nano_cli_option *find_option(const char *name)
{
    char spelling[32];
    snprintf(spelling, sizeof spelling, "--%s", name);
    for (char *c = spelling; *c; c++)
        if (*c == '_')
            *c = '-';
    for (size_t i = 0; i < nano_cli_num_sampling_options; i++)
        if (nano_cli_option_is(&nano_cli_sampling_table[i], spelling))
            return &nano_cli_sampling_table[i];
    return NULL;
}

static void print_value(const struct nano_chat *chat, const char *name, char *out, size_t out_bytes)
{
    const struct nano_cli_option *option = find_option(name);
    const struct nano_sampling_params *params = &chat->sampling.params;
    if (!option)
        snprintf(out, out_bytes, "%s", chat->show_reasoning ? "on" : "off");
    else if (strcmp(name, "seed") == 0 && !params->has_seed)
        snprintf(out, out_bytes, "-1 (a new one each time)");
    else if (strcmp(name, "seed") == 0)
        snprintf(out, out_bytes, "%llu", (unsigned long long)params->seed);
    else if (option->parse == nano_cli_parse_int)
        snprintf(out, out_bytes, "%d",
                 *(const int *)((const char *)&chat->sampling + option->offset));
    else
        snprintf(out, out_bytes, "%g",
                 (double)*(const float *)((const char *)&chat->sampling + option->offset));
}

static enum nano_status set_reasoning(struct nano_chat *chat, const char *value,
                                      struct nano_error *err)
{
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "'%s' is not on or off", value);
    chat->show_reasoning = strcmp(value, "on") == 0;
    return NANO_OK;
}

/* The name in the list that was meant, "-" being as good as "_"; complains if there is none. */
static const char *find_name(struct nano_chat *chat, char *name)
{
    for (char *c = name; *c; c++)
        if (*c == '-')
            *c = '_';
    for (size_t i = 0; i < NUM_NAMES; i++)
        if (strcmp(name, names[i]) == 0)
            return names[i];
    const char *nearest = nano_cli_nearest(name, names, NUM_NAMES);
    if (nearest)
        nano_chat_complain(chat, "/set %s: unknown, did you mean %s?", name, nearest);
    else
        nano_chat_complain(chat, "/set %s: unknown; /set alone lists what there is", name);
    return NULL;
}

static void list(const struct nano_chat *chat)
{
    char value[64];
    for (size_t i = 0; i < NUM_NAMES; i++) {
        print_value(chat, names[i], value, sizeof value);
        nano_chat_note(chat, "  %-20s%s", names[i], value);
    }
}

void nano_chat_set(struct nano_chat *chat, char *rest)
{
    char *value = rest + strcspn(rest, " \t=");
    struct nano_error err = {0};
    enum nano_status status;
    if (!*rest) {
        list(chat);
        return;
    }
    if (*value)
        *value++ = '\0';
    value += strspn(value, " \t=");
    const char *name = find_name(chat, rest);
    if (!name)
        return;
    const struct nano_cli_option *option = find_option(name);
    if (!*value) {
        char now[64];
        print_value(chat, name, now, sizeof now);
        nano_chat_note(chat, "%s = %s", name, now);
        return;
    }
    if (option)
        status = option->parse(option, value, (char *)&chat->sampling + option->offset, &err);
    else
        status = set_reasoning(chat, value, &err);
    if (status != NANO_OK)
        nano_chat_complain(chat, "/set %s: %s", name, err.message);
    else
        nano_chat_note(chat, "%s = %s", name, value);
}
