/* Encode: special tokens are cut out of the text, the rest goes to BPE or SPM. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/encoder.h"
#include "tokenizer/tokenizer_internal.h"

/* Positions and links are 32 bits wide. */
#define MAX_TEXT_BYTES (INT32_MAX - 1)

#define MIN_CACHED_TEXT 256 /* bytes; below it nothing repeats often enough */
#define MAX_CACHE_CAPACITY 32768

enum nano_status nano_encoder_reserve(struct nano_encoder *encoder, size_t count,
                                      struct nano_error *err)
{
    if (count <= encoder->ids_capacity - encoder->num_ids ||
        nano_mem_grow((void **)&encoder->ids, &encoder->ids_capacity, encoder->num_ids + count,
                      sizeof *encoder->ids))
        return NANO_OK;
    return nano_error_no_memory(err, "token ids", encoder->num_ids + count);
}

enum nano_status nano_encoder_reserve_bytes(struct nano_encoder *encoder, size_t num_bytes,
                                            struct nano_error *err)
{
    if (nano_mem_grow((void **)&encoder->bytes, &encoder->bytes_capacity, num_bytes, 1))
        return NANO_OK;
    return nano_error_no_memory(err, "a word", num_bytes);
}

enum nano_status nano_encoder_push(struct nano_encoder *encoder, int32_t id, struct nano_error *err)
{
    enum nano_status status = nano_encoder_reserve(encoder, 1, err);
    if (status == NANO_OK)
        encoder->ids[encoder->num_ids++] = id;
    return status;
}

/* Two numbers that tell words of the same length apart, on machines of either byte order. */
static void word_key(const char *word, size_t num_bytes, uint64_t *low, uint64_t *high)
{
    uint32_t first, last;
    *high = 0;
    if (num_bytes >= 8) {
        memcpy(low, word, 8);
        memcpy(high, word + num_bytes - 8, 8);
    } else if (num_bytes >= 4) {
        memcpy(&first, word, 4);
        memcpy(&last, word + num_bytes - 4, 4);
        *low = (uint64_t)last << 32 | first;
    } else {
        *low = (uint64_t)(unsigned char)word[0] |
               (uint64_t)(unsigned char)word[num_bytes / 2] << 8 |
               (uint64_t)(unsigned char)word[num_bytes - 1] << 16;
    }
}

static size_t word_hash(uint64_t low, uint64_t high)
{
    uint64_t mixed = low * UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ mixed >> 32 ^ high) * UINT64_C(0xD6E8FEB86659FD93);
    return (size_t)(mixed ^ mixed >> 32);
}

bool nano_encoder_recall(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                         struct nano_cached_word **slot, enum nano_status *status,
                         struct nano_error *err)
{
    *slot = NULL;
    if (encoder->cache_capacity == 0 || num_bytes > NANO_MAX_CACHED_BYTES)
        return false;
    uint64_t low, high;
    word_key(word, num_bytes, &low, &high);
    struct nano_cached_word *cached =
        &encoder->cache[word_hash(low, high) & (encoder->cache_capacity - 1)];
    if (cached->low != low || cached->high != high || cached->num_bytes != num_bytes) {
        *cached = (struct nano_cached_word){low, high, {0}, 0, (uint8_t)num_bytes, 0};
        *slot = cached;
        return false;
    }
    *status = nano_encoder_reserve(encoder, NANO_MAX_CACHED_IDS, err);
    if (*status == NANO_OK) {
        memcpy(encoder->ids + encoder->num_ids, cached->ids, sizeof cached->ids);
        encoder->num_ids += cached->num_ids;
    }
    return true;
}

void nano_encoder_remember(struct nano_encoder *encoder, size_t ids_begin,
                           struct nano_cached_word *slot)
{
    size_t num_ids = encoder->num_ids - ids_begin;
    if (!slot || num_ids > NANO_MAX_CACHED_IDS)
        return;
    memcpy(slot->ids, encoder->ids + ids_begin, num_ids * sizeof *slot->ids);
    slot->num_ids = (uint8_t)num_ids;
    slot->num_bytes = slot->word_bytes;
}

