/* nanovllm tokenize: text to token ids and back. */
#include "cli/commands.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/cli_engine.h"
#include "cli/cli_json.h"
#include "cli/cli_output.h"

struct tokenize_options {
    struct nano_cli_engine_options engine; /* only -m and -v */
    struct nano_cli_strings text;
    const char *file;
    bool add_special, parse_special, pieces, detokenize, json;
};

#define TOKENIZE(field) offsetof(struct tokenize_options, field)
static const struct nano_cli_option tokenize_table[] = {
    {"-p --prompt", "TEXT", nano_cli_parse_strings, TOKENIZE(text), 0, 0,
     "the text, as the argument TEXT"},
    {"-f --file", "FILE", nano_cli_parse_string, TOKENIZE(file), 0, 0,
     "read the text from a file, byte for byte; \"-\" is standard input"},
    {"--no-add-special", NULL, nano_cli_parse_false, TOKENIZE(add_special), 0, 0,
     "do not add BOS and EOS as the model's file asks for"},
    {"--no-parse-special", NULL, nano_cli_parse_false, TOKENIZE(parse_special), 0, 0,
     "take the names of control tokens in the text as plain text"},
    {"--pieces", NULL, nano_cli_parse_true, TOKENIZE(pieces), 0, 0,
     "print each id with the text it stands for"},
    {"--detokenize", NULL, nano_cli_parse_true, TOKENIZE(detokenize), 0, 0,
     "the input is token ids (separated by spaces, commas or newlines), the output their text"},
    {"--json", NULL, nano_cli_parse_true, TOKENIZE(json), 0, 0,
     "print {\"tokens\":[...]}, or {\"text\":\"...\"}"},
};

/* A piece between quotes: control characters and bytes that are no text of their own are escaped.
 */
static void print_piece(const char *bytes, size_t num_bytes)
{
    putchar('"');
    for (size_t i = 0; i < num_bytes; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c == 0x7F || (num_bytes == 1 && c >= 0x80))
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_pieces(const nano_tokenizer *tokenizer, const int32_t *ids, size_t num_tokens)
{
    for (size_t i = 0; i < num_tokens; i++) {
        const char *bytes = "";
        size_t num_bytes = 0;
        nano_tokenizer_get_piece(tokenizer, ids[i], &bytes, &num_bytes);
        printf("%7d  ", ids[i]);
        print_piece(bytes, num_bytes);
        putchar('\n');
    }
}

static void print_json(const struct tokenize_options *options, const nano_tokenizer *tokenizer,
                       const int32_t *ids, size_t num_tokens)
{
    struct nano_cli_json json;
    nano_cli_json_init(&json, stdout);
    nano_cli_json_open(&json, NULL, '{');
    nano_cli_json_ints(&json, "tokens", ids, num_tokens);
    if (options->pieces) {
        nano_cli_json_open(&json, "pieces", '[');
        for (size_t i = 0; i < num_tokens; i++) {
            const char *bytes = "";
            size_t num_bytes = 0;
            nano_tokenizer_get_piece(tokenizer, ids[i], &bytes, &num_bytes);
            nano_cli_json_string(&json, NULL, bytes, num_bytes);
        }
        nano_cli_json_close(&json, ']');
    }
    nano_cli_json_close(&json, '}');
}

static enum nano_status encode(const struct tokenize_options *options,
                               const nano_tokenizer *tokenizer, const char *text, size_t num_bytes,
                               struct nano_error *err)
{
    unsigned flags = (options->add_special ? (unsigned)NANO_ENCODE_ADD_SPECIAL : 0) |
                     (options->parse_special ? (unsigned)NANO_ENCODE_PARSE_SPECIAL : 0);
    int32_t *ids = NULL;
    size_t num_tokens;
    enum nano_status status =
        nano_tokenizer_encode(tokenizer, text, num_bytes, flags, &ids, &num_tokens, err);
    if (status != NANO_OK)
        return status;
    if (options->json) {
        print_json(options, tokenizer, ids, num_tokens);
    } else if (options->pieces) {
        print_pieces(tokenizer, ids, num_tokens);
    } else {
        for (size_t i = 0; i < num_tokens; i++)
            printf("%s%d", i ? " " : "", ids[i]);
        putchar('\n');
    }
    nano_free(ids);
    return NANO_OK;
}

/* Ids with anything of " ,[]" and white space between them, so that any printed list can be pasted.
 */
static enum nano_status read_ids(const char *text, struct nano_cli_ints *ids,
                                 struct nano_error *err)
{
    static const struct nano_cli_option option = {.max = NANO_CLI_NO_MAX};
    static const char separators[] = " ,[]\t\r\n";
    for (text += strspn(text, separators); *text; text += strspn(text, separators)) {
        char word[24];
        size_t length = strcspn(text, separators);
        snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1),
                 text);
        enum nano_status status = nano_cli_parse_ints(&option, word, ids, err);
        if (status != NANO_OK)
            return nano_error_prefix(err, "token ids");
        text += length;
    }
    return NANO_OK;
}

