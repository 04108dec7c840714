/* Fuzz target: byte 0 picks a toy vocabulary, byte 1 the flags, byte 2 says how many of the
 * following 4-byte groups damage the vocabulary; the rest is the text.
 *
 * Whatever a damaged vocabulary becomes, it is refused or encodes every text to ids that are
 * tokens. An intact one must give the text back. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../tokenizer_fixture.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_DAMAGES 8

static const char *const pres[] = {"gpt-2",        "llama-bpe",   "qwen2",  "falcon", "default",
                                   "deepseek-llm", "deepseek-v3", "gpt-4o", "tekken", "starcoder"};
enum { NUM_PRES = sizeof pres / sizeof *pres, SPM = NUM_PRES, NUM_KINDS };

/* Intact tokenizers are made once. */
static struct nano_weights intact_weights[NUM_KINDS];
static nano_tokenizer *intact[NUM_KINDS];

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void make_weights(struct nano_weights *weights, int kind)
{
    memset(weights, 0, sizeof *weights);
    if (kind == SPM)
        fixture_toy_spm(weights);
    else
        fixture_toy_bpe(weights, pres[kind]);
}

static struct nano_string *pick_string(struct nano_weights *weights, const char *key, uint8_t index)
{
    struct nano_meta *meta = fixture_find(weights, key);
    if (!meta || meta->num_elements == 0)
        return NULL;
    size_t i = (meta->num_elements - 1) * index / 255; /* the last ones are reached too */
    return (struct nano_string *)(uintptr_t)&meta->strings[i];
}

static void set_byte(struct nano_weights *weights, const char *key, uint8_t index, uint8_t where,
                     uint8_t value)
{
    struct nano_meta *meta = fixture_find(weights, key);
    if (meta && meta->num_elements > 0)
        ((unsigned char *)(uintptr_t)
             meta->elements)[(meta->num_elements - 1) * index / 255 * 4 + where % 4] = value;
}

/* Lengths only shrink, so that all strings stay inside their memory. */
static void damage(struct nano_weights *weights, const uint8_t *group)
{
    static const char *const keys[] = {"tokenizer.ggml.tokens",       "tokenizer.ggml.merges",
                                       "tokenizer.ggml.token_type",   "tokenizer.ggml.scores",
                                       "tokenizer.ggml.eos_token_id", "tokenizer.ggml.model"};
    struct nano_string *string = pick_string(weights, keys[group[0] >> 3 & 1], group[1]);
    struct nano_meta *meta = fixture_find(weights, keys[group[1] % 6]);
    switch (group[0] % 8) {
    case 0:
    case 1:
        if (string && string->num_bytes > 0)
            ((char *)(uintptr_t)string->bytes)[group[2] % string->num_bytes] = (char)group[3];
        break;
    case 2:
        if (string && string->num_bytes > 0)
            string->num_bytes = group[2] % (string->num_bytes + 1);
        break;
    case 3:
        set_byte(weights, keys[2], group[1], 0, group[2] % 8);
        break;
    case 4:
        set_byte(weights, keys[3], group[1], group[2], group[3]);
        break;
    case 5:
        if (meta && meta->type == NANO_META_ARRAY && meta->num_elements > 0)
            meta->num_elements -= group[2] % 2 ? 1 : meta->num_elements * group[3] / 255;
        break;
    case 6:
        if (meta && meta->type == NANO_META_I64)
            meta->value.i = (int64_t)group[2] - 2 + group[3];
        break;
    default:
        fixture_add_int(weights,
                        group[2] & 1 ? "tokenizer.ggml.unknown_token_id"
                                     : "tokenizer.ggml.bos_token_id",
                        group[3]);
    }
}

static bool contains(const char *text, size_t num_bytes, const char *part)
{
    size_t part_bytes = strlen(part);
    for (size_t i = 0; i + part_bytes <= num_bytes; i++)
        if (memcmp(text + i, part, part_bytes) == 0)
            return true;
    return false;
}

static void check_stream(const nano_tokenizer *tokenizer, const int32_t *ids, size_t num_ids)
{
    struct nano_token_stream stream;
    size_t max_bytes = nano_token_stream_max_bytes(tokenizer);
    char *out = malloc(max_bytes);
    require(out);
    nano_token_stream_init(&stream, tokenizer, false);
    for (size_t i = 0; i <= num_ids; i++) {
        size_t n = i < num_ids ? nano_token_stream_push(&stream, ids[i], out)
                               : nano_token_stream_flush(&stream, out);
        require(n <= max_bytes && nano_utf8_valid_prefix(out, n) == n);
    }
    free(out);
}

static void check_text(const nano_tokenizer *tokenizer, const char *text, size_t num_bytes,
                       unsigned flags, bool must_round_trip)
{
    struct nano_tokenizer_info info;
    int32_t *ids;
    size_t num_ids, back_bytes;
    char *back;
    struct nano_error err;
    nano_tokenizer_get_info(tokenizer, &info);
    require(nano_tokenizer_encode(tokenizer, text, num_bytes, flags, &ids, &num_ids, &err) ==
            NANO_OK);
    for (size_t i = 0; i < num_ids; i++)
        require(ids[i] >= 0 && ids[i] < info.vocab_size);
    require(nano_tokenizer_decode(tokenizer, ids, num_ids, false, &back, &back_bytes, &err) ==
            NANO_OK);
    if (must_round_trip)
        require(back_bytes == num_bytes && memcmp(back, text, num_bytes) == 0);
    check_stream(tokenizer, ids, num_ids);
    nano_free(ids);
    nano_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    int kind = data[0] % NUM_KINDS;
    unsigned flags = data[1] & (NANO_ENCODE_ADD_SPECIAL | NANO_ENCODE_PARSE_SPECIAL);
    size_t num_damages = data[2] % (MAX_DAMAGES + 1), pos = 3;
    struct nano_error err;
    if (num_damages == 0) {
        if (!intact[kind]) {
            make_weights(&intact_weights[kind], kind);
            require(nano_tokenizer_create(&intact[kind], &intact_weights[kind], &err) == NANO_OK);
        }
        const char *text = (const char *)data + pos;
        size_t num_bytes = size - pos;
        bool round_trips = kind != SPM || (flags == 0 && !contains(text, num_bytes, "<tag>") &&
                                           !contains(text, num_bytes, "\xE2\x96\x81"));
        check_text(intact[kind], text, num_bytes, flags, round_trips);
        return 0;
    }
    struct nano_weights weights;
    nano_tokenizer *tokenizer;
    make_weights(&weights, kind);
    for (; num_damages > 0 && size - pos >= 4; num_damages--, pos += 4)
        damage(&weights, data + pos);
    enum nano_status status = nano_tokenizer_create(&tokenizer, &weights, &err);
    require((status == NANO_OK) == (tokenizer != NULL));
    if (status == NANO_OK)
        check_text(tokenizer, (const char *)data + pos, size - pos, flags, false);
    nano_tokenizer_destroy(tokenizer);
    nano_weights_close(&weights);
    return 0;
}
