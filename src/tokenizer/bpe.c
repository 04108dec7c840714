/* Byte-level BPE. */
#include "tokenizer/bpe.h"

#include <stdio.h>
#include <string.h>

#include "base/byte_char.h"
#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

#define KEY_PRE "tokenizer.ggml.pre"
#define KEY_MERGES "tokenizer.ggml.merges"

enum nano_status nano_bpe_find_pre(const struct nano_pre_row **out,
                                   const struct nano_weights *weights, struct nano_error *err)
{
    struct nano_string name = {"default", 7};
    enum nano_status status = nano_meta_get_string(weights, KEY_PRE, &name, err);
    if (status != NANO_OK)
        return status;
    *out = nano_pre_find(name.bytes, name.num_bytes);
    if (*out)
        return NANO_OK;
    char known[400] = "";
    size_t used = 0;
    for (size_t i = 0; nano_pre_at(i) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, " %s", nano_pre_at(i)->name);
    return nano_error_set(err, NANO_ERR_UNSUPPORTED, "%s: %s: unknown '%.*s', expected one of:%s",
                          nano_weights_label(weights), KEY_PRE,
                          (int)(name.num_bytes < 40 ? name.num_bytes : 40), name.bytes, known);
}

/* "left right": the space that separates them is the first one behind the first byte. A merge of
 * or to something that is not a token can never be used and is left out. */
static enum nano_status add_merge(struct nano_pair_table *pairs, const struct nano_vocab *vocab,
                                  size_t prefix_bytes, const struct nano_string *merge, size_t rank,
                                  char *joined, const char *label, struct nano_error *err)
{
    const char *space =
        merge->num_bytes > 2 ? memchr(merge->bytes + 1, ' ', merge->num_bytes - 2) : NULL;
    if (!space)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: %s[%zu]: '%.*s', expected two tokens with a space between",
                              label, KEY_MERGES, rank,
                              (int)(merge->num_bytes < 60 ? merge->num_bytes : 60), merge->bytes);
    size_t left_bytes = (size_t)(space - merge->bytes);
    size_t right_bytes = merge->num_bytes - left_bytes - 1;
    memcpy(joined, merge->bytes, left_bytes);
    memcpy(joined + left_bytes, space + 1, right_bytes);
    int32_t left = nano_vocab_find(vocab, joined, left_bytes);
    int32_t right = nano_vocab_find(vocab, joined + left_bytes, right_bytes);
    if (right_bytes > prefix_bytes && prefix_bytes > 0) {
        right_bytes -= prefix_bytes;
        memmove(joined + left_bytes, joined + left_bytes + prefix_bytes, right_bytes);
    }
    int32_t merged = nano_vocab_find(vocab, joined, left_bytes + right_bytes);
    if (left < 0 || right < 0 || merged < 0)
        return NANO_OK;
    if (!nano_pair_table_add(pairs, left, right, (uint32_t)rank, merged))
        return nano_error_no_memory(err, "merges", pairs->capacity * sizeof *pairs->slots);
    return NANO_OK;
}

enum nano_status nano_bpe_load_merges(struct nano_pair_table *pairs, const struct nano_vocab *vocab,
                                      size_t prefix_bytes, const struct nano_weights *weights,
                                      struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    char *joined = NULL;
    const char *label = nano_weights_label(weights);
    const struct nano_meta *meta = nano_weights_meta(weights, KEY_MERGES);
    if (!meta)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: there is no %s", label, KEY_MERGES);
    if (meta->type != NANO_META_ARRAY ||
        (meta->element_type != NANO_META_STRING && meta->num_elements > 0))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: expected an array of strings", label,
                              KEY_MERGES);
    if (meta->num_elements >= UINT32_MAX)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: %zu entries are too many", label,
                              KEY_MERGES, meta->num_elements);
    size_t longest = 0;
    for (size_t i = 0; i < meta->num_elements; i++)
        if (meta->strings[i].num_bytes > longest)
            longest = meta->strings[i].num_bytes;
    joined = nano_mem_alloc(longest, 1);
    if (!joined || !nano_pair_table_init(pairs, meta->num_elements)) {
        status = nano_error_no_memory(err, "merges", meta->num_elements * sizeof *pairs->slots);
        goto fail;
    }
    for (size_t i = 0; i < meta->num_elements; i++)
        NANO_TRY(add_merge(pairs, vocab, prefix_bytes, &meta->strings[i], i, joined, label, err));
