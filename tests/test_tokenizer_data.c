/* tokenizer: real vocabularies and goldens from $NANOVLLM_TEST_DATA. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "format/gguf.h"
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
