/* tokenizer: real vocabularies and goldens from $NANOVLLM_TEST_DATA. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "format/gguf.h"
#include "hf_fixture.h"
#include "base/byte_char.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"
#include "tokenizer_fixture.h"

static const char *data_path(char *out, size_t out_bytes, const char *name)
{
    const char *root = getenv("NANOVLLM_TEST_DATA");
    if (!root)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    snprintf(out, out_bytes, "%s/%s", root, name);
    return out;
}

static struct nano_os_file open_file(const char *name)
{
    char path[512];
    struct nano_os_file file;
    struct nano_error err;
    cr_assert_eq(nano_os_file_open(&file, data_path(path, sizeof path, name), &err), NANO_OK, "%s",
                 err.message);
    return file;
}

static nano_tokenizer *open_gguf(struct nano_weights *weights, const char *name)
{
    char path[512];
    struct nano_error err;
    nano_tokenizer *tokenizer;
    cr_assert_eq(nano_gguf_open(weights, data_path(path, sizeof path, name), &err), NANO_OK, "%s",
                 err.message);
    cr_assert_eq(nano_tokenizer_create(&tokenizer, weights, &err), NANO_OK, "%s", err.message);
    return tokenizer;
}

static void print_ids(char *out, size_t out_bytes, const int32_t *ids, size_t num_ids)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < num_ids && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%d", i ? " " : "", ids[i]);
}

/* Compares with a line of ids and with the text itself after decoding. */
static void check_case(const char *name, const nano_tokenizer *tokenizer, const char *text,
                       size_t num_bytes, const char *expected)
{
    int32_t *ids;
    size_t num_ids, back_bytes;
    char *back, found[4096];
    struct nano_error err;
    cr_assert_eq(nano_tokenizer_encode(tokenizer, text, num_bytes, 0, &ids, &num_ids, &err),
                 NANO_OK, "%s", err.message);
    print_ids(found, sizeof found, ids, num_ids);
    cr_expect_str_eq(found, expected, "%s: '%.*s'", name, (int)num_bytes, text);
    cr_assert_eq(nano_tokenizer_decode(tokenizer, ids, num_ids, false, &back, &back_bytes, &err),
                 NANO_OK);
    cr_expect(back_bytes == num_bytes && memcmp(back, text, num_bytes) == 0,
              "%s: '%.*s' came back as '%s'", name, (int)num_bytes, text, back);
    nano_free(ids);
    nano_free(back);
}

/* The texts of FILE.inp against the lines of FILE.out. */
static void check_vocab(const char *file, const nano_tokenizer *tokenizer)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char name[256];
    snprintf(name, sizeof name, "%s.inp", file);
    struct nano_os_file input = open_file(name);
    snprintf(name, sizeof name, "%s.out", file);
    struct nano_os_file output = open_file(name);
    const char *text = input.data, *text_end = text + input.num_bytes;
    const char *line = output.data, *lines_end = line + output.num_bytes;
    int num_cases = 0;
    for (bool more = true; more; num_cases++) {
        const char *end = text;
        while ((size_t)(text_end - end) >= sizeof separator - 1 &&
               memcmp(end, separator, sizeof separator - 1) != 0)
            end++;
        more = (size_t)(text_end - end) >= sizeof separator - 1;
        if (!more)
            end = text_end;
        const char *line_end = memchr(line, '\n', (size_t)(lines_end - line));
        if (!line_end)
            line_end = lines_end;
        char expected[4096];
        const char *first = line, *last = line_end;
        while (first < last && *first == ' ')
            first++;
        while (last > first && (last[-1] == ' ' || last[-1] == '\r'))
            last--;
        snprintf(expected, sizeof expected, "%.*s", (int)(last - first), first);
        check_case(file, tokenizer, text, (size_t)(end - text), expected);
        text = end + (more ? sizeof separator - 1 : 0);
        line = line_end < lines_end ? line_end + 1 : lines_end;
    }
    cr_expect_geq(num_cases, 40);
    nano_os_file_close(&input);
    nano_os_file_close(&output);
}

static void check_gguf_vocab(const char *name)
{
    char file[256];
    struct nano_weights weights;
    snprintf(file, sizeof file, "vocab/ggml-vocab-%s.gguf", name);
    nano_tokenizer *tokenizer = open_gguf(&weights, file);
    check_vocab(file, tokenizer);
    nano_tokenizer_destroy(tokenizer);
    nano_weights_close(&weights);
}

Test(tokenizer_data, vocab_gpt2)
{
    check_gguf_vocab("gpt-2");
}

