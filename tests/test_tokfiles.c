/* Tokenizer files: every format read, broken files refused, no memory survived. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/os.h"
#include "format/hf_tokenizer.h"
#include "models/program.h"
#include "tokenizer/tokenizer.h"

#define MARK "\xE2\x96\x81"

static enum nano_status load(struct nano_weights *weights, const void *data, size_t num_bytes,
                             struct nano_error *err)
{
    *weights = (struct nano_weights){0};
    struct nano_meta_builder builder = {.weights = weights};
    nano_arena_init(&weights->arena);
    enum nano_status status = nano_hf_tokenizer_load_memory(&builder, data, num_bytes, "FILE", err);
    return status == NANO_OK ? nano_weights_finish(weights, err) : status;
}

static struct nano_os_file open_corpus(const char *name)
{
    char path[512];
    struct nano_os_file file;
    struct nano_error err = {0};
    const char *srcdir = getenv("srcdir");
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name);
    cr_assert_eq(nano_os_file_open(&file, path, &err), NANO_OK, "%s", err.message);
    return file;
}

static struct nano_weights load_corpus(const char *name)
{
    struct nano_weights weights;
    struct nano_error err = {0};
    struct nano_os_file file = open_corpus(name);
    cr_assert_eq(load(&weights, file.data, file.num_bytes, &err), NANO_OK, "%s", err.message);
    nano_os_file_close(&file);
    return weights;
}

static void expect_string(const struct nano_weights *weights, const char *key, const char *expected)
{
    struct nano_string value = {"", 0};
    cr_expect_eq(nano_meta_get_string(weights, key, &value, NULL), NANO_OK);
    cr_expect(value.num_bytes == strlen(expected) &&
                  memcmp(value.bytes, expected, value.num_bytes) == 0,
              "%s: '%.*s', expected '%s'", key, (int)value.num_bytes, value.bytes, expected);
}

static int64_t get_int(const struct nano_weights *weights, const char *key)
{
    int64_t value = -1;
    cr_expect_eq(nano_meta_get_int(weights, key, 0, INT32_MAX, &value, NULL), NANO_OK, "%s", key);
    return value;
}

static int get_flag(const struct nano_weights *weights, const char *key)
{
    bool value = false;
    cr_expect_not_null(nano_weights_meta(weights, key), "%s", key);
    nano_meta_get_bool(weights, key, &value, NULL);
    return value;
}

static void expect_token(const struct nano_weights *weights, size_t id, const char *text, int type,
                         double score)
{
    const struct nano_meta *tokens = nano_weights_meta(weights, "tokenizer.ggml.tokens");
    const struct nano_meta *types = nano_weights_meta(weights, "tokenizer.ggml.token_type");
    const struct nano_meta *scores = nano_weights_meta(weights, "tokenizer.ggml.scores");
    cr_assert(tokens && types && id < tokens->num_elements);
    cr_expect_str_eq(tokens->strings[id].bytes, text);
    cr_expect_eq(nano_meta_array_int(types, id), type, "%s", text);
    if (scores)
        cr_expect_eq(nano_meta_array_float(scores, id), score, "%s: %g", text,
                     nano_meta_array_float(scores, id));
}

static void expect_ids(const struct nano_weights *weights, const char *text, size_t count,
                       const int32_t *expected)
{
    struct nano_error err = {0};
    nano_tokenizer *tokenizer;
    int32_t *ids;
    size_t num_ids;
    cr_assert_eq(nano_tokenizer_create(&tokenizer, weights, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_tokenizer_encode(tokenizer, text, strlen(text),
                                       NANO_ENCODE_ADD_SPECIAL | NANO_ENCODE_PARSE_SPECIAL, &ids,
                                       &num_ids, &err),
                 NANO_OK);
    cr_assert_eq(num_ids, count, "%s: %zu", text, num_ids);
    for (size_t i = 0; i < count; i++)
        cr_expect_eq(ids[i], expected[i], "%s [%zu]: %d", text, i, ids[i]);
    nano_free(ids);
    nano_tokenizer_destroy(tokenizer);
}

Test(tokfiles, byte_level)
{
    struct nano_weights weights = load_corpus("tokenizer_json/gpt2.json");
    expect_string(&weights, "tokenizer.ggml.model", "gpt2");
    expect_string(&weights, "tokenizer.ggml.pre", "gpt-2");
    expect_token(&weights, 258, "\xC4\xA0the", 1, 0);
    expect_token(&weights, 259, "<|endoftext|>", 3, 0);
    expect_token(&weights, 260, "[PAD260]", 5, 0); /* a hole */
    expect_token(&weights, 262, "<tag>", 4, 0);
    expect_ids(&weights, "the the<tag>", 3, (int32_t[]){257, 258, 262});
    struct nano_string pipeline = {"", 0};
    nano_meta_get_string(&weights, "nanovllm.tokenizer.pipeline", &pipeline, NULL);
    cr_expect_not_null(strstr(pipeline.bytes, "\"pre_tokenizer\":{\"type\":\"ByteLevel\""));
    cr_expect_not_null(strstr(pipeline.bytes, "\"added_tokens\":[{\"id\":259"));
    cr_expect_null(strstr(pipeline.bytes, "\"vocab\""));
    cr_expect_null(strstr(pipeline.bytes, "\"merges\""));
    nano_weights_close(&weights);
}

