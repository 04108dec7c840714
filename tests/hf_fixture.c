/* Metadata from the text of a tokenizer.json. */
#include "hf_fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/meta_build.h"

#define MAX_TOKENS 1000000

static void set_token(struct nano_meta_builder *builder, struct nano_string *tokens, size_t count,
                      const json_t *id, const char *text, size_t num_bytes)
{
    json_int_t i = json_integer_value(id);
    if (json_is_integer(id) && i >= 0 && (size_t)i < count)
        nano_meta_copy_string(builder, &tokens[i], text, num_bytes);
}

static size_t vocab_size(json_t *vocab, json_t *added)
{
    json_int_t count = json_is_array(vocab) ? (json_int_t)json_array_size(vocab) : 0;
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach(vocab, key, value)
    {
        if (json_integer_value(value) >= count)
            count = json_integer_value(value) + 1;
    }
    json_array_foreach(added, i, value)
    {
        json_int_t id = json_integer_value(json_object_get(value, "id"));
        if (id >= count && id < MAX_TOKENS)
            count = id + 1;
    }
    return count > 0 && count <= MAX_TOKENS ? (size_t)count : 0;
}

static void add_vocab(struct nano_meta_builder *builder, json_t *vocab, json_t *added, size_t count)
{
    struct nano_string *tokens = nano_meta_add_strings(builder, "tokenizer.ggml.tokens", count);
    unsigned char *scores =
        nano_meta_add_numbers(builder, "tokenizer.ggml.scores", NANO_META_F32, count);
    const char *key;
    json_t *value;
    size_t i;
    if (!tokens || !scores)
        abort();
    json_object_foreach(vocab, key, value)
    {
        set_token(builder, tokens, count, value, key, strlen(key));
    }
    json_array_foreach(added, i, value)
    {
        json_t *content = json_object_get(value, "content");
        if (json_is_string(content))
            set_token(builder, tokens, count, json_object_get(value, "id"),
                      json_string_value(content), json_string_length(content));
    }
    for (i = 0; i < json_array_size(vocab) && i < count; i++) {
        json_t *text = json_array_get(json_array_get(vocab, i), 0);
        float score = (float)json_number_value(json_array_get(json_array_get(vocab, i), 1));
        uint32_t bits;
        memcpy(&bits, &score, sizeof bits);
        for (size_t k = 0; k < 4; k++)
            scores[4 * i + k] = (unsigned char)(bits >> 8 * k);
        if (json_is_string(text))
            nano_meta_copy_string(builder, &tokens[i], json_string_value(text),
                                  json_string_length(text));
    }
}

static void add_merges(struct nano_meta_builder *builder, json_t *merges)
{
    size_t count = json_array_size(merges);
    struct nano_string *out = nano_meta_add_strings(builder, "tokenizer.ggml.merges", count);
    if (!out)
        abort();
    for (size_t i = 0; i < count; i++) {
        json_t *merge = json_array_get(merges, i);
        const char *left = json_string_value(json_array_get(merge, 0));
        const char *right = json_string_value(json_array_get(merge, 1));
        char joined[1024] = "";
        if (left && right)
            snprintf(joined, sizeof joined, "%s %s", left, right);
        else if (json_is_string(merge))
            snprintf(joined, sizeof joined, "%s", json_string_value(merge));
        nano_meta_copy_string(builder, &out[i], joined, strlen(joined));
    }
}

bool hf_fixture(struct nano_weights *weights, const char *json, size_t num_bytes)
{
    json_t *root = json_loadb(json, num_bytes, JSON_ALLOW_NUL, NULL);
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    json_t *added = json_object_get(root, "added_tokens");
    size_t count = vocab_size(vocab, added);
    memset(weights, 0, sizeof *weights);
    nano_arena_init(&weights->arena);
    if (count > 0) {
        struct nano_meta_builder builder = {weights, NULL, 0, false};
        add_vocab(&builder, vocab, added, count);
        if (json_object_get(model, "merges"))
            add_merges(&builder, json_object_get(model, "merges"));
        json_object_del(model, "vocab");
        json_object_del(model, "merges");
        char *rest = json_dumps(root, JSON_COMPACT);
        nano_meta_add_cstring(&builder, "tokenizer.ggml.model", "gpt2");
        nano_meta_add_cstring(&builder, "nanovllm.tokenizer.pipeline", rest ? rest : "");
        free(rest);
        if (builder.failed)
            abort();
    }
    json_decref(root);
    return count > 0;
}
