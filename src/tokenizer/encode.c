/* Encode: added tokens are cut out of the text, the rest goes through the parts to the model. */
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

/* Looks the word up in the cache; when it is there, appends its ids and returns true with *status
 * set. Otherwise *slot is where it belongs, with the word but not its ids (NULL: not cacheable). */
static bool recall(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                   struct nano_cached_word **slot, enum nano_status *status, struct nano_error *err)
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

/* encoder->ids[ids_begin …) are the ids of the word that recall did not find. */
static void remember(const struct nano_encoder *encoder, size_t ids_begin,
                     struct nano_cached_word *slot)
{
    size_t num_ids = encoder->num_ids - ids_begin;
    if (!slot || num_ids > NANO_MAX_CACHED_IDS)
        return;
    memcpy(slot->ids, encoder->ids + ids_begin, num_ids * sizeof *slot->ids);
    slot->num_ids = (uint8_t)num_ids;
    slot->num_bytes = slot->word_bytes;
}

enum nano_status nano_encoder_cached(struct nano_encoder *encoder, const char *word,
                                     size_t num_bytes, nano_encode_word_fn encode,
                                     struct nano_error *err)
{
    enum nano_status status;
    struct nano_cached_word *slot;
    if (recall(encoder, word, num_bytes, &slot, &status, err))
        return status;
    size_t ids_begin = encoder->num_ids;
    status = encode(encoder, word, num_bytes, err);
    if (status == NANO_OK)
        remember(encoder, ids_begin, slot);
    return status;
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

static enum nano_status encode_word(void *user_data, const char *word, size_t num_bytes,
                                    struct nano_error *err)
{
    struct nano_encoder *encoder = user_data;
    switch (encoder->tokenizer->vocab.kind) {
    case NANO_TOKENIZER_BPE:
        return nano_bpe_encode(encoder, word, num_bytes, err);
    case NANO_TOKENIZER_SPM:
        return nano_spm_encode(encoder, word, num_bytes, encoder->prefix_space, err);
    case NANO_TOKENIZER_CHAR_BPE:
        return nano_char_bpe_encode(encoder, word, num_bytes, err);
    case NANO_TOKENIZER_WORDPIECE:
        return nano_wordpiece_encode(encoder, word, num_bytes, err);
    default:
        return nano_unigram_encode(encoder, word, num_bytes, err);
    }
}

static enum nano_status encode_words(struct nano_encoder *encoder, const char *text,
                                     size_t num_bytes, bool is_first, bool parse_special,
                                     struct nano_error *err)
{
    (void)parse_special;
    return nano_pretokenizer_split_part(&encoder->tokenizer->pre, text, num_bytes, is_first,
                                        encode_word, encoder, err);
}

typedef enum nano_status (*part_fn)(struct nano_encoder *encoder, const char *text,
                                    size_t num_bytes, bool is_first, bool parse_special,
                                    struct nano_error *err);

/* Cuts out the finder's tokens; what lies between them goes to `encode_part`. */
static enum nano_status encode_between(struct nano_encoder *encoder,
                                       const struct nano_special_finder *finder, const char *text,
                                       size_t num_bytes, bool is_first, bool parse_special,
                                       part_fn encode_part, struct nano_error *err)
{
    enum nano_status status;
    bool after_special = true; /* the beginning counts as such */
    for (size_t pos = 0; pos < num_bytes;) {
        size_t begin = num_bytes, end = num_bytes;
        int32_t special =
            nano_special_finder_next(finder, text, num_bytes, pos, parse_special, &begin, &end);
        encoder->prefix_space = encoder->tokenizer->vocab.add_space_prefix && after_special;
        if (begin > pos)
            NANO_TRY(encode_part(encoder, text + pos, begin - pos, is_first && pos == 0,
                                 parse_special, err));
        after_special = special >= 0;
        pos = end;
        if (special >= 0)
            NANO_TRY(nano_encoder_push(encoder, special, err));
    }
    return NANO_OK;
fail:
    return status;
}

/* What lies between tokens of the text as it stands. */
static enum nano_status encode_part(struct nano_encoder *encoder, const char *text,
                                    size_t num_bytes, bool is_first, bool parse_special,
                                    struct nano_error *err)
{
    enum nano_status status;
    const nano_tokenizer *tokenizer = encoder->tokenizer;
    NANO_TRY(nano_normalizer_run(&tokenizer->normalizer, &encoder->normalizer, text, num_bytes,
                                 &text, &num_bytes, err));
    if (tokenizer->added_normalized.num_tokens == 0)
        return encode_words(encoder, text, num_bytes, is_first, parse_special, err);
    return encode_between(encoder, &tokenizer->added_normalized, text, num_bytes, is_first,
                          parse_special, encode_words, err);
fail:
    return status;
}

enum nano_status nano_tokenizer_encode(const nano_tokenizer *tokenizer, const char *text,
                                       size_t num_bytes, unsigned flags, int32_t **token_ids,
                                       size_t *num_tokens, struct nano_error *err)
{
    enum nano_status status;
    const struct nano_template *around = &tokenizer->around;
    const bool add_special = (flags & NANO_ENCODE_ADD_SPECIAL) != 0;
    struct nano_encoder encoder;
    if (num_bytes > MAX_TEXT_BYTES)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "text of %zu bytes, expected at most %" PRId32, num_bytes,
                              (int32_t)MAX_TEXT_BYTES);
    NANO_TRY(init_encoder(&encoder, tokenizer, num_bytes, err));
    for (int i = 0; i < around->num_prefix && add_special; i++)
        NANO_TRY(nano_encoder_push(&encoder, around->prefix[i], err));
    NANO_TRY(encode_between(&encoder, &tokenizer->added, text, num_bytes, true,
                            (flags & NANO_ENCODE_PARSE_SPECIAL) != 0, encode_part, err));
    for (int i = 0; i < around->num_suffix && add_special; i++)
        NANO_TRY(nano_encoder_push(&encoder, around->suffix[i], err));
    *token_ids = encoder.ids;
    *num_tokens = encoder.num_ids;
    encoder.ids = NULL;
fail:
    nano_mem_free(encoder.ids);
    nano_mem_free(encoder.bytes);
    nano_mem_free(encoder.cache);
    nano_mem_free(encoder.nodes);
    nano_normalizer_scratch_deinit(&encoder.normalizer);
    nano_merge_scratch_deinit(&encoder.scratch);
    return status;
}