Test(tokenizer_data, vocab_llama_spm)
{
    check_gguf_vocab("llama-spm");
}

Test(tokenizer_data, vocab_falcon)
{
    check_gguf_vocab("falcon");
}

Test(tokenizer_data, vocab_deepseek_llm)
{
    check_gguf_vocab("deepseek-llm");
}

Test(tokenizer_data, vocab_phi3)
{
    check_gguf_vocab("phi-3");
}

/* Every golden of the zoo: ids with special tokens added, and the text back without them. */
static int check_golden(const char *root, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/zoo/golden/%s", root, name);
    json_t *golden = json_load_file(path, 0, NULL);
    json_t *cases = json_object_get(golden, "tokenize"), *one;
    size_t i, num_cases = json_array_size(cases);
    if (num_cases > 0) {
        struct nano_weights weights;
        char file[256];
        const char *model = json_string_value(json_object_get(golden, "model"));
        cr_assert_not_null(model);
        if (strstr(model, "mxfp4")) { /* its tensors are in a format that the loader refuses */
            json_decref(golden);
            return 0;
        }
        snprintf(file, sizeof file, "zoo/%s", model);
        nano_tokenizer *tokenizer = open_gguf(&weights, file);
        struct nano_tokenizer_info info;
        nano_tokenizer_get_info(tokenizer, &info);
        json_array_foreach(cases, i, one)
        {
            const char *text = json_string_value(json_object_get(one, "text"));
            size_t num_bytes = json_string_length(json_object_get(one, "text"));
            json_t *expected = json_object_get(one, "ids");
            int32_t *ids;
            size_t num_ids, back_bytes;
            char *back;
            struct nano_error err;
            cr_assert_eq(nano_tokenizer_encode(tokenizer, text, num_bytes, NANO_ENCODE_ADD_SPECIAL,
                                               &ids, &num_ids, &err),
                         NANO_OK);
            cr_expect_eq(num_ids, json_array_size(expected), "%s: '%s'", name, text);
            for (size_t k = 0; k < num_ids && k < json_array_size(expected); k++)
                cr_expect_eq(ids[k], json_integer_value(json_array_get(expected, k)),
                             "%s: '%s' [%zu]", name, text, k);
            cr_assert_eq(
                nano_tokenizer_decode(tokenizer, ids, num_ids, true, &back, &back_bytes, &err),
                NANO_OK);
            const char *detokenized = json_string_value(json_object_get(one, "detokenized"));
            cr_expect_str_eq(back, strcmp(info.kind, "spm") == 0 ? detokenized : text, "%s", name);
            nano_free(ids);
            nano_free(back);
        }
        nano_tokenizer_destroy(tokenizer);
        nano_weights_close(&weights);
    }
    json_decref(golden);
    return num_cases > 0;
}

Test(tokenizer_data, zoo_goldens)
{
    char folder[512];
    data_path(folder, sizeof folder, "zoo/golden");
    DIR *directory = opendir(folder);
    cr_assert_not_null(directory);
    int num_models = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strstr(entry->d_name, ".json"))
            num_models += check_golden(getenv("NANOVLLM_TEST_DATA"), entry->d_name);
    closedir(directory);
    cr_expect_geq(num_models, 35);
}

/* ---- vocabularies in their original form */

/* A growing list of strings whose bytes live in the list's own memory. */
struct string_list {
    struct nano_string *strings;
    size_t count, capacity;
};

static void list_add(struct string_list *list, const char *bytes, size_t num_bytes)
{
    cr_assert(nano_mem_grow((void **)&list->strings, &list->capacity, list->count + 1,
                            sizeof *list->strings));
    char *copy = nano_mem_strdup(bytes, num_bytes);
    cr_assert_not_null(copy);
    list->strings[list->count++] = (struct nano_string){copy, num_bytes};
}

static void list_free(struct string_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        nano_mem_free((char *)(uintptr_t)list->strings[i].bytes);
    nano_mem_free(list->strings);
}

static void add_lists(struct nano_weights *weights, const char *pre, struct string_list *tokens,
                      struct string_list *merges)
{
    fixture_add_string(weights, "tokenizer.ggml.model", "gpt2");
    fixture_add_string(weights, "tokenizer.ggml.pre", pre);
    fixture_add_strings(weights, "tokenizer.ggml.tokens", tokens->count, tokens->strings);
    fixture_add_strings(weights, "tokenizer.ggml.merges", merges->count, merges->strings);
    list_free(tokens);
    list_free(merges);
}

