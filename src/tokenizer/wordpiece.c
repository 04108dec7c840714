/* WordPiece. */
#include "tokenizer/wordpiece.h"

#include <string.h>

#include "base/utf8.h"
#include "tokenizer/tokenizer_internal.h"

#define MAX_TOKEN_BYTES 512 /* longer tokens are not found; bounds the time for a long word */

void nano_wordpiece_init(struct nano_wordpiece *wordpiece, const struct nano_vocab *vocab)
{
    wordpiece->max_token_bytes = 1;
    for (int32_t id = 0; id < vocab->num_tokens; id++) {
        size_t num_bytes = vocab->texts[id].num_bytes;
        if (num_bytes > wordpiece->max_token_bytes && num_bytes <= MAX_TOKEN_BYTES)
            wordpiece->max_token_bytes = num_bytes;
    }
}

static size_t count_chars(const char *word, size_t num_bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < num_bytes; i++)
        count += ((unsigned char)word[i] & 0xC0) != 0x80;
    return count;
}

/* The longest token that begins at `begin`, and its end. */
static int32_t longest_token(const struct nano_tokenizer *tokenizer, const char *word,
                             size_t num_bytes, size_t begin, size_t *end)
{
    const struct nano_wordpiece *wordpiece = &tokenizer->wordpiece;
    size_t prefix_bytes = begin > 0 ? wordpiece->part_prefix_bytes : 0;
    char spelled[MAX_TOKEN_BYTES];
    if (prefix_bytes >= wordpiece->max_token_bytes)
        return -1;
    size_t length = wordpiece->max_token_bytes - prefix_bytes;
    if (length > num_bytes - begin)
        length = num_bytes - begin;
    if (prefix_bytes > 0)
        memcpy(spelled, wordpiece->part_prefix, prefix_bytes);
    memcpy(spelled + prefix_bytes, word + begin, length);
    for (; length > 0; length--) {
        if (begin + length < num_bytes && ((unsigned char)word[begin + length] & 0xC0) == 0x80)
            continue;
        int32_t id = nano_vocab_find_mergeable(&tokenizer->vocab, spelled, prefix_bytes + length);
        if (id >= 0) {
            *end = begin + length;
            return id;
        }
    }
    return -1;
}

static enum nano_status push_parts(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                                   bool *found, struct nano_error *err)
{
    size_t ids_begin = encoder->num_ids;
    for (size_t pos = 0; pos < num_bytes;) {
        int32_t id = longest_token(encoder->tokenizer, word, num_bytes, pos, &pos);
        if (id < 0) {
            encoder->num_ids = ids_begin;
            return NANO_OK;
        }
        enum nano_status status = nano_encoder_push(encoder, id, err);
        if (status != NANO_OK)
            return status;
    }
    *found = true;
    return NANO_OK;
}

static enum nano_status encode_uncached(struct nano_encoder *encoder, const char *word,
                                        size_t num_bytes, struct nano_error *err)
{
    enum nano_status status;
    const struct nano_wordpiece *wordpiece = &encoder->tokenizer->wordpiece;
    bool found = false;
    if (wordpiece->whole_words) {
        int32_t id = nano_vocab_find_mergeable(&encoder->tokenizer->vocab, word, num_bytes);
        if (id >= 0)
            return nano_encoder_push(encoder, id, err);
    } else if (count_chars(word, num_bytes) <= wordpiece->max_chars) {
        size_t prefix_bytes = wordpiece->word_prefix_bytes;
        if (prefix_bytes > 0) {
            NANO_TRY(nano_encoder_reserve_bytes(encoder, prefix_bytes + num_bytes, err));
            memcpy(encoder->bytes, wordpiece->word_prefix, prefix_bytes);
            memcpy(encoder->bytes + prefix_bytes, word, num_bytes);
            word = encoder->bytes;
        }
        NANO_TRY(push_parts(encoder, word, prefix_bytes + num_bytes, &found, err));
    }
    if (!found && wordpiece->unk >= 0)
        return nano_encoder_push(encoder, wordpiece->unk, err);
    return NANO_OK;
fail:
    return status;
}

enum nano_status nano_wordpiece_encode(struct nano_encoder *encoder, const char *word,
                                       size_t num_bytes, struct nano_error *err)
{
    return nano_encoder_cached(encoder, word, num_bytes, encode_uncached, err);
}