Test(tokfiles, byte_fallback)
{
    struct nano_weights weights = load_corpus("tokenizer_json/llama.json");
    expect_string(&weights, "tokenizer.ggml.model", "llama");
    expect_token(&weights, 0, "<unk>", 2, 0);
    expect_token(&weights, 1, "<s>", 3, 0);
    expect_token(&weights, 3 + 0x41, "<0x41>", 6, 0);
    expect_token(&weights, 259, "ab", 1, 0); /* the first merge's */
    expect_token(&weights, 260, MARK "ab", 1, -1);
    expect_token(&weights, 261, MARK, 1, -2); /* no merge's */
    cr_expect_eq(nano_weights_meta(&weights, "tokenizer.ggml.merges")->num_elements, 2);
    cr_expect(get_flag(&weights, "tokenizer.ggml.add_bos_token"));
    cr_expect(!get_flag(&weights, "tokenizer.ggml.add_eos_token"));
    cr_expect(get_flag(&weights, "tokenizer.ggml.add_space_prefix"));
    expect_ids(&weights, "abA", 3, (int32_t[]){1, 260, 3 + 0x41});
    nano_weights_close(&weights);
}

Test(tokfiles, wordpiece)
{
    struct nano_weights weights = load_corpus("tokenizer_json/bert.json");
    expect_string(&weights, "tokenizer.ggml.model", "bert");
    expect_token(&weights, 1, "[UNK]", 2, 0);
    expect_token(&weights, 4, "ab", 1, 0);
    expect_token(&weights, 5, "##c", 1, 0);
    cr_expect_eq(get_int(&weights, "tokenizer.ggml.unknown_token_id"), 1);
    cr_expect_eq(get_int(&weights, "tokenizer.ggml.bos_token_id"), 2);
    cr_expect_eq(get_int(&weights, "tokenizer.ggml.eos_token_id"), 3);
    nano_weights_close(&weights);
}

static void expect_unigram(const struct nano_weights *weights, size_t first)
{
    expect_string(weights, "tokenizer.ggml.model", "t5");
    expect_token(weights, 0, "<unk>", 2, 0);
    expect_token(weights, first, MARK "ab", 1, -1.5);
    expect_token(weights, first + 1, "c", 1, -2.25);
    const struct nano_meta *map = nano_weights_meta(weights, "tokenizer.ggml.precompiled_charsmap");
    cr_assert(map && map->num_elements == 4 && map->element_type == NANO_META_U8);
    cr_expect_eq(memcmp(map->elements, "\0\1\2\377", 4), 0);
    cr_expect(get_flag(weights, "tokenizer.ggml.add_space_prefix"));
    cr_expect(get_flag(weights, "tokenizer.ggml.remove_extra_whitespaces"));
}