fail:
    nano_mem_free(joined);
    return status;
}

enum nano_status nano_bpe_init(struct nano_bpe *bpe, const struct nano_vocab *vocab,
                               const struct nano_weights *weights, struct nano_error *err)
{
    enum nano_status status;
    for (int byte = 0; byte < 256; byte++) {
        bpe->byte_ids[byte] = nano_vocab_find_byte(vocab, (unsigned char)byte);
        bpe->bytes_missing = bpe->bytes_missing || bpe->byte_ids[byte] < 0;
    }
    NANO_TRY(nano_bpe_load_merges(&bpe->pairs, vocab, 0, weights, err));
    return NANO_OK;
fail:
    return status;
}

void nano_bpe_deinit(struct nano_bpe *bpe)
{
    nano_pair_table_deinit(&bpe->pairs);
}

/* Appends the word as one token if it is one; *found says so. */
static enum nano_status push_whole(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                                   bool *found, struct nano_error *err)
{
    const struct nano_vocab *vocab = &encoder->tokenizer->vocab;
    *found = false;
    if (num_bytes > vocab->max_piece_bytes)
        return NANO_OK;
    enum nano_status status = nano_encoder_reserve_bytes(encoder, 2 * num_bytes, err);
    if (status != NANO_OK)
        return status;
    size_t encoded = nano_byte_chars_encode(word, num_bytes, encoder->bytes);
    int32_t id = nano_vocab_find_mergeable(vocab, encoder->bytes, encoded);
    *found = id >= 0;
    return *found ? nano_encoder_push(encoder, id, err) : NANO_OK;
}

/* Bytes without a token become unk, or are left out where there is none. */
static size_t replace_missing(int32_t *ids, size_t num_ids, int32_t unk)
{
    size_t kept = 0;
    for (size_t i = 0; i < num_ids; i++)
        if (ids[i] >= 0 || unk >= 0)
            ids[kept++] = ids[i] >= 0 ? ids[i] : unk;
    return kept;
}

static enum nano_status push_merged(struct nano_encoder *encoder, const char *word,
                                    size_t num_bytes, struct nano_error *err)
{
    const struct nano_tokenizer *tokenizer = encoder->tokenizer;
    const struct nano_bpe *bpe = &tokenizer->bpe;
    enum nano_status status = nano_encoder_reserve(encoder, num_bytes, err);
    if (status != NANO_OK)
        return status;
    int32_t *ids = encoder->ids + encoder->num_ids;
    size_t num_ids = num_bytes;
    for (size_t i = 0; i < num_bytes; i++)
        ids[i] = bpe->byte_ids[(unsigned char)word[i]];
    if (!nano_merge(&bpe->pairs, &encoder->scratch, ids, &num_ids))
        return nano_error_no_memory(err, "merging a word", num_bytes);
    if (bpe->bytes_missing)
        num_ids = replace_missing(ids, num_ids, tokenizer->vocab.unk);
    encoder->num_ids += num_ids;
    return NANO_OK;
}

/* Byte characters as their bytes, in place of the word; others are no token of any byte. */
static enum nano_status decode_byte_chars(struct nano_encoder *encoder, const char **word,
                                          size_t *num_bytes, struct nano_error *err)
{
    enum nano_status status = nano_encoder_reserve_bytes(encoder, 3 * *num_bytes, err);
    if (status != NANO_OK)
        return status;
    char *out = encoder->bytes + 2 * *num_bytes; /* the rest is for push_whole */
    *num_bytes = nano_byte_chars_decode(*word, *num_bytes, out);
    *word = out;
    return NANO_OK;
}

static enum nano_status encode_word(struct nano_encoder *encoder, const char *word,
                                    size_t num_bytes, struct nano_error *err)
{
    enum nano_status status;
    bool found = false;
    if (encoder->tokenizer->bpe.from_byte_chars)
        NANO_TRY(decode_byte_chars(encoder, &word, &num_bytes, err));
    if (encoder->tokenizer->bpe.ignore_merges)
        NANO_TRY(push_whole(encoder, word, num_bytes, &found, err));
    if (!found)
        NANO_TRY(push_merged(encoder, word, num_bytes, err));
    return NANO_OK;
fail:
    return status;
}

enum nano_status nano_bpe_encode(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                                 struct nano_error *err)
{
    return nano_encoder_cached(encoder, word, num_bytes, encode_word, err);
}
