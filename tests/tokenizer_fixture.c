/* Vocabularies made in memory for the tokenizer's tests. */
#include "tokenizer_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/byte_char.h"
#include "tokenizer/vocab.h"

#define MAX_ENTRIES 32

static void *arena_copy(struct nano_weights *weights, const void *data, size_t num_bytes)
{
    void *copy = nano_arena_alloc(&weights->arena, num_bytes + 1, 1);
    if (!copy)
        abort();
    if (num_bytes)
        memcpy(copy, data, num_bytes);
    return copy;
}

static struct nano_meta *add_entry(struct nano_weights *weights, const char *key,
                                   enum nano_meta_type type)
{
    if (!weights->metadata) {
        nano_arena_init(&weights->arena);
        weights->metadata =
            nano_arena_alloc(&weights->arena, MAX_ENTRIES, sizeof *weights->metadata);
    }
    if (!weights->metadata || weights->num_metadata == MAX_ENTRIES)
        abort();
    struct nano_meta *meta = &weights->metadata[weights->num_metadata++];
    meta->key = (struct nano_string){arena_copy(weights, key, strlen(key)), strlen(key)};
    meta->type = type;
    return meta;
}

void fixture_add_string(struct nano_weights *weights, const char *key, const char *value)
{
    struct nano_meta *meta = add_entry(weights, key, NANO_META_STRING);
    meta->value.string =
        (struct nano_string){arena_copy(weights, value, strlen(value)), strlen(value)};
}

void fixture_add_int(struct nano_weights *weights, const char *key, int64_t value)
{
    add_entry(weights, key, NANO_META_I64)->value.i = value;
}

void fixture_add_bool(struct nano_weights *weights, const char *key, bool value)
{
    add_entry(weights, key, NANO_META_BOOL)->value.u = value;
}

void fixture_add_strings(struct nano_weights *weights, const char *key, size_t count,
                         const struct nano_string *values)
{
    struct nano_meta *meta = add_entry(weights, key, NANO_META_ARRAY);
    struct nano_string *strings = nano_arena_alloc(&weights->arena, count + 1, sizeof *strings);
    if (!strings)
        abort();
    for (size_t i = 0; i < count; i++)
        strings[i] = (struct nano_string){arena_copy(weights, values[i].bytes, values[i].num_bytes),
                                          values[i].num_bytes};
    meta->element_type = NANO_META_STRING;
    meta->num_elements = count;
    meta->strings = strings;
}

void fixture_add_ints(struct nano_weights *weights, const char *key, size_t count,
                      const int32_t *values)
{
    struct nano_meta *meta = add_entry(weights, key, NANO_META_ARRAY);
    meta->element_type = NANO_META_I32;
    meta->num_elements = count;
    meta->elements = arena_copy(weights, values, count * sizeof *values);
}

void fixture_add_floats(struct nano_weights *weights, const char *key, size_t count,
                        const float *values)
{
    struct nano_meta *meta = add_entry(weights, key, NANO_META_ARRAY);
    meta->element_type = NANO_META_F32;
    meta->num_elements = count;
    meta->elements = arena_copy(weights, values, count * sizeof *values);
}

struct nano_meta *fixture_find(struct nano_weights *weights, const char *key)
{
    for (size_t i = 0; i < weights->num_metadata; i++)
        if (strcmp(weights->metadata[i].key.bytes, key) == 0)
            return &weights->metadata[i];
    return NULL;
}

/* Spaces are \xC4\xA0 (U+0120), the first byte of U+00E9 is \xC3\x83 and its second \xC2\xA9. */
const char *const toy_merges[TOY_NUM_MERGES] = {
    "h e",
    "l l",
    "he ll",
    "hell o",
    "\xC4\xA0 h",
    "\xC4\xA0h e",
    "l d",
    "o r",
    "\xC4\xA0 w",
    "\xC4\xA0w or",
    "\xC4\xA0wor ld",
    "1 2",
    "\xC4\xA0 \xC4\xA0",
    "\xC3\x83 \xC2\xA9",
    "hello hello",
};

