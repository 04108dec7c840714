/* Character BPE. */
#include "tokenizer/char_bpe.h"

#include <string.h>

#include "base/utf8.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer_internal.h"

#define MAX_AFFIX_BYTES 64

enum nano_status nano_char_bpe_init(struct nano_char_bpe *bpe, const struct nano_vocab *vocab,
                                    const struct nano_weights *weights, struct nano_error *err)
{
    if (bpe->prefix_bytes > MAX_AFFIX_BYTES || bpe->suffix_bytes > MAX_AFFIX_BYTES)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "tokenizer.json: model: continuing_subword_prefix or "
                              "end_of_word_suffix: more than %d bytes are not supported",
                              MAX_AFFIX_BYTES);
    for (int byte = 0; byte < 256; byte++)
        bpe->byte_ids[byte] =
            bpe->byte_fallback ? nano_vocab_find_hex_byte(vocab, (unsigned char)byte) : -1;
    if (bpe->prefix_bytes == 0 && bpe->suffix_bytes == 0)
        nano_mark_cuts_init(&bpe->cuts, vocab);
    if (bpe->ignore_merges) /* a whole word may be a token */
        bpe->cuts.enabled = false;
    return nano_bpe_load_merges(&bpe->pairs, vocab, bpe->prefix_bytes, weights, err);
}

void nano_char_bpe_deinit(struct nano_char_bpe *bpe)
{
    nano_pair_table_deinit(&bpe->pairs);
}

/* The symbols of one character with its affixes; 0 if it has none but unk. */
static size_t write_character(const struct nano_tokenizer *tokenizer, const char *spelled,
                              size_t num_bytes, int32_t *out)
{
    const struct nano_char_bpe *bpe = &tokenizer->char_bpe;
    out[0] = nano_vocab_find(&tokenizer->vocab, spelled, num_bytes);
    if (out[0] >= 0)
        return 1;
    for (size_t i = 0; i < num_bytes; i++) {
        out[i] = bpe->byte_ids[(unsigned char)spelled[i]];
        if (out[i] < 0)
            return 0;
    }
    return num_bytes;
}

static enum nano_status write_symbols(struct nano_encoder *encoder, const char *word,
                                      size_t num_bytes, struct nano_error *err)
{
    enum nano_status status;
    const struct nano_char_bpe *bpe = &encoder->tokenizer->char_bpe;
    char spelled[2 * MAX_AFFIX_BYTES + 4];
    bool unk_is_last = false;
    for (size_t pos = 0; pos < num_bytes;) {
        uint32_t codepoint;
        size_t length = (size_t)nano_utf8_decode(word + pos, num_bytes - pos, &codepoint);
        length += length == 0;
        size_t spelled_bytes = 0;
        if (pos > 0 && bpe->prefix_bytes > 0) {
            memcpy(spelled, bpe->prefix, bpe->prefix_bytes);
            spelled_bytes = bpe->prefix_bytes;
        }
        memcpy(spelled + spelled_bytes, word + pos, length);
        spelled_bytes += length;
        pos += length;
        if (pos == num_bytes && bpe->suffix_bytes > 0) {
            memcpy(spelled + spelled_bytes, bpe->suffix, bpe->suffix_bytes);
            spelled_bytes += bpe->suffix_bytes;
        }
        NANO_TRY(nano_encoder_reserve(encoder, spelled_bytes, err));
        size_t count = write_character(encoder->tokenizer, spelled, spelled_bytes,
                                       encoder->ids + encoder->num_ids);
        encoder->num_ids += count;
        bool is_unk = count == 0 && bpe->unk >= 0;
        if (is_unk && !(bpe->fuse_unk && unk_is_last))
            NANO_TRY(nano_encoder_push(encoder, bpe->unk, err));
        unk_is_last = is_unk || (count == 0 && unk_is_last);
    }
    return NANO_OK;
fail:
    return status;
}

static enum nano_status encode_piece(struct nano_encoder *encoder, const char *word,
                                     size_t num_bytes, struct nano_error *err)
{
    enum nano_status status;
    const struct nano_char_bpe *bpe = &encoder->tokenizer->char_bpe;
    size_t ids_begin = encoder->num_ids;
    int32_t whole = -1;
    if (bpe->ignore_merges)
        whole = nano_vocab_find_mergeable(&encoder->tokenizer->vocab, word, num_bytes);
    if (whole >= 0) {
        NANO_TRY(nano_encoder_push(encoder, whole, err));
    } else {
        NANO_TRY(write_symbols(encoder, word, num_bytes, err));
        size_t num_ids = encoder->num_ids - ids_begin;
        if (!nano_merge(&bpe->pairs, &encoder->scratch, encoder->ids + ids_begin, &num_ids))
            return nano_error_no_memory(err, "merging a word", num_bytes);
        encoder->num_ids = ids_begin + num_ids;
    }
    return NANO_OK;
fail:
    return status;
}

enum nano_status nano_char_bpe_encode(struct nano_encoder *encoder, const char *word,
                                      size_t num_bytes, struct nano_error *err)
{
    for (size_t pos = 0; pos < num_bytes;) {
        size_t end = nano_mark_cuts_end(&encoder->tokenizer->char_bpe.cuts, word, num_bytes, pos);
        enum nano_status status =
            nano_encoder_cached(encoder, word + pos, end - pos, encode_piece, err);
        if (status != NANO_OK)
            return status;
        pos = end;
    }
    return NANO_OK;
}