static enum nano_status decode(const struct tokenize_options *options,
                               const nano_tokenizer *tokenizer, const char *input,
                               struct nano_error *err)
{
    enum nano_status status;
    struct nano_cli_ints ids = {0};
    char *text = NULL;
    size_t num_bytes = 0;
    NANO_TRY(read_ids(input, &ids, err));
    NANO_TRY(nano_tokenizer_decode(tokenizer, ids.items, ids.num, options->add_special, &text,
                                   &num_bytes, err));
    if (options->json) {
        struct nano_cli_json json;
        nano_cli_json_init(&json, stdout);
        nano_cli_json_open(&json, NULL, '{');
        nano_cli_json_string(&json, "text", text, num_bytes);
        nano_cli_json_close(&json, '}');
    } else {
        fwrite(text, 1, num_bytes, stdout);
        if (isatty(STDOUT_FILENO))
            putchar('\n');
    }
fail:
    nano_free(text);
    nano_cli_ints_free(&ids);
    return status;
}

static int parse(const struct nano_cli_command *command, struct tokenize_options *options, int argc,
                 char **argv)
{
    const struct nano_cli_group groups[] = {
        NANO_CLI_GROUP("Options", tokenize_table, options),
        {"Model", nano_cli_model_table, nano_cli_num_model_options, &options->engine},
    };
    int result = nano_cli_parse(command, groups, 2, &options->text, argc, argv);
    if (result < 0 && options->text.num + (options->file ? 1 : 0) > 1)
        result = nano_cli_usage_error(command, "%s: expected one text",
                                      options->text.items[options->text.num - 1]);
    if (result < 0 && options->text.num == 0 && !options->file && isatty(STDIN_FILENO))
        result = nano_cli_usage_error(command,
                                      "no text: expected TEXT, -f FILE or text on standard input");
    return result;
}

static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    struct tokenize_options options = {.add_special = true, .parse_special = true};
    struct nano_error err = {0};
    enum nano_status status;
    nano_model *model = NULL;
    char *owned = NULL;
    size_t num_bytes = 0;
    int result = parse(command, &options, argc, argv);
    if (result >= 0)
        goto done;
    nano_cli_log_to_stderr(options.engine.verbose);
    const char *text;
    if (options.text.num) {
        text = options.text.items[0];
        num_bytes = strlen(text);
    } else {
        NANO_TRY(nano_cli_read(options.file, &owned, &num_bytes, &err));
        text = owned;
    }
    NANO_TRY(nano_model_open(&model, options.engine.model, &err));
    const nano_tokenizer *tokenizer = nano_model_get_tokenizer(model, &err);
    if (!tokenizer) {
        status = err.status;
        goto fail;
    }
    if (options.detokenize)
        NANO_TRY(decode(&options, tokenizer, text, &err));
    else
        NANO_TRY(encode(&options, tokenizer, text, num_bytes, &err));
    result = 0;
    goto done;
fail:
    (void)status;
    result = nano_cli_fail(&err);
done:
    nano_mem_free(owned);
    nano_model_close(model);
    nano_cli_strings_free(&options.text);
    return result;
}

const struct nano_cli_command nano_cmd_tokenize = {
    "tokenize",
    "[-m MODEL] [TEXT | -f FILE | < FILE] [options]",
    "Turn text into token ids, or token ids into text.",
    NULL,
    run,
};
