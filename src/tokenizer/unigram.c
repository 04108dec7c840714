/* Unigram. */
#include "tokenizer/unigram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer_internal.h"

#define KEY_SCORES "tokenizer.ggml.scores"
#define UNK_PENALTY 10.0
#define MAX_TOKEN_BYTES 512 /* longer tokens are not found; bounds the time per character */

struct sorted_token {
    const struct nano_string *text;
    int32_t id;
};

static int compare_texts(const void *a, const void *b)
{
    const struct sorted_token *x = a, *y = b;
    size_t shorter =
        x->text->num_bytes < y->text->num_bytes ? x->text->num_bytes : y->text->num_bytes;
    int order = memcmp(x->text->bytes, y->text->bytes, shorter);
    if (order == 0)
        order =
            (x->text->num_bytes > y->text->num_bytes) - (x->text->num_bytes < y->text->num_bytes);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* The first two bytes as a number; a text of one byte comes before all longer ones. */
static size_t lead_of(const struct nano_string *text)
{
    const unsigned char *bytes = (const unsigned char *)text->bytes;
    return (size_t)bytes[0] << 8 | (text->num_bytes > 1 ? bytes[1] : 0);
}

static enum nano_status sort_tokens(struct nano_unigram *unigram, const struct nano_vocab *vocab,
                                    struct nano_error *err)
{
    size_t n = (size_t)vocab->num_tokens;
    struct sorted_token *tokens = nano_mem_alloc(n, sizeof *tokens);
    unigram->sorted = nano_mem_alloc(n, sizeof *unigram->sorted);
    if (!tokens || !unigram->sorted) {
        nano_mem_free(tokens);
        return nano_error_no_memory(err, "vocabulary", n * sizeof *tokens);
    }
    size_t count = 0;
    for (int32_t id = 0; id < vocab->num_tokens; id++) {
        const struct nano_string *text = &vocab->texts[id];
        if (text->num_bytes > 0 && text->num_bytes <= MAX_TOKEN_BYTES &&
            nano_vocab_find_mergeable(vocab, text->bytes, text->num_bytes) == id)
            tokens[count++] = (struct sorted_token){text, id};
    }
    qsort(tokens, count, sizeof *tokens, compare_texts);
    size_t lead = 0;
    for (size_t i = 0; i < count; i++) {
        unigram->sorted[i] = tokens[i].id;
        while (lead <= lead_of(tokens[i].text))
            unigram->first[lead++] = (uint32_t)i;
    }
    while (lead <= 65536)
        unigram->first[lead++] = (uint32_t)count;
    unigram->num_sorted = count;
    nano_mem_free(tokens);
    return NANO_OK;
}

static enum nano_status load_scores(struct nano_unigram *unigram, const struct nano_vocab *vocab,
                                    const struct nano_weights *weights, struct nano_error *err)
{
    size_t n = (size_t)vocab->num_tokens;
    const char *label = nano_weights_label(weights);
    const struct nano_meta *meta = nano_weights_meta(weights, KEY_SCORES);
    if (!meta || meta->type != NANO_META_ARRAY || meta->element_type == NANO_META_STRING ||
        meta->element_type == NANO_META_BOOL || meta->num_elements != n)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: expected %zu numbers, one per token",
                              label, KEY_SCORES, n);
    unigram->scores = nano_mem_alloc(n, sizeof *unigram->scores);
    if (!unigram->scores)
        return nano_error_no_memory(err, "scores", n * sizeof *unigram->scores);
    double lowest = INFINITY;
    for (size_t i = 0; i < n; i++) {
        double score = nano_meta_array_float(meta, i);
        if (!isfinite(score))
            return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s[%zu]: not a finite number", label,
                                  KEY_SCORES, i);
        if (score < lowest && vocab->types[i] == NANO_TOKEN_NORMAL)
            lowest = score;
        unigram->scores[i] = vocab->types[i] == NANO_TOKEN_USER_DEFINED ? 0 : (float)score;
    }
    unigram->unk_score = (isfinite(lowest) ? lowest : 0) - UNK_PENALTY;
    return NANO_OK;
}

enum nano_status nano_unigram_init(struct nano_unigram *unigram, const struct nano_vocab *vocab,
                                   const struct nano_weights *weights, struct nano_error *err)
{
    enum nano_status status;
    if (unigram->unk < 0)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: the unigram model has no unknown token",
                              nano_weights_label(weights));
    for (int byte = 0; byte < 256; byte++)
        unigram->byte_ids[byte] = nano_vocab_find_hex_byte(vocab, (unsigned char)byte);
    NANO_TRY(load_scores(unigram, vocab, weights, err));
    NANO_TRY(sort_tokens(unigram, vocab, err));
    nano_mark_cuts_init(&unigram->cuts, vocab);
fail:
    return status;
}

void nano_unigram_deinit(struct nano_unigram *unigram)
{
    nano_mem_free(unigram->sorted);
    nano_mem_free(unigram->scores);
    unigram->sorted = NULL;
    unigram->scores = NULL;
}