void fixture_toy_bpe(struct nano_weights *weights, const char *pre)
{
    static char storage[TOY_NUM_TOKENS][24];
    static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im", "<tag>",
                                           "[unused]"};
    struct nano_string tokens[TOY_NUM_TOKENS], merges[TOY_NUM_MERGES];
    int32_t types[TOY_NUM_TOKENS];
    for (int i = 0; i < TOY_NUM_TOKENS; i++) {
        size_t length = 0;
        types[i] = NANO_TOKEN_NORMAL;
        if (i < TOY_MERGED) {
            char byte = (char)i;
            length = nano_byte_chars_encode(&byte, 1, storage[i]);
        } else if (i < TOY_END) {
            for (const char *s = toy_merges[i - TOY_MERGED]; *s; s++)
                if (*s != ' ')
                    storage[i][length++] = *s;
        } else {
            length = strlen(specials[i - TOY_END]);
            memcpy(storage[i], specials[i - TOY_END], length);
            types[i] = i == TOY_UNUSED ? NANO_TOKEN_UNUSED
                       : i == TOY_TAG  ? NANO_TOKEN_USER_DEFINED
                                       : NANO_TOKEN_CONTROL;
        }
        tokens[i] = (struct nano_string){storage[i], length};
    }
    for (int i = 0; i < TOY_NUM_MERGES; i++)
        merges[i] = (struct nano_string){toy_merges[i], strlen(toy_merges[i])};
    fixture_add_string(weights, "tokenizer.ggml.model", "gpt2");
    if (pre)
        fixture_add_string(weights, "tokenizer.ggml.pre", pre);
    fixture_add_strings(weights, "tokenizer.ggml.tokens", TOY_NUM_TOKENS, tokens);
    fixture_add_ints(weights, "tokenizer.ggml.token_type", TOY_NUM_TOKENS, types);
    fixture_add_strings(weights, "tokenizer.ggml.merges", TOY_NUM_MERGES, merges);
    fixture_add_int(weights, "tokenizer.ggml.eos_token_id", TOY_END);
}

static const struct {
    const char *text; /* _ stands for U+2581 */
    float score;
    int32_t type;
} spm_pieces[] = {
#define SPM_PIECE(name, text, score, type) {text, score, type},
    SPM_PIECE_LIST
#undef SPM_PIECE
};

void fixture_toy_spm(struct nano_weights *weights)
{
    enum { NUM_PIECES = sizeof spm_pieces / sizeof *spm_pieces };
    static char storage[SPM_PIECES + NUM_PIECES][32];
    struct nano_string tokens[SPM_PIECES + NUM_PIECES];
    int32_t types[SPM_PIECES + NUM_PIECES];
    float scores[SPM_PIECES + NUM_PIECES];
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    for (int i = 0; i < SPM_PIECES + NUM_PIECES; i++) {
        scores[i] = 0;
        size_t length = 0;
        if (i < SPM_FIRST_BYTE) {
            length = strlen(first[i]);
            memcpy(storage[i], first[i], length);
            types[i] = i == 0 ? NANO_TOKEN_UNKNOWN : NANO_TOKEN_CONTROL;
        } else if (i < SPM_PIECES) {
            length = (size_t)snprintf(storage[i], sizeof storage[i], "<0x%02X>",
                                      (unsigned)(i - SPM_FIRST_BYTE) & 0xFF);
            types[i] = NANO_TOKEN_BYTE;
        } else {
            for (const char *s = spm_pieces[i - SPM_PIECES].text; *s; s++) {
                if (*s == '_') {
                    memcpy(storage[i] + length, "\xE2\x96\x81", 3);
                    length += 3;
                } else {
                    storage[i][length++] = *s;
                }
            }
            scores[i] = spm_pieces[i - SPM_PIECES].score;
            types[i] = spm_pieces[i - SPM_PIECES].type;
        }
        tokens[i] = (struct nano_string){storage[i], length};
    }
    fixture_add_string(weights, "tokenizer.ggml.model", "llama");
    fixture_add_strings(weights, "tokenizer.ggml.tokens", SPM_PIECES + NUM_PIECES, tokens);
    fixture_add_floats(weights, "tokenizer.ggml.scores", SPM_PIECES + NUM_PIECES, scores);
    fixture_add_ints(weights, "tokenizer.ggml.token_type", SPM_PIECES + NUM_PIECES, types);
}
