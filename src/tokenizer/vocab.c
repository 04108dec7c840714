/* Vocabulary: texts, types, pieces and the look-up by text. */
#include "tokenizer/vocab.h"

#include <inttypes.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"
#include "base/byte_char.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES "tokenizer.ggml.token_type"

#define SPACE_MARK "\xE2\x96\x81" /* U+2581, SentencePiece's space */

static uint32_t text_hash(const char *text, size_t num_bytes)
{
    return (uint32_t)XXH3_64bits(text, num_bytes);
}

/* The slot of the text, or the empty one where it belongs. */
static struct nano_vocab_slot *find_slot(const struct nano_vocab *vocab, const char *text,
                                         size_t num_bytes)
{
    uint32_t hash = text_hash(text, num_bytes);
    size_t i = hash & (vocab->num_slots - 1);
    for (;; i = (i + 1) & (vocab->num_slots - 1)) {
        struct nano_vocab_slot *slot = &vocab->slots[i];
        if (slot->id < 0)
            return slot;
        const struct nano_string *other = &vocab->texts[slot->id];
        if (slot->hash == hash && other->num_bytes == num_bytes &&
            memcmp(other->bytes, text, num_bytes) == 0)
            return slot;
    }
}

int32_t nano_vocab_find(const struct nano_vocab *vocab, const char *text, size_t num_bytes)
{
    return num_bytes ? find_slot(vocab, text, num_bytes)->id : -1;
}

int32_t nano_vocab_find_mergeable(const struct nano_vocab *vocab, const char *text,
                                  size_t num_bytes)
{
    int32_t id = nano_vocab_find(vocab, text, num_bytes);
    if (id < 0)
        return -1;
    uint8_t type = vocab->types[id];
    bool merges =
        type != NANO_TOKEN_CONTROL && type != NANO_TOKEN_UNKNOWN && type != NANO_TOKEN_BYTE;
    return merges ? id : -1;
}

int32_t nano_vocab_find_hex_byte(const struct nano_vocab *vocab, unsigned char byte)
{
    static const char hex[] = "0123456789ABCDEF";
    char text[6] = {'<', '0', 'x', hex[byte >> 4], hex[byte & 15], '>'};
    return nano_vocab_find(vocab, text, sizeof text);
}

int32_t nano_vocab_find_byte(const struct nano_vocab *vocab, unsigned char byte)
{
    char text[2];
    if (vocab->kind == NANO_TOKENIZER_BPE)
        return nano_vocab_find(vocab, text, nano_byte_chars_encode((const char *)&byte, 1, text));
    int32_t id = nano_vocab_find_hex_byte(vocab, byte);
    return id >= 0 ? id : nano_vocab_find(vocab, (const char *)&byte, 1);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int nano_vocab_hex_byte(const char *text, size_t num_bytes)
{
    if (num_bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static size_t replace_space_marks(const struct nano_string *text, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < text->num_bytes;) {
        if (text->num_bytes - i >= 3 && memcmp(text->bytes + i, SPACE_MARK, 3) == 0) {
            out[written++] = ' ';
            i += 3;
        } else {
            out[written++] = text->bytes[i++];
        }
    }
    return written;
}

/* Writes the token's piece, never longer than its text. */
static size_t write_piece(const struct nano_vocab *vocab, int32_t id, char *out)
{
    const struct nano_string *text = &vocab->texts[id];
    int byte;
    switch ((enum nano_token_type)vocab->types[id]) {
    case NANO_TOKEN_UNUSED:
        return 0;
    case NANO_TOKEN_BYTE:
        byte = nano_vocab_hex_byte(text->bytes, text->num_bytes);
        if (byte < 0)
            break;
        out[0] = (char)byte;
        return 1;
    case NANO_TOKEN_NORMAL:
        if (vocab->kind == NANO_TOKENIZER_BPE)
            return nano_byte_chars_decode(text->bytes, text->num_bytes, out);
        return replace_space_marks(text, out);
    default:
        break;
    }
    if (text->num_bytes)
        memcpy(out, text->bytes, text->num_bytes);
    return text->num_bytes;
}

const char *nano_vocab_piece(const struct nano_vocab *vocab, int32_t id, size_t *num_bytes)
{
    uint32_t begin = id > 0 ? vocab->piece_ends[id - 1] : 0;
    *num_bytes = vocab->piece_ends[id] - begin;
    return vocab->pieces + begin;
}

bool nano_vocab_is_special(const struct nano_vocab *vocab, int32_t id)
{
    return vocab->types[id] == NANO_TOKEN_CONTROL || vocab->types[id] == NANO_TOKEN_UNKNOWN;
}

const char *nano_vocab_piece_in_text(const struct nano_vocab *vocab, int32_t id, bool skip_special,
                                     bool is_first, size_t *num_bytes)
{
    *num_bytes = 0;
    if (skip_special && nano_vocab_is_special(vocab, id))
        return "";
    if (is_first && vocab->first_pieces) {
        uint32_t begin = id > 0 ? vocab->first_ends[id - 1] : 0;
        *num_bytes = vocab->first_ends[id] - begin;
        return vocab->first_pieces + begin;
    }
    const char *piece = nano_vocab_piece(vocab, id, num_bytes);
    bool drops_space = is_first && vocab->drops_first_space && *num_bytes > 0 && piece[0] == ' ';
    *num_bytes -= drops_space;
    return piece + drops_space;
}

static enum nano_status load_texts(struct nano_vocab *vocab, const struct nano_weights *weights,
                                   struct nano_error *err)
{
    const struct nano_meta *meta = nano_weights_meta(weights, KEY_TOKENS);
    const char *label = nano_weights_label(weights);
    if (!meta)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: there is no %s", label, KEY_TOKENS);
    if (meta->type != NANO_META_ARRAY || meta->element_type != NANO_META_STRING)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: expected an array of strings", label,
                              KEY_TOKENS);
    if (meta->num_elements == 0 || meta->num_elements > NANO_MAX_VOCAB)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: %zu tokens, expected 1 to %d", label,
                              KEY_TOKENS, meta->num_elements, NANO_MAX_VOCAB);
    vocab->texts = meta->strings;
    vocab->num_tokens = (int32_t)meta->num_elements;
    return NANO_OK;
}