Test(tokfiles, unigram)
{
    struct nano_weights weights = load_corpus("tokenizer_json/unigram.json");
    expect_unigram(&weights, 2);
    cr_expect_eq(get_int(&weights, "tokenizer.ggml.eos_token_id"), 1);
    cr_expect(get_flag(&weights, "tokenizer.ggml.add_eos_token"));
    nano_weights_close(&weights);
    weights = load_corpus("tokenizer_model/unigram.model");
    expect_unigram(&weights, 3);
    nano_weights_close(&weights);
}

Test(tokfiles, sentencepiece)
{
    struct nano_weights weights = load_corpus("tokenizer_model/bpe.model");
    expect_string(&weights, "tokenizer.ggml.model", "llama");
    expect_token(&weights, 260, MARK "ab", 1, -1);
    expect_token(&weights, 261, "<tag>", 4, 0);
    cr_expect_eq(get_int(&weights, "tokenizer.ggml.bos_token_id"), 1);
    cr_expect_null(nano_weights_meta(&weights, "tokenizer.ggml.padding_token_id"));
    cr_expect(!get_flag(&weights, "tokenizer.ggml.remove_extra_whitespaces"));
    expect_ids(&weights, "ab<tag>", 3, (int32_t[]){1, 260, 261});
    nano_weights_close(&weights);
}

/* ---- folders */

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/tokfiles.XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void put(const char *name, const void *data, size_t num_bytes)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(data, 1, num_bytes, file) == num_bytes);
    fclose(file);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static void put_corpus(const char *name, const char *corpus)
{
    struct nano_os_file file = open_corpus(corpus);
    put(name, file.data, file.num_bytes);
    nano_os_file_close(&file);
}