static enum nano_status init_encoder(struct nano_encoder *encoder, const nano_tokenizer *tokenizer,
                                     size_t num_bytes, struct nano_error *err)
{
    memset(encoder, 0, sizeof *encoder);
    encoder->tokenizer = tokenizer;
    if (num_bytes >= MIN_CACHED_TEXT) {
        size_t capacity = MIN_CACHED_TEXT / 4;
        while (capacity < num_bytes / 8 && capacity < MAX_CACHE_CAPACITY)
            capacity *= 2;
        encoder->cache = nano_mem_calloc(capacity, sizeof *encoder->cache);
        if (!encoder->cache)
            return nano_error_no_memory(err, "word cache", capacity * sizeof *encoder->cache);
        encoder->cache_capacity = capacity;
    }
    return nano_encoder_reserve(encoder, num_bytes / 3 + 8, err);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum nano_status encode_text(struct nano_encoder *encoder, const char *text,
                                    size_t num_bytes, bool parse_special, struct nano_error *err)
{
    enum nano_status status;
    const nano_tokenizer *tokenizer = encoder->tokenizer;
    const struct nano_vocab *vocab = &tokenizer->vocab;
    bool after_special = true; /* the beginning counts as such */
    for (size_t pos = 0; pos < num_bytes;) {
        size_t begin = num_bytes, end = num_bytes;
        int32_t special = nano_special_finder_next(&tokenizer->special, text, num_bytes, pos,
                                                   parse_special, &begin, &end);
        if (begin > pos && vocab->kind == NANO_TOKENIZER_BPE)
            NANO_TRY(nano_bpe_encode(encoder, text + pos, begin - pos, err));
        if (begin > pos && vocab->kind == NANO_TOKENIZER_SPM)
            NANO_TRY(nano_spm_encode(encoder, text + pos, begin - pos,
                                     vocab->add_space_prefix && after_special, err));
        after_special = special >= 0;
        pos = end;
        if (special < 0)
            break;
        NANO_TRY(nano_encoder_push(encoder, special, err));
        if (nano_special_strips_after(vocab, special))
            while (pos < num_bytes && is_space(text[pos]))
                pos++;
    }
    return NANO_OK;
fail:
    return status;
}

enum nano_status nano_tokenizer_encode(const nano_tokenizer *tokenizer, const char *text,
                                       size_t num_bytes, unsigned flags, int32_t **token_ids,
                                       size_t *num_tokens, struct nano_error *err)
{
    enum nano_status status;
    const struct nano_vocab *vocab = &tokenizer->vocab;
    struct nano_encoder encoder;
    if (num_bytes > MAX_TEXT_BYTES)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "text of %zu bytes, expected at most %" PRId32, num_bytes,
                              (int32_t)MAX_TEXT_BYTES);
    NANO_TRY(init_encoder(&encoder, tokenizer, num_bytes, err));
    if ((flags & NANO_ENCODE_ADD_SPECIAL) && vocab->add_bos)
        NANO_TRY(nano_encoder_push(&encoder, vocab->bos, err));
    NANO_TRY(encode_text(&encoder, text, num_bytes, (flags & NANO_ENCODE_PARSE_SPECIAL) != 0, err));
    if ((flags & NANO_ENCODE_ADD_SPECIAL) && vocab->add_eos)
        NANO_TRY(nano_encoder_push(&encoder, vocab->eos, err));
    *token_ids = encoder.ids;
    *num_tokens = encoder.num_ids;
    encoder.ids = NULL;
fail:
    nano_mem_free(encoder.ids);
    nano_mem_free(encoder.bytes);
    nano_mem_free(encoder.cache);
    nano_merge_scratch_deinit(&encoder.scratch);
    return status;
}
