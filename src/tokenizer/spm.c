/* SentencePiece-style BPE. */
#include "tokenizer/spm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer_internal.h"

#define KEY_SCORES "tokenizer.ggml.scores"

#define SPACE_MARK 0x2581u
#define SPACE_MARK_BYTES "\xE2\x96\x81"

/* Longer tokens are not merged to: the time to find their splits grows with the square. */
#define MAX_MERGED_BYTES 2048

static struct nano_spm_char *find_char(const struct nano_spm *spm, uint32_t codepoint)
{
    size_t i = (codepoint * 0x9E3779B1u >> 8) & (spm->num_char_slots - 1);
    while (spm->chars[i].codepoint != codepoint && spm->chars[i].codepoint != UINT32_MAX)
        i = (i + 1) & (spm->num_char_slots - 1);
    return &spm->chars[i];
}

static bool allocate_chars(struct nano_spm *spm, size_t num_slots)
{
    struct nano_spm_char *chars = nano_mem_alloc(num_slots, sizeof *chars);
    if (!chars)
        return false;
    for (size_t i = 0; i < num_slots; i++)
        chars[i] = (struct nano_spm_char){UINT32_MAX, -1};
    spm->chars = chars;
    spm->num_char_slots = num_slots;
    return true;
}

static bool grow_chars(struct nano_spm *spm)
{
    struct nano_spm_char *old = spm->chars;
    size_t num_slots = spm->num_char_slots;
    if (!allocate_chars(spm, num_slots * 2))
        return false;
    for (size_t i = 0; i < num_slots; i++)
        if (old[i].codepoint != UINT32_MAX)
            *find_char(spm, old[i].codepoint) = old[i];
    nano_mem_free(old);
    return true;
}

/* The id of a character of some token, made up if it is no token itself; -1 without memory. */
static int32_t intern_char(struct nano_spm *spm, const struct nano_vocab *vocab, const char *text,
                           int length, uint32_t codepoint)
{
    struct nano_spm_char *slot = find_char(spm, codepoint);
    if (slot->codepoint == codepoint)
        return slot->id;
    int32_t id = nano_vocab_find_mergeable(vocab, text, (size_t)length);
    if (id < 0) {
        if (!nano_mem_grow((void **)&spm->tokenless, &spm->tokenless_capacity,
                           spm->num_tokenless + 1, sizeof *spm->tokenless))
            return -1;
        id = vocab->num_tokens + (int32_t)spm->num_tokenless;
        spm->tokenless[spm->num_tokenless++] = codepoint;
    }
    *slot = (struct nano_spm_char){codepoint, id};
    spm->num_chars++;
    if (spm->num_chars > spm->num_char_slots / 2 && !grow_chars(spm))
        return -1;
    return id;
}

/* Half of a token as a symbol that merging can come to: a token or a single character. *id is -1
 * if it is neither. */
static bool find_half(struct nano_spm *spm, const struct nano_vocab *vocab, const char *text,
                      size_t num_bytes, int32_t *id)
{
    uint32_t codepoint;
    int length = nano_utf8_decode(text, num_bytes, &codepoint);
    if ((size_t)length == num_bytes) {
        *id = intern_char(spm, vocab, text, length, codepoint);
        return *id >= 0;
    }
    *id = nano_vocab_find_mergeable(vocab, text, num_bytes);
    return true;
}

/* Adds every way to put the token together from two halves. False without memory. */
static bool add_splits(struct nano_spm *spm, const struct nano_vocab *vocab, int32_t token,
                       uint32_t rank)
{
    const struct nano_string *text = &vocab->texts[token];
    for (size_t cut = 0; cut < text->num_bytes;) {
        uint32_t codepoint;
        int length = nano_utf8_decode(text->bytes + cut, text->num_bytes - cut, &codepoint);
        if (codepoint == SPACE_MARK && cut > 0)
            spm->keeps_space[(unsigned char)text->bytes[cut - 1]] = 1;
        cut += (size_t)length;
        int32_t left, right = -1;
        if (!find_half(spm, vocab, text->bytes, cut, &left))
            return false;
        if (cut == text->num_bytes || left < 0)
            continue;
        if (!find_half(spm, vocab, text->bytes + cut, text->num_bytes - cut, &right))
            return false;
        if (right >= 0 && !nano_pair_table_add(&spm->pairs, left, right, rank, token))
            return false;
    }
    return true;
}

struct scored_token {
    double score;
    int32_t id;
};