static void remove_folder(void)
{
    static const char *const names[] = {
        "tokenizer.json",    "tokenizer.model",       "vocab.json",
        "merges.txt",        "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "config.json",           "chat_template.jinja"};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    cr_expect_eq(rmdir(folder), 0);
}

static struct nano_weights open_folder(void)
{
    struct nano_weights weights;
    struct nano_error err = {0};
    cr_assert_eq(nano_hf_tokenizer_open(&weights, folder, &err), NANO_OK, "%s", err.message);
    return weights;
}

Test(tokfiles, vocab_and_merges, .init = make_folder, .fini = remove_folder)
{
    put_text("vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"abab\":3,\"<|endoftext|>\":4}");
    put_text("merges.txt", "#version: 0.2\r\na b\r\nab ab\n\n");
    put_text("added_tokens.json", "{\"<|im_end|>\":6,\"ab\":9}");
    put_text("tokenizer_config.json",
             "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"model_max_length\":1" /* 10^30 */
             "000000000000000000000000000000,\"eos_token\":\"<|im_end|>\","
             "\"added_tokens_decoder\":{\"7\":{\"content\":\"<x>\",\"special\":false}},"
             "\"chat_template\":[{\"name\":\"default\",\"template\":\"one\"},"
             "{\"name\":\"tool_use\",\"template\":\"two\"}]}");
    put_text("special_tokens_map.json", "{\"pad_token\":{\"content\":\"<|endoftext|>\"},"
                                        "\"eos_token\":\"a\"}");
    put_text("config.json", "{\"bos_token_id\":4,\"eos_token_id\":[3],\"vocab_size\":10}");
    struct nano_weights weights = open_folder();
    expect_string(&weights, "tokenizer.ggml.pre", "qwen2");
    expect_token(&weights, 4, "<|endoftext|>", 3, 0);
    expect_token(&weights, 5, "[PAD5]", 5, 0);
    expect_token(&weights, 6, "<|im_end|>", 3, 0);
    expect_token(&weights, 7, "<x>", 4, 0);
    expect_token(&weights, 9, "[PAD9]", 5, 0);
    cr_expect_eq(nano_weights_meta(&weights, "tokenizer.ggml.tokens")->num_elements, 10);
    cr_expect_eq(get_int(&weights, "tokenizer.ggml.bos_token_id"), 4);
    cr_expect_eq(get_int(&weights, "tokenizer.ggml.eos_token_id"), 6);
    cr_expect_eq(get_int(&weights, "tokenizer.ggml.padding_token_id"), 4);
    cr_expect(!get_flag(&weights, "tokenizer.ggml.add_bos_token"));
    expect_string(&weights, "tokenizer.chat_template", "one");
    expect_string(&weights, "tokenizer.chat_template.tool_use", "two");
    expect_ids(&weights, "ababa<|im_end|>", 3, (int32_t[]){3, 0, 6});
    nano_weights_close(&weights);
    put_text("chat_template.jinja", "three");
    weights = open_folder();
    expect_string(&weights, "tokenizer.chat_template", "three");
    nano_weights_close(&weights);
}

/* tokenizer.json goes first; Llama's class adds BOS whatever the post-processor says. */
Test(tokfiles, preference_and_flags, .init = make_folder, .fini = remove_folder)
{
    put_corpus("tokenizer.model", "tokenizer_model/bpe.model");
    put_corpus("tokenizer.json", "tokenizer_json/llama.json");
    put_text("tokenizer_config.json",
             "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_eos_token\":true,"
             "\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"}}");
    struct nano_weights weights = open_folder();
    cr_expect_not_null(nano_weights_meta(&weights, "nanovllm.tokenizer.pipeline"));
    expect_ids(&weights, "ab", 3, (int32_t[]){1, 260, 2});
    struct nano_program *program;
    struct nano_error err = {0};
    cr_expect_neq(nano_program_create(&program, &weights, &err), NANO_OK);
    cr_expect(strstr(err.message, "is a tokenizer without weights"), "%s", err.message);
    struct nano_string pipeline = {"", 0};
    nano_meta_get_string(&weights, "nanovllm.tokenizer.pipeline", &pipeline, NULL);
    cr_expect_not_null(strstr(pipeline.bytes, "{\"SpecialToken\":{\"id\":\"</s>\","));
    nano_weights_close(&weights);
    put_text("tokenizer_config.json",
             "{\"add_bos_token\":false,\"added_tokens_decoder\":{\"264\":{\"content\":\"<x>\","
             "\"special\":true}}}");
    weights = open_folder();
    nano_meta_get_string(&weights, "nanovllm.tokenizer.pipeline", &pipeline, NULL);
    cr_expect_not_null(strstr(pipeline.bytes, "\"single\":[{\"Sequence\":"));
    cr_expect_not_null(strstr(pipeline.bytes, "{\"content\":\"<x>\",\"special\":true,\"id\":264}"));
    expect_token(&weights, 264, "<x>", 3, 0);
    expect_ids(&weights, "ab", 1, (int32_t[]){260});
    nano_weights_close(&weights);
}

/* ---- what is refused */

static void expect_refused(const char *text, const char *message)
{
    struct nano_weights weights;
    struct nano_error err = {0};
    cr_expect_neq(load(&weights, text, strlen(text), &err), NANO_OK, "%s", text);
    cr_expect(strncmp(err.message, "FILE: ", 6) == 0 && strstr(err.message, message),
              "%s\n'%s' lacks '%s'", text, err.message, message);
    nano_weights_close(&weights);
}