/* vocab.json and merges.txt as transformers write them. */
static void load_hf(struct nano_weights *weights, const char *pre, const char *folder)
{
    char path[512], name[256];
    struct string_list tokens = {0}, merges = {0};
    snprintf(name, sizeof name, "%s/vocab.json", folder);
    json_t *vocab = json_load_file(data_path(path, sizeof path, name), 0, NULL), *id;
    cr_assert_not_null(vocab);
    for (size_t i = 0; i < json_object_size(vocab); i++)
        list_add(&tokens, "", 0);
    const char *text;
    json_object_foreach(vocab, text, id)
    {
        struct nano_string *token = &tokens.strings[json_integer_value(id)];
        nano_mem_free((char *)(uintptr_t)token->bytes);
        *token = (struct nano_string){nano_mem_strdup(text, strlen(text)), strlen(text)};
    }
    json_decref(vocab);
    snprintf(name, sizeof name, "%s/merges.txt", folder);
    struct nano_os_file file = open_file(name);
    const char *line = file.data, *end = line + file.num_bytes;
    while (line < end) {
        const char *line_end = memchr(line, '\n', (size_t)(end - line));
        if (!line_end)
            line_end = end;
        if (line_end > line && memcmp(line, "#version", 8) != 0)
            list_add(&merges, line, (size_t)(line_end - line));
        line = line_end + 1;
    }
    nano_os_file_close(&file);
    add_lists(weights, pre, &tokens, &merges);
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Lines of "BASE64 RANK", as tiktoken has them, in order of rank. */
static void read_tiktoken(struct string_list *tokens, const char *name)
{
    struct nano_os_file file = open_file(name);
    const char *line = file.data, *end = line + file.num_bytes;
    while (line < end) {
        char bytes[256], text[512];
        size_t num_bytes = 0;
        uint32_t bits = 0;
        int num_bits = 0;
        for (; line < end && base64_digit(*line) >= 0; line++) {
            bits = bits << 6 | (uint32_t)base64_digit(*line);
            num_bits += 6;
            if (num_bits >= 8) {
                num_bits -= 8;
                bytes[num_bytes++] = (char)(bits >> num_bits);
                cr_assert_lt(num_bytes, sizeof bytes);
            }
        }
        if (num_bytes)
            list_add(tokens, text, nano_byte_chars_encode(bytes, num_bytes, text));
        while (line < end && *line++ != '\n')
            ;
    }
    nano_os_file_close(&file);
}

/* tiktoken merges any two neighbours that together are a token, lowest rank first: as merges, every
 * way to cut a token in two others. */
static void load_tiktoken(struct nano_weights *weights, const char *pre, const char *name)
{
    struct string_list tokens = {0}, merges = {0};
    struct nano_weights only_tokens = {0};
    struct nano_vocab vocab;
    struct nano_error err;
    read_tiktoken(&tokens, name);
    fixture_add_strings(&only_tokens, "tokenizer.ggml.tokens", tokens.count, tokens.strings);
    cr_assert_eq(nano_vocab_init(&vocab, NANO_TOKENIZER_BPE, false, &only_tokens, &err), NANO_OK);
    for (size_t i = 0; i < tokens.count; i++)
        for (size_t cut = 1; cut < tokens.strings[i].num_bytes; cut++) {
            const struct nano_string *text = &tokens.strings[i];
            char merge[600];
            if (nano_vocab_find(&vocab, text->bytes, cut) < 0 ||
                nano_vocab_find(&vocab, text->bytes + cut, text->num_bytes - cut) < 0)
                continue;
            int length = snprintf(merge, sizeof merge, "%.*s %.*s", (int)cut, text->bytes,
                                  (int)(text->num_bytes - cut), text->bytes + cut);
            list_add(&merges, merge, (size_t)length);
        }
    nano_vocab_deinit(&vocab);
    nano_weights_close(&only_tokens);
    add_lists(weights, pre, &tokens, &merges);
}

static nano_tokenizer *create(const struct nano_weights *weights)
{
    struct nano_error err;
    nano_tokenizer *tokenizer;
    cr_assert_eq(nano_tokenizer_create(&tokenizer, weights, &err), NANO_OK, "%s", err.message);
    return tokenizer;
}

Test(tokenizer_data, original_qwen2)
{
    struct nano_weights weights = {0};
    load_hf(&weights, "qwen2", "tok/qwen2");
    nano_tokenizer *tokenizer = create(&weights);
    check_vocab("tok/ggml-vocab-qwen2.gguf", tokenizer);
    nano_tokenizer_destroy(tokenizer);
    nano_weights_close(&weights);
}

Test(tokenizer_data, original_gpt2)
{
    struct nano_weights weights = {0};
    load_hf(&weights, "gpt-2", "tok/gpt2");
    nano_tokenizer *tokenizer = create(&weights);
    check_vocab("vocab/ggml-vocab-gpt-2.gguf", tokenizer);
    nano_tokenizer_destroy(tokenizer);
    nano_weights_close(&weights);
}

Test(tokenizer_data, original_llama3)
{
    struct nano_weights weights = {0};
    load_tiktoken(&weights, "llama-bpe", "tok/llama3/tokenizer.model");
    nano_tokenizer *tokenizer = create(&weights);
    check_vocab("tok/ggml-vocab-llama-bpe.gguf", tokenizer);
    nano_tokenizer_destroy(tokenizer);
    nano_weights_close(&weights);
}

/* ---- tokenizer.json */

static nano_tokenizer *open_json(struct nano_weights *weights, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "tok/%s/tokenizer.json", name);
    struct nano_os_file file = open_file(path);
    cr_assert(hf_fixture(weights, file.data, file.num_bytes, NULL));
    nano_os_file_close(&file);
    return create(weights);
}