static bool is_integer(enum nano_meta_type type)
{
    return type <= NANO_META_I32 || type == NANO_META_U64 || type == NANO_META_I64;
}

static enum nano_status load_types(struct nano_vocab *vocab, const struct nano_weights *weights,
                                   struct nano_error *err)
{
    size_t n = (size_t)vocab->num_tokens;
    vocab->types = nano_mem_alloc(n, 1);
    if (!vocab->types)
        return nano_error_no_memory(err, "token types", n);
    memset(vocab->types, NANO_TOKEN_NORMAL, n);
    const struct nano_meta *meta = nano_weights_meta(weights, KEY_TYPES);
    if (!meta)
        return NANO_OK;
    const char *label = nano_weights_label(weights);
    if (meta->type != NANO_META_ARRAY || !is_integer(meta->element_type))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: expected an array of integers", label,
                              KEY_TYPES);
    if (meta->num_elements != n)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: %zu entries, expected %zu as in %s",
                              label, KEY_TYPES, meta->num_elements, n, KEY_TOKENS);
    for (size_t i = 0; i < n; i++) {
        int64_t type = nano_meta_array_int(meta, i);
        if (type < 0 || type > NANO_TOKEN_BYTE)
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: %s[%zu]: %" PRId64 ", expected 0 to %d", label, KEY_TYPES, i,
                                  type, NANO_TOKEN_BYTE);
        if (type > 0) /* 0 says nothing */
            vocab->types[i] = (uint8_t)type;
    }
    return NANO_OK;
}

static enum nano_status index_texts(struct nano_vocab *vocab, struct nano_error *err)
{
    vocab->num_slots = 16;
    while (vocab->num_slots / 2 < (size_t)vocab->num_tokens)
        vocab->num_slots *= 2;
    vocab->slots = nano_mem_alloc(vocab->num_slots, sizeof *vocab->slots);
    if (!vocab->slots)
        return nano_error_no_memory(err, "vocabulary", vocab->num_slots * sizeof *vocab->slots);
    for (size_t i = 0; i < vocab->num_slots; i++)
        vocab->slots[i] = (struct nano_vocab_slot){0, -1};
    for (int32_t id = 0; id < vocab->num_tokens; id++) {
        const struct nano_string *text = &vocab->texts[id];
        if (text->num_bytes == 0)
            continue;
        struct nano_vocab_slot *slot = find_slot(vocab, text->bytes, text->num_bytes);
        if (slot->id < 0)
            *slot = (struct nano_vocab_slot){text_hash(text->bytes, text->num_bytes), id};
    }
    return NANO_OK;
}

enum nano_status nano_vocab_write_pieces(struct nano_vocab *vocab,
                                         const struct nano_weights *weights, struct nano_error *err)
{
    size_t total = 0;
    for (int32_t id = 0; id < vocab->num_tokens; id++) {
        size_t num_bytes = vocab->texts[id].num_bytes;
        if (num_bytes > UINT32_MAX - total)
            return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: more than 4 GiB of text",
                                  nano_weights_label(weights), KEY_TOKENS);
        total += num_bytes;
    }
    vocab->pieces = nano_mem_alloc(total, 1);
    vocab->piece_ends = nano_mem_alloc((size_t)vocab->num_tokens, sizeof *vocab->piece_ends);
    if (!vocab->pieces || !vocab->piece_ends)
        return nano_error_no_memory(err, "token texts", total);
    size_t end = 0;
    for (int32_t id = 0; id < vocab->num_tokens; id++) {
        size_t num_bytes = write_piece(vocab, id, vocab->pieces + end);
        end += num_bytes;
        vocab->piece_ends[id] = (uint32_t)end;
        if (num_bytes > vocab->max_piece_bytes)
            vocab->max_piece_bytes = num_bytes;
    }
    return NANO_OK;
}

enum nano_status nano_vocab_init(struct nano_vocab *vocab, enum nano_tokenizer_kind kind,
                                 bool add_bos, const struct nano_weights *weights,
                                 struct nano_error *err)
{
    enum nano_status status;
    memset(vocab, 0, sizeof *vocab);
    vocab->kind = kind;
    NANO_TRY(load_texts(vocab, weights, err));
    NANO_TRY(load_types(vocab, weights, err));
    NANO_TRY(index_texts(vocab, err));
    NANO_TRY(nano_vocab_load_special(vocab, add_bos, weights, err));
fail:
    return status;
}

void nano_vocab_deinit(struct nano_vocab *vocab)
{
    nano_mem_free(vocab->types);
    nano_mem_free(vocab->slots);
    nano_mem_free(vocab->pieces);
    nano_mem_free(vocab->piece_ends);
    nano_mem_free(vocab->first_pieces);
    nano_mem_free(vocab->first_ends);
    nano_mem_free(vocab->eog);
    memset(vocab, 0, sizeof *vocab);
}