Test(tokfiles, refused)
{
    expect_refused("{", "line 1");
    expect_refused("{}", "model: expected an object");
    expect_refused("{\"model\":{\"type\":\"Word\"}}", "unknown 'Word'");
    expect_refused("{\"model\":{\"type\":\"BPE\"}}", "model.vocab: expected");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"0\"}}}",
                   "'a': expected an int");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "model.merges: expected");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
                   "token 'b': id 0 is 'a' already");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4000000000},\"merges\":[]}}",
                   "id 4000000000, expected 0 to 65536");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "id -1");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"ab\"]}}",
                   "model.merges[0]");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", "empty");
    expect_refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "model.vocab[0]");
    expect_refused("{\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",0]]}}",
                   "model.unk_id");
    expect_refused("{\"added_tokens\":[{\"id\":1}],\"model\":{\"vocab\":[[\"a\",0]]}}",
                   "added_tokens[0]");
    expect_refused("{\"added_tokens\":[{\"id\":0,\"content\":\"b\"}],"
                   "\"model\":{\"vocab\":[[\"a\",0]]}}",
                   "id 0 is 'a' already");
    expect_refused("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"*\"},"
                   "\"model\":{\"vocab\":[[\"a\",0]]}}",
                   "precompiled_charsmap: expected base64");
    expect_refused("\xFF\xFE", "protobuf");
    expect_refused("\x0A\x7F"
                   "a",
                   "longer than its message");
    expect_refused("\x0A\x04\x0A\x01"
                   "a\x0B",
                   "wire type");
    expect_refused("\x0A\x05\x0A\x01"
                   "a\x18\x09",
                   "pieces[0].type: 9");
    expect_refused("\x0A\x03\x0A\x01"
                   "a\x12\x02\x18\x03",
                   "model_type: 3");
    expect_refused("YQ== 0\nYg== 1\n", "2 ranks");
    expect_refused("YQ== 0\nY*== 1\n", "line 2");
    expect_refused("YQ== 0\nYg==\n", "line 2");
    expect_refused("YQ== 0\nYg== 0\n", "id 0 is 'a' already");
}

/* Every beginning of a file is refused or, where what is left is whole, read; never worse. */
Test(tokfiles, truncated)
{
    static const char *const names[] = {"tokenizer_json/unigram.json", "tokenizer_json/bert.json",
                                        "tokenizer_model/unigram.model",
                                        "tokenizer_model/bpe.model"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct nano_os_file file = open_corpus(names[n]);
        for (size_t size = 0; size < file.num_bytes; size++) {
            struct nano_weights weights;
            struct nano_error err = {0};
            char *exact = nano_mem_alloc(size, 1);
            if (size)
                memcpy(exact, file.data, size);
            enum nano_status status = load(&weights, exact, size, &err);
            cr_expect(status == NANO_OK ? n >= 2 : err.message[0] != '\0', "%s: %zu", names[n],
                      size);
            nano_weights_close(&weights);
            nano_mem_free(exact);
        }
        nano_os_file_close(&file);
    }
}

Test(tokfiles, no_memory, .init = make_folder, .fini = remove_folder)
{
    put_corpus("tokenizer.json", "tokenizer_json/unigram.json");
    put_text("tokenizer_config.json", "{\"chat_template\":\"x\",\"eos_token\":\"</s>\"}");
    for (uint64_t n = 1;; n++) {
        struct nano_weights weights;
        struct nano_error err = {0};
        nano_mem_fail_after(n);
        enum nano_status status = nano_hf_tokenizer_open(&weights, folder, &err);
        nano_mem_fail_after(0);
        if (status == NANO_OK) {
            nano_weights_close(&weights);
            cr_expect_gt(n, 5, "%d", (int)n);
            break;
        }
        cr_assert_eq(status, NANO_ERR_NO_MEMORY, "%s", err.message);
    }
}

/* ---- published files */