Test(tokenizer_data, published_pipelines)
{
    static const char *const pairs[][2] = {
        {"gpt2", "gpt-2"}, {"falcon", "falcon"}, {"llama2", "llama-spm"}, {"phi3", "phi-3"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char file[256];
        struct nano_weights weights;
        nano_tokenizer *tokenizer = open_json(&weights, pairs[i][0]);
        snprintf(file, sizeof file, "vocab/ggml-vocab-%s.gguf", pairs[i][1]);
        check_vocab(file, tokenizer);
        nano_tokenizer_destroy(tokenizer);
        nano_weights_close(&weights);
    }
}

/* ---- whole texts */

/* `lost` are bytes that the vocabulary has no token for (Falcon's lacks some control characters):
 * they come back as nothing. */
static void check_text_file(const char *name, const nano_tokenizer *tokenizer,
                            const char *text_name, const char *lost)
{
    struct nano_os_file file = open_file(text_name);
    char *expected = nano_mem_alloc(file.num_bytes, 1), *back;
    const char *text = file.data;
    size_t num_expected = 0, num_ids, num_bytes;
    for (size_t i = 0; i < file.num_bytes; i++)
        if (text[i] == '\0' || !strchr(lost, text[i]))
            expected[num_expected++] = text[i];
    int32_t *ids;
    struct nano_error err;
    cr_assert_eq(nano_tokenizer_encode(tokenizer, text, file.num_bytes, 0, &ids, &num_ids, &err),
                 NANO_OK);
    cr_assert_eq(nano_tokenizer_decode(tokenizer, ids, num_ids, false, &back, &num_bytes, &err),
                 NANO_OK);
    cr_expect(num_bytes == num_expected && memcmp(back, expected, num_bytes) == 0, "%s: %s", name,
              text_name);
    struct nano_token_stream stream;
    char *streamed = nano_mem_alloc(num_bytes + nano_token_stream_max_bytes(tokenizer), 1);
    size_t written = 0;
    nano_token_stream_init(&stream, tokenizer, false);
    for (size_t i = 0; i < num_ids; i++)
        written += nano_token_stream_push(&stream, ids[i], streamed + written);
    written += nano_token_stream_flush(&stream, streamed + written);
    cr_expect(written == num_bytes && memcmp(streamed, back, written) == 0, "%s: %s streamed", name,
              text_name);
    nano_mem_free(streamed);
    nano_mem_free(expected);
    nano_free(ids);
    nano_free(back);
    nano_os_file_close(&file);
}

Test(tokenizer_data, texts_round_trip)
{
    static const char *const vocabs[] = {"gpt-2", "llama-spm", "falcon",
                                         "phi-3", "gpt-neox",  "deepseek-llm"};
    static const char *const texts[] = {
        "text/tinyshakespeare/input.txt", "text/war-and-peace/war-and-peace.txt",
        "text/promessi-sposi/promessi_sposi.txt", "text/blns/blns.txt", "text/blns/blns.json"};
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++) {
        char file[256];
        struct nano_weights weights;
        snprintf(file, sizeof file, "vocab/ggml-vocab-%s.gguf", vocabs[v]);
        nano_tokenizer *tokenizer = open_gguf(&weights, file);
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
            check_text_file(vocabs[v], tokenizer, texts[t],
                            strcmp(vocabs[v], "falcon") == 0
                                ? "\x03\x04\x05\x0B\x11\x13\x14\x15\x16\x17\x19\x1C\x1D\x1E"
                                : "");
        nano_tokenizer_destroy(tokenizer);
        nano_weights_close(&weights);
    }
}