static int compare_scores(const void *a, const void *b)
{
    const struct scored_token *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static enum nano_status load_scores(struct scored_token *tokens, const struct nano_vocab *vocab,
                                    const struct nano_weights *weights, struct nano_error *err)
{
    size_t n = (size_t)vocab->num_tokens;
    const char *label = nano_weights_label(weights);
    const struct nano_meta *meta = nano_weights_meta(weights, KEY_SCORES);
    if (!meta)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: there is no %s", label, KEY_SCORES);
    if (meta->type != NANO_META_ARRAY || meta->element_type == NANO_META_STRING ||
        meta->element_type == NANO_META_BOOL)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: expected an array of numbers", label,
                              KEY_SCORES);
    if (meta->num_elements != n)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: %s: %zu entries, expected %zu, one per token", label, KEY_SCORES,
                              meta->num_elements, n);
    for (size_t i = 0; i < n; i++) {
        tokens[i] = (struct scored_token){nano_meta_array_float(meta, i), (int32_t)i};
        if (isnan(tokens[i].score))
            return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s[%zu]: not a number", label,
                                  KEY_SCORES, i);
    }
    return NANO_OK;
}

static enum nano_status load_pairs(struct nano_spm *spm, const struct nano_vocab *vocab,
                                   const struct nano_weights *weights, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    size_t n = (size_t)vocab->num_tokens;
    struct scored_token *tokens = nano_mem_alloc(n, sizeof *tokens);
    if (!tokens || !allocate_chars(spm, 1024) || !nano_pair_table_init(&spm->pairs, 2 * n))
        goto no_memory;
    NANO_TRY(load_scores(tokens, vocab, weights, err));
    qsort(tokens, n, sizeof *tokens, compare_scores);
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        const struct nano_string *text = &vocab->texts[tokens[i].id];
        if (i > 0 && tokens[i].score != tokens[i - 1].score)
            rank = (uint32_t)i;
        if (text->num_bytes > MAX_MERGED_BYTES ||
            nano_utf8_valid_prefix(text->bytes, text->num_bytes) != text->num_bytes ||
            nano_vocab_find_mergeable(vocab, text->bytes, text->num_bytes) != tokens[i].id)
            continue;
        if (!add_splits(spm, vocab, tokens[i].id, rank))
            goto no_memory;
    }
fail:
    nano_mem_free(tokens);
    return status;
no_memory:
    status = nano_error_no_memory(err, "vocabulary", n * sizeof *tokens);
    goto fail;
}

enum nano_status nano_spm_init(struct nano_spm *spm, const struct nano_vocab *vocab,
                               const struct nano_weights *weights, struct nano_error *err)
{
    for (int byte = 0; byte < 256; byte++) {
        spm->byte_ids[byte] = nano_vocab_find_byte(vocab, (unsigned char)byte);
        if (spm->byte_ids[byte] < 0 && vocab->unk < 0)
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: tokenizer.ggml.tokens: there is neither '<0x%02X>' nor an "
                                  "unknown token",
                                  nano_weights_label(weights), (unsigned)byte);
    }
    /* A run of spaces is cut nowhere, whether written as spaces or as U+2581. */
    spm->keeps_space[' '] = spm->keeps_space[(unsigned char)SPACE_MARK_BYTES[2]] = 1;
    return load_pairs(spm, vocab, weights, err);
}

void nano_spm_deinit(struct nano_spm *spm)
{
    nano_pair_table_deinit(&spm->pairs);
    nano_mem_free(spm->chars);
    nano_mem_free(spm->tokenless);
    memset(spm, 0, sizeof *spm);
}

/* A character as its bytes' tokens, or as one unknown token if a byte has none. */
static size_t write_bytes(const struct nano_tokenizer *tokenizer, const char *bytes,
                          size_t num_bytes, int32_t *out)
{
    for (size_t i = 0; i < num_bytes; i++) {
        out[i] = tokenizer->spm.byte_ids[(unsigned char)bytes[i]];
        if (out[i] < 0) {
            out[0] = tokenizer->vocab.unk;
            return 1;
        }
    }
    return num_bytes;
}

static size_t write_tokenless(const struct nano_tokenizer *tokenizer, int32_t symbol, int32_t *out)
{
    char character[4];
    uint32_t codepoint = tokenizer->spm.tokenless[symbol - tokenizer->vocab.num_tokens];
    return write_bytes(tokenizer, character, (size_t)nano_utf8_encode(codepoint, character), out);
}

/* Writes at most num_bytes symbols. Byte tokens are written as complements, which merge with
 * nothing. */