static void check_data(const char *name, const char *oracle)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[600];
    struct nano_error err = {0};
    struct nano_weights weights;
    struct nano_os_file input, output;
    nano_tokenizer *tokenizer;
    const char *root = getenv("NANOVLLM_TEST_DATA");
    if (!root)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    snprintf(path, sizeof path, "%s/tok/%s", root, name);
    cr_assert_eq(nano_hf_tokenizer_open(&weights, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_tokenizer_create(&tokenizer, &weights, &err), NANO_OK, "%s", err.message);
    snprintf(path, sizeof path, "%s/%s.gguf.inp", root, oracle);
    cr_assert_eq(nano_os_file_open(&input, path, &err), NANO_OK, "%s", err.message);
    snprintf(path, sizeof path, "%s/%s.gguf.out", root, oracle);
    cr_assert_eq(nano_os_file_open(&output, path, &err), NANO_OK, "%s", err.message);
    char *texts = nano_mem_strdup(input.data, input.num_bytes);
    char *lines = nano_mem_strdup(output.data, output.num_bytes), *line = lines;
    int num_cases = 0;
    for (char *text = texts, *next; text; text = next, num_cases++) {
        next = strstr(text, separator);
        if (next) {
            *next = '\0';
            next += sizeof separator - 1;
        }
        int32_t *ids;
        size_t num_ids;
        cr_assert_eq(nano_tokenizer_encode(tokenizer, text, strlen(text), 0, &ids, &num_ids, &err),
                     NANO_OK);
        char *line_end = line + strcspn(line, "\n");
        for (size_t i = 0; i < num_ids; i++) {
            long expected = strtol(line, &line, 10);
            cr_expect_eq(ids[i], expected, "%s: '%s' [%zu]: %d, expected %ld", name, text, i,
                         ids[i], expected);
        }
        cr_expect_eq(strspn(line, " \r") + line, line_end, "%s: '%s': too few tokens", name, text);
        line = *line_end ? line_end + 1 : line_end;
        nano_free(ids);
    }
    cr_expect_geq(num_cases, 40);
    nano_mem_free(texts);
    nano_mem_free(lines);
    nano_os_file_close(&input);
    nano_os_file_close(&output);
    nano_tokenizer_destroy(tokenizer);
    nano_weights_close(&weights);
}

Test(tokfiles_data, oracles)
{
    check_data("gpt2", "vocab/ggml-vocab-gpt-2");
    check_data("llama2", "vocab/ggml-vocab-llama-spm");
    check_data("llama2/tokenizer.model", "vocab/ggml-vocab-llama-spm");
    check_data("phi3", "vocab/ggml-vocab-phi-3");
    check_data("falcon", "vocab/ggml-vocab-falcon");
    check_data("qwen2", "tok/ggml-vocab-qwen2");
    check_data("llama3", "tok/ggml-vocab-llama-bpe");
}

static void check_ids(const char *name, const char *text, size_t count, const int32_t *expected)
{
    char path[600];
    struct nano_error err = {0};
    struct nano_weights weights;
    const char *root = getenv("NANOVLLM_TEST_DATA");
    if (!root)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    snprintf(path, sizeof path, "%s/tok/%s", root, name);
    cr_assert_eq(nano_hf_tokenizer_open(&weights, path, &err), NANO_OK, "%s", err.message);
    expect_ids(&weights, text, count, expected);
    nano_weights_close(&weights);
}

/* As tiktoken gives them. */
Test(tokfiles_data, tiktoken)
{
    const char *cl100k = "tiktoken/cl100k_base.tiktoken", *o200k = "tiktoken/o200k_base.tiktoken";
    check_ids(cl100k, "hello world", 2, (int32_t[]){15339, 1917});
    check_ids(cl100k, "hello <|endoftext|>", 3, (int32_t[]){15339, 220, 100257});
    check_ids(cl100k, "rer", 1, (int32_t[]){38149});
    check_ids(cl100k, "'rer", 2, (int32_t[]){2351, 81});
    check_ids(cl100k, "today\n ", 3, (int32_t[]){31213, 198, 220});
    check_ids(cl100k, "today\n \n", 2, (int32_t[]){31213, 27907});
    check_ids(cl100k, "today\n  \n", 2, (int32_t[]){31213, 14211});
    check_ids(o200k, "hello world", 2, (int32_t[]){24912, 2375});
    check_ids(o200k, "ด้้็ กำ", 5, (int32_t[]){14650, 2661, 5110, 11417, 9508});
    check_ids(o200k, "naïveÉtat's HTTPServer", 8,
              (int32_t[]){1503, 9954, 737, 5859, 32232, 885, 21929, 6444});
    check_ids(o200k, "hello <|endoftext|>", 3, (int32_t[]){24912, 220, 199999});
}
