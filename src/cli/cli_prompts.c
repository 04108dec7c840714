/* Prompts. */
#include "cli/cli_prompts.h"

#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/cli_output.h"

static enum nano_status append(struct nano_cli_prompts *prompts, struct nano_cli_prompt **out,
                               struct nano_error *err)
{
    void *items = prompts->items;
    if (!nano_mem_grow(&items, &prompts->capacity, prompts->num + 1, sizeof *prompts->items))
        return nano_error_no_memory(err, "the list of prompts", 0);
    prompts->items = items;
    *out = &prompts->items[prompts->num++];
    **out = (struct nano_cli_prompt){0};
    return NANO_OK;
}

static enum nano_status parse_text(const struct nano_cli_option *option, const char *value,
                                   void *target, struct nano_error *err)
{
    struct nano_cli_prompt *prompt = NULL;
    enum nano_status status = append(target, &prompt, err);
    (void)option;
    if (status != NANO_OK)
        return status;
    prompt->text_bytes = strlen(value);
    prompt->text = nano_mem_strdup(value, prompt->text_bytes);
    return prompt->text ? NANO_OK : nano_error_no_memory(err, "a prompt", prompt->text_bytes);
}

/* Only notes the name: a missing file is no usage error. */
static enum nano_status parse_file(const struct nano_cli_option *option, const char *value,
                                   void *target, struct nano_error *err)
{
    struct nano_cli_prompt *prompt = NULL;
    (void)option;
    enum nano_status status = append(target, &prompt, err);
    if (status == NANO_OK)
        prompt->path = value;
    return status;
}

static enum nano_status parse_token_ids(const struct nano_cli_option *option, const char *value,
                                        void *target, struct nano_error *err)
{
    struct nano_cli_prompt *prompt = NULL;
    struct nano_cli_ints ids = {0};
    enum nano_status status = nano_cli_parse_ints(option, value, &ids, err);
    if (status == NANO_OK)
        status = append(target, &prompt, err);
    if (status != NANO_OK) {
        nano_cli_ints_free(&ids);
        return status;
    }
    prompt->token_ids = ids.items;
    prompt->num_tokens = ids.num;
    prompt->is_token_ids = true;
    return NANO_OK;
}

#define PROMPTS(field) offsetof(struct nano_cli_prompts, field)
const struct nano_cli_option nano_cli_prompt_table[] = {
    {"-p --prompt", "TEXT", parse_text, 0, 0, 0, "a prompt; several are run as one batch"},
    {"-f --file", "FILE", parse_file, 0, 0, 0,
     "a file that holds a prompt; \"-\" is standard input"},
    {"--token-ids", "IDS", parse_token_ids, 0, 0, NANO_CLI_NO_MAX,
     "a prompt as token ids, e.g. 1,403,261, taken as they are"},
    {"--no-add-special", NULL, nano_cli_parse_false, PROMPTS(add_special), 0, 0,
     "do not add BOS and EOS as the model's file asks for"},
    {"--no-parse-special", NULL, nano_cli_parse_false, PROMPTS(parse_special), 0, 0,
     "take the names of control tokens in the text as plain text"},
};
const size_t nano_cli_num_prompt_options =
    sizeof nano_cli_prompt_table / sizeof *nano_cli_prompt_table;

void nano_cli_prompts_init(struct nano_cli_prompts *prompts)
{
    *prompts = (struct nano_cli_prompts){.add_special = true, .parse_special = true};
}

void nano_cli_prompts_deinit(struct nano_cli_prompts *prompts)
{
    for (size_t i = 0; i < prompts->num; i++) {
        nano_mem_free(prompts->items[i].text);
        nano_mem_free(prompts->items[i].token_ids);
    }
    nano_mem_free(prompts->items);
}

enum nano_status nano_cli_prompts_read(struct nano_cli_prompts *prompts, struct nano_error *err)
{
    if (prompts->num == 0 && !isatty(STDIN_FILENO)) {
        struct nano_cli_prompt *prompt = NULL;
        enum nano_status status = append(prompts, &prompt, err);
        if (status != NANO_OK)
            return status;
        prompt->path = "-";
    }
    for (size_t i = 0; i < prompts->num; i++) {
        struct nano_cli_prompt *prompt = &prompts->items[i];
        if (!prompt->path)
            continue;
        enum nano_status status =
            nano_cli_read(prompt->path, &prompt->text, &prompt->text_bytes, err);
        if (status != NANO_OK)
            return status;
        if (prompt->text_bytes && prompt->text[prompt->text_bytes - 1] == '\n')
            prompt->text[--prompt->text_bytes] = '\0';
    }
    return NANO_OK;
}

enum nano_status nano_cli_prompts_split_lines(struct nano_cli_prompts *prompts,
                                              struct nano_error *err)
{
    struct nano_cli_prompt whole = prompts->items[0];
    const char *line = whole.text, *end = whole.text + whole.text_bytes;
    enum nano_status status = NANO_OK;
    prompts->num = 0;
    for (bool more = whole.text_bytes > 0; more && status == NANO_OK;) {
        struct nano_cli_prompt *prompt = NULL;
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        more = newline != NULL;
        NANO_TRY(append(prompts, &prompt, err));
        prompt->text_bytes = (size_t)((more ? newline : end) - line);
        prompt->text = nano_mem_strdup(line, prompt->text_bytes);
        if (!prompt->text)
            status = nano_error_no_memory(err, "a prompt", prompt->text_bytes);
        line = more ? newline + 1 : end;
    }
fail:
    nano_mem_free(whole.text);
    return status;
}

enum nano_status nano_cli_prompts_encode(struct nano_cli_prompts *prompts,
                                         const nano_tokenizer *tokenizer,
                                         const struct nano_error *tokenizer_error,
                                         struct nano_error *err)
{
    unsigned flags = (prompts->add_special ? (unsigned)NANO_ENCODE_ADD_SPECIAL : 0) |
                     (prompts->parse_special ? (unsigned)NANO_ENCODE_PARSE_SPECIAL : 0);
    enum nano_status status = NANO_OK;
    for (size_t i = 0; i < prompts->num && status == NANO_OK; i++) {
        struct nano_cli_prompt *prompt = &prompts->items[i];
        if (!tokenizer && !prompt->is_token_ids)
            return nano_error_set(err, tokenizer_error->status, "%s", tokenizer_error->message);
        if (!prompt->is_token_ids)
            status = nano_tokenizer_encode(tokenizer, prompt->text, prompt->text_bytes, flags,
                                           &prompt->token_ids, &prompt->num_tokens, err);
        else if (tokenizer)
            status = nano_tokenizer_decode(tokenizer, prompt->token_ids, prompt->num_tokens, false,
                                           &prompt->text, &prompt->text_bytes, err);
    }
    return status;
}

size_t nano_cli_prompts_longest(const struct nano_cli_prompts *prompts)
{
    size_t longest = 0;
    for (size_t i = 0; i < prompts->num; i++)
        if (prompts->items[i].num_tokens > longest)
            longest = prompts->items[i].num_tokens;
    return longest;
}