static size_t write_symbols(const struct nano_tokenizer *tokenizer, const char *word,
                            size_t num_bytes, int32_t *out)
{
    size_t num_symbols = 0;
    for (size_t i = 0; i < num_bytes;) {
        uint32_t codepoint = UINT32_MAX;
        int length = nano_utf8_decode(word + i, num_bytes - i, &codepoint);
        int32_t id = -1;
        if (length)
            id = find_char(&tokenizer->spm, codepoint == ' ' ? SPACE_MARK : codepoint)->id;
        else
            length = 1;
        if (id >= 0) {
            out[num_symbols++] = id;
        } else {
            size_t end =
                num_symbols + write_bytes(tokenizer, word + i, (size_t)length, out + num_symbols);
            for (; num_symbols < end; num_symbols++)
                out[num_symbols] = ~out[num_symbols];
        }
        i += (size_t)length;
    }
    return num_symbols;
}

/* Turns what merging left into tokens, in place and from the end, since one symbol may become up
 * to four byte tokens. */
static enum nano_status finish_symbols(struct nano_encoder *encoder, size_t ids_begin,
                                       struct nano_error *err)
{
    const struct nano_tokenizer *tokenizer = encoder->tokenizer;
    const int32_t num_tokens = tokenizer->vocab.num_tokens;
    size_t num_symbols = encoder->num_ids - ids_begin, extra = 0;
    int32_t bytes[4];
    for (size_t i = ids_begin; i < encoder->num_ids; i++) {
        if (encoder->ids[i] < 0)
            encoder->ids[i] = ~encoder->ids[i];
        else if (encoder->ids[i] >= num_tokens)
            extra += write_tokenless(tokenizer, encoder->ids[i], bytes) - 1;
    }
    if (tokenizer->spm.num_tokenless == 0)
        return NANO_OK;
    enum nano_status status = nano_encoder_reserve(encoder, extra, err);
    if (status != NANO_OK)
        return status;
    int32_t *ids = encoder->ids + ids_begin;
    size_t end = num_symbols + extra;
    encoder->num_ids += extra;
    for (size_t i = num_symbols; i-- > 0;) {
        if (ids[i] < num_tokens) {
            ids[--end] = ids[i];
            continue;
        }
        size_t count = write_tokenless(tokenizer, ids[i], bytes);
        end -= count;
        memcpy(ids + end, bytes, count * sizeof *ids);
    }
    return NANO_OK;
}

static enum nano_status encode_word(struct nano_encoder *encoder, const char *word,
                                    size_t num_bytes, struct nano_error *err)
{
    const struct nano_spm *spm = &encoder->tokenizer->spm;
    enum nano_status status = nano_encoder_reserve(encoder, num_bytes, err);
    if (status != NANO_OK)
        return status;
    size_t ids_begin = encoder->num_ids;
    int32_t *ids = encoder->ids + ids_begin;
    size_t num_ids = write_symbols(encoder->tokenizer, word, num_bytes, ids);
    if (!nano_merge(&spm->pairs, &encoder->scratch, ids, &num_ids))
        return nano_error_no_memory(err, "merging a word", num_bytes);
    encoder->num_ids += num_ids;
    return finish_symbols(encoder, ids_begin, err);
}

/* The end of the piece that begins at `begin`. */
static size_t piece_end(const struct nano_spm *spm, const char *text, size_t num_bytes,
                        size_t begin)
{
    size_t end = begin + 1;
    while (end < num_bytes && (text[end] != ' ' || spm->keeps_space[(unsigned char)text[end - 1]]))
        end++;
    return end;
}

enum nano_status nano_spm_encode(struct nano_encoder *encoder, const char *text, size_t num_bytes,
                                 bool prefix_space, struct nano_error *err)
{
    enum nano_status status;
    const struct nano_spm *spm = &encoder->tokenizer->spm;
    size_t pos = 0;
    if (prefix_space) { /* the space merges with the first piece */
        pos = piece_end(spm, text, num_bytes, 0);
        NANO_TRY(nano_encoder_reserve_bytes(encoder, pos + 1, err));
        encoder->bytes[0] = ' ';
        memcpy(encoder->bytes + 1, text, pos);
        NANO_TRY(nano_encoder_cached(encoder, encoder->bytes, pos + 1, encode_word, err));
    }
    while (pos < num_bytes) {
        size_t end = piece_end(spm, text, num_bytes, pos);
        NANO_TRY(nano_encoder_cached(encoder, text + pos, end - pos, encode_word, err));
        pos = end;
    }
    return NANO_OK;
fail:
    return status;
}