/* The first token of [low, high) whose byte `depth` is at least `byte`; all are longer. */
static size_t lower_bound(const struct nano_tokenizer *tokenizer, size_t low, size_t high,
                          size_t depth, unsigned byte)
{
    const struct nano_unigram *unigram = tokenizer->unigram;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct nano_string *text = &tokenizer->vocab.texts[unigram->sorted[middle]];
        if (text->num_bytes > depth && (unsigned char)text->bytes[depth] >= byte)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void relax(struct nano_unigram_node *node, double score, size_t begin, int32_t id)
{
    if (node->id < 0 || score > node->score)
        *node = (struct nano_unigram_node){score, (uint32_t)begin, id, 0};
}

/* Every token that begins at `begin`. */
static void relax_tokens(const struct nano_tokenizer *tokenizer, struct nano_unigram_node *nodes,
                         const char *word, size_t num_bytes, size_t begin, size_t char_bytes)
{
    const struct nano_unigram *unigram = tokenizer->unigram;
    double score = nodes[begin].score;
    bool has_single = false;
    size_t low = 0, high = unigram->num_sorted;
    for (size_t depth = 0; begin + depth < num_bytes && low < high; depth++) {
        unsigned byte = (unsigned char)word[begin + depth];
        if (depth == 0) {
            low = unigram->first[byte << 8];
            high = unigram->first[(byte << 8) + 256];
        } else {
            low = lower_bound(tokenizer, low, high, depth, byte);
            high = lower_bound(tokenizer, low, high, depth, byte + 1);
        }
        if (low == high)
            break;
        int32_t id = unigram->sorted[low];
        if (tokenizer->vocab.texts[id].num_bytes != depth + 1)
            continue;
        relax(&nodes[begin + depth + 1], score + (double)unigram->scores[id], begin, id);
        has_single = has_single || depth + 1 == char_bytes;
    }
    if (!has_single)
        relax(&nodes[begin + char_bytes], score + unigram->unk_score, begin, unigram->unk);
}

/* Appends the bytes' tokens of what is unknown, if all have one, or unk. */
static enum nano_status push_unknown(struct nano_encoder *encoder, const char *text,
                                     size_t num_bytes, struct nano_error *err)
{
    const struct nano_unigram *unigram = encoder->tokenizer->unigram;
    bool has_bytes = unigram->byte_fallback;
    for (size_t i = 0; i < num_bytes && has_bytes; i++)
        has_bytes = unigram->byte_ids[(unsigned char)text[i]] >= 0;
    if (!has_bytes)
        return nano_encoder_push(encoder, unigram->unk, err);
    enum nano_status status = nano_encoder_reserve(encoder, num_bytes, err);
    for (size_t i = 0; i < num_bytes && status == NANO_OK; i++)
        encoder->ids[encoder->num_ids++] = unigram->byte_ids[(unsigned char)text[i]];
    return status;
}

/* Turns the path around, then writes it from its beginning. */
static enum nano_status push_path(struct nano_encoder *encoder, const char *word, size_t num_bytes,
                                  struct nano_error *err)
{
    struct nano_unigram_node *nodes = encoder->nodes;
    uint32_t next = (uint32_t)num_bytes;
    for (uint32_t end = next; end > 0;) { /* the node where a token begins learns where it ends */
        uint32_t begin = nodes[end].begin;
        nodes[begin].end = end;
        end = begin;
    }
    const int32_t unk = encoder->tokenizer->unigram->unk;
    for (size_t pos = 0; pos < num_bytes;) {
        size_t end = nodes[pos].end;
        int32_t id = nodes[end].id;
        while (id == unk && end < num_bytes && nodes[nodes[end].end].id == unk)
            end = nodes[end].end;
        enum nano_status status = id == unk ? push_unknown(encoder, word + pos, end - pos, err)
                                            : nano_encoder_push(encoder, id, err);
        if (status != NANO_OK)
            return status;
        pos = end;
    }
    return NANO_OK;
}

static enum nano_status encode_piece(struct nano_encoder *encoder, const char *word,
                                     size_t num_bytes, struct nano_error *err)
{
    if (!nano_mem_grow((void **)&encoder->nodes, &encoder->nodes_capacity, num_bytes + 1,
                       sizeof *encoder->nodes))
        return nano_error_no_memory(err, "a word", num_bytes);
    struct nano_unigram_node *nodes = encoder->nodes;
    for (size_t i = 0; i <= num_bytes; i++)
        nodes[i] = (struct nano_unigram_node){.id = -1};
    for (size_t pos = 0; pos < num_bytes;) {
        uint32_t codepoint;
        size_t length = (size_t)nano_utf8_decode(word + pos, num_bytes - pos, &codepoint);
        length += length == 0;
        relax_tokens(encoder->tokenizer, nodes, word, num_bytes, pos, length);
        pos += length;
    }
    return push_path(encoder, word, num_bytes, err);
}

enum nano_status nano_unigram_encode(struct nano_encoder *encoder, const char *word,
                                     size_t num_bytes, struct nano_error *err)
{
    for (size_t pos = 0; pos < num_bytes;) {
        size_t end = nano_mark_cuts_end(&encoder->tokenizer->unigram->cuts, word, num_bytes, pos);
        enum nano_status status =
            nano_encoder_cached(encoder, word + pos, end - pos, encode_piece, err);
        if (status != NANO_OK)
            return status;
        pos = end;
    }
    return NANO_OK;
}
