/* Decoder: the section "decoder". */
#include "tokenizer/decoder.h"

#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "base/byte_char.h"
#include "tokenizer/regex.h"

#define MAX_OPS 32
#define MAX_STRIPPED 1024

enum decoder_type {
    BPE,
    BYTE_FALLBACK,
    BYTE_LEVEL,
    FUSE,
    METASPACE,
    REPLACE,
    SEQUENCE,
    STRIP,
    WORDPIECE,
    WORDPIECE_MARKED,
    NUM_TYPES,
    JOIN
};

/* WordPieceMarked is ours: GGUF's spelling, with U+2581 before words. */
static const char *const names[NUM_TYPES] = {"BPEDecoder", "ByteFallback",   "ByteLevel", "Fuse",
                                             "Metaspace",  "Replace",        "Sequence",  "Strip",
                                             "WordPiece",  "WordPieceMarked"};

/* What is done to a single token. */
struct op {
    enum decoder_type type;
    struct nano_string pattern, content;
    struct nano_regex regex; /* REPLACE; code NULL: the pattern is plain text */
    int64_t start, stop;
    bool flag; /* METASPACE: the first token's marks vanish; WORDPIECE: clean up */
};

struct reader {
    struct nano_decoder *out;
    struct op ops[MAX_OPS];
    int num_ops;
    bool fused;
    struct nano_regex_scratch scratch;
};

static const char *const cleanups[][2] = {
    {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};
enum { NUM_CLEANUPS = sizeof cleanups / sizeof *cleanups };

static enum nano_status add_filter(const struct nano_component *c, struct nano_decoder *out,
                                   enum nano_filter_kind kind, const struct nano_string *pattern,
                                   const struct nano_string *content, int64_t count)
{
    if (out->num_filters == NANO_MAX_FILTERS)
        return nano_component_error(c, "more than %d steps on the whole text are not supported",
                                    NANO_MAX_FILTERS);
    if (pattern->num_bytes == 0 || count == 0)
        return NANO_OK;
    if (pattern->num_bytes > NANO_MAX_PATTERN_BYTES ||
        content->num_bytes > NANO_MAX_PATTERN_BYTES || count > MAX_STRIPPED)
        return nano_component_error(c,
                                    "patterns over %d bytes and more than %d stripped "
                                    "characters are not supported on the whole text",
                                    NANO_MAX_PATTERN_BYTES, MAX_STRIPPED);
    struct nano_filter *filter = &out->filters[out->num_filters++];
    *filter = (struct nano_filter){.kind = kind, .count = (uint32_t)count};
    filter->pattern_bytes = (uint8_t)pattern->num_bytes;
    filter->content_bytes = (uint8_t)content->num_bytes;
    memcpy(filter->pattern, pattern->bytes, pattern->num_bytes);
    if (content->num_bytes)
        memcpy(filter->content, content->bytes, content->num_bytes);
    for (uint8_t i = 1, border = 0; i < filter->pattern_bytes; i++) {
        while (border > 0 && filter->pattern[i] != filter->pattern[border])
            border = filter->borders[border - 1];
        border = (uint8_t)(border + (filter->pattern[i] == filter->pattern[border]));
        filter->borders[i] = border;
    }
    return NANO_OK;
}

/* A step on the joined text, which counts as one token and the first. */
static enum nano_status add_fused(const struct nano_component *c, struct reader *reader,
                                  const struct op *op)
{
    static const struct nano_string nothing = {"", 0}, space = {" ", 1};
    enum nano_status status = NANO_OK;
    struct nano_decoder *out = reader->out;
    switch (op->type) {
    case REPLACE:
        if (op->regex.code)
            return nano_component_error(
                c, "Replace with a regular expression on the whole text is not supported");
        return add_filter(c, out, NANO_FILTER_REPLACE, &op->pattern, &op->content, 1);
    case STRIP:
        NANO_TRY(add_filter(c, out, NANO_FILTER_STRIP_START, &op->pattern, &nothing, op->start));
        return add_filter(c, out, NANO_FILTER_STRIP_END, &op->pattern, &nothing, op->stop);
    case METASPACE:
        return add_filter(c, out, NANO_FILTER_REPLACE, &op->pattern, op->flag ? &nothing : &space,
                          1);
    case BPE:
        return add_filter(c, out, NANO_FILTER_REPLACE, &op->pattern, &nothing, 1);
    case WORDPIECE:
    case WORDPIECE_MARKED:
        for (size_t i = 0; i < NUM_CLEANUPS && op->flag; i++) {
            struct nano_string pattern = {cleanups[i][0], strlen(cleanups[i][0])};
            struct nano_string content = {cleanups[i][1], strlen(cleanups[i][1])};
            NANO_TRY(add_filter(c, out, NANO_FILTER_REPLACE, &pattern, &content, 1));
        }
        return NANO_OK;
    case BYTE_LEVEL:
        if (out->num_filters > 0)
            return nano_component_error(c, "ByteLevel behind a step on the whole text is not "
                                           "supported");
        break;
    default: /* one token is no byte, and is fused already */
        return NANO_OK;
    }
fail:
    return status;
}

static enum nano_status read_op(const struct nano_component *c, struct op *op)
{
    enum nano_status status = NANO_OK;
    struct nano_string scheme = {"", 0};
    bool is_regex, prefix = true;
    switch (op->type) {
    case BPE:
        op->pattern = (struct nano_string){"</w>", 4};
        return nano_component_string(c, "suffix", &op->pattern);
    case METASPACE:
        op->pattern = (struct nano_string){"\xE2\x96\x81", 3};
        NANO_TRY(nano_component_string(c, "replacement", &op->pattern));
        NANO_TRY(nano_component_string(c, "prepend_scheme", &scheme));
        NANO_TRY(nano_component_bool(c, "add_prefix_space", &prefix));
        op->flag = scheme.num_bytes > 0 ? strcmp(scheme.bytes, "never") != 0 : prefix;
        return NANO_OK;
    case REPLACE:
        NANO_TRY(nano_component_pattern(c, &op->pattern, &is_regex));
        NANO_TRY(nano_component_string(c, "content", &op->content));
        return is_regex ? nano_regex_init(&op->regex, op->pattern.bytes, op->pattern.num_bytes,
                                          NANO_REGEX_ONIGURUMA, "tokenizer.json: decoder", c->err)
                        : NANO_OK;
    case STRIP:
        op->pattern = (struct nano_string){" ", 1};
        NANO_TRY(nano_component_string(c, "content", &op->pattern));
        NANO_TRY(nano_component_int(c, "start", &op->start));
        return nano_component_int(c, "stop", &op->stop);
    case WORDPIECE:
    case WORDPIECE_MARKED:
        op->pattern = (struct nano_string){op->type == WORDPIECE ? "##" : "\xE2\x96\x81",
                                           op->type == WORDPIECE ? 2 : 3};
        op->flag = true;
        NANO_TRY(nano_component_string(c, "prefix", &op->pattern));
        return nano_component_bool(c, "cleanup", &op->flag);
    default:
        return NANO_OK;
    }
fail:
    return status;
}

static enum nano_status visit(const struct nano_component *c, int depth, void *user_data)
{
    struct reader *reader = user_data;
    size_t type;
    enum nano_status status = nano_component_type(c, names, NUM_TYPES, &type);
    if (status != NANO_OK)
        return status;
    if (type == SEQUENCE)
        return nano_component_each(c, "decoders", depth, visit, reader);
    if (reader->num_ops == MAX_OPS)
        return nano_component_error(c, "more than %d steps are not supported", MAX_OPS);
    struct op *op = &reader->ops[reader->num_ops];
    *op = (struct op){.type = (enum decoder_type)type, .content = {"", 0}};
    status = read_op(c, op);
    if (status == NANO_OK && reader->fused)
        status = add_fused(c, reader, op);
    if (status != NANO_OK || (reader->fused && op->type != BYTE_LEVEL)) {
        nano_regex_deinit(&op->regex);
        return status;
    }
    reader->num_ops++;
    reader->fused = reader->fused || op->type == FUSE || op->type == BYTE_LEVEL;
    if (op->type == BPE && !reader->fused) { /* the last token's suffix is no space */
        static const struct nano_string nothing = {"", 0}, space = {" ", 1};
        return add_filter(c, reader->out, NANO_FILTER_STRIP_END, &space, &nothing, 1);
    }
    return NANO_OK;
}

/* Replaces plain text everywhere in *text; `out` is empty before and exchanged with it. */
static bool replace_all(struct nano_buffer *text, struct nano_buffer *out,
                        const struct nano_string *pattern, const struct nano_string *content)
{
    bool ok = true;
    size_t length = pattern->num_bytes;
    out->num_bytes = 0;
    for (size_t i = 0; i < text->num_bytes && ok;) {
        if (length > 0 && text->num_bytes - i >= length &&
            memcmp(text->data + i, pattern->bytes, length) == 0) {
            ok = nano_buffer_append(out, content->bytes, content->num_bytes);
            i += length;
        } else {
            ok = nano_buffer_append(out, text->data + i, 1);
            i++;
        }
    }
    struct nano_buffer swapped = *text;
    *text = *out;
    *out = swapped;
    return ok;
}

static enum nano_status replace_matches(struct reader *reader, const struct op *op,
                                        struct nano_buffer *text, struct nano_buffer *out,
                                        struct nano_error *err)
{
    struct nano_regex_cursor cursor = {0};
    size_t done = 0, n = text->num_bytes;
    const char *data = n ? text->data : "";
    if (nano_utf8_valid_prefix(data, n) != n)
        return NANO_OK;
    out->num_bytes = 0;
    for (;;) {
        size_t begin, end;
        enum nano_status status =
            nano_regex_next(&op->regex, &reader->scratch, &cursor, data, n, &begin, &end, err);
        if (status != NANO_OK)
            return status;
        if (begin > n)
            begin = end = n;
        if (!nano_buffer_append(out, data + done, begin - done) ||
            (cursor.pos <= n && begin < n &&
             !nano_buffer_append(out, op->content.bytes, op->content.num_bytes)))
            return nano_error_no_memory(err, "decoder", n);
        done = end;
        if (begin == n)
            break;
    }
    struct nano_buffer swapped = *text;
    *text = *out;
    *out = swapped;
    return NANO_OK;
}

static void cut(struct nano_buffer *text, size_t begin, size_t end)
{
    if (begin > 0)
        memmove(text->data, text->data + begin, end - begin);
    text->num_bytes = end;
    if (begin > 0)
        text->num_bytes = end - begin;
}

static void strip_token(struct nano_buffer *text, const struct op *op)
{
    size_t length = op->pattern.num_bytes, begin = 0, end = text->num_bytes;
    for (int64_t i = 0; length > 0 && i < op->start && end - begin >= length &&
                        memcmp(text->data + begin, op->pattern.bytes, length) == 0;
         i++)
        begin += length;
    for (int64_t i = 0; length > 0 && i < op->stop && end - begin >= length &&
                        memcmp(text->data + end - length, op->pattern.bytes, length) == 0;
         i++)
        end -= length;
    cut(text, begin, end);
}

static bool prepend_space(struct nano_buffer *text)
{
    if (!nano_buffer_append(text, " ", 1))
        return false;
    memmove(text->data + 1, text->data, text->num_bytes - 1);
    text->data[0] = ' ';
    return true;
}

static bool join_wordpiece(struct nano_buffer *text, struct nano_buffer *spare, const struct op *op,
                           bool is_first)
{
    size_t length = op->pattern.num_bytes;
    bool begins = text->num_bytes >= length && length > 0 &&
                  memcmp(text->data, op->pattern.bytes, length) == 0;
    bool marked = op->type == WORDPIECE_MARKED, ok = true;
    if (begins && (marked || !is_first))
        cut(text, length, text->num_bytes);
    if (!is_first && begins == marked)
        ok = prepend_space(text);
    for (size_t i = 0; i < NUM_CLEANUPS && op->flag && ok; i++) {
        struct nano_string pattern = {cleanups[i][0], strlen(cleanups[i][0])};
        struct nano_string content = {cleanups[i][1], strlen(cleanups[i][1])};
        ok = replace_all(text, spare, &pattern, &content);
    }
    return ok;
}

static bool decode_bytes(struct nano_buffer *text)
{
    for (size_t i = 0; i < text->num_bytes;) {
        uint32_t codepoint;
        int length = nano_utf8_decode(text->data + i, text->num_bytes - i, &codepoint);
        if (length == 0 || nano_byte_of_char(codepoint) < 0)
            return true; /* not of the alphabet: it stands for itself */
        i += (size_t)length;
    }
    if (text->num_bytes)
        text->num_bytes = nano_byte_chars_decode(text->data, text->num_bytes, text->data);
    return true;
}

static enum nano_status run_op(struct reader *reader, const struct op *op, bool is_first,
                               struct nano_buffer *text, struct nano_buffer *spare,
                               struct nano_error *err)
{
    static const struct nano_string nothing = {"", 0}, space = {" ", 1};
    bool ok = true;
    int byte;
    switch (op->type) {
    case BYTE_LEVEL:
        ok = decode_bytes(text);
        break;
    case BYTE_FALLBACK:
        byte = nano_vocab_hex_byte(text->data, text->num_bytes);
        if (byte >= 0) {
            text->data[0] = (char)byte;
            text->num_bytes = 1;
        }
        break;
    case METASPACE:
        ok = replace_all(text, spare, &op->pattern, is_first && op->flag ? &nothing : &space);
        break;
    case BPE:
        ok = replace_all(text, spare, &op->pattern, &space);
        break;
    case REPLACE:
        if (op->regex.code)
            return replace_matches(reader, op, text, spare, err);
        ok = replace_all(text, spare, &op->pattern, &op->content);
        break;
    case STRIP:
        strip_token(text, op);
        break;
    case WORDPIECE:
    case WORDPIECE_MARKED:
        ok = join_wordpiece(text, spare, op, is_first);
        break;
    case JOIN:
        ok = is_first || prepend_space(text);
        break;
    default:
        break;
    }
    return ok ? NANO_OK : nano_error_no_memory(err, "decoder", text->num_bytes);
}

/* One text per token, as the token in the middle of a text or as the first. */
static enum nano_status write_pieces(struct reader *reader, struct nano_vocab *vocab, bool is_first,
                                     char **pieces, uint32_t **ends, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct nano_buffer all = {0}, text = {0}, spare = {0};
    *ends = nano_mem_alloc((size_t)vocab->num_tokens, sizeof **ends);
    if (!*ends) {
        status = nano_error_no_memory(err, "token texts", (size_t)vocab->num_tokens);
        goto fail;
    }
    for (int32_t id = 0; id < vocab->num_tokens; id++) {
        const struct nano_string *token = &vocab->texts[id];
        text.num_bytes = 0;
        if (!nano_buffer_append(&text, token->bytes, token->num_bytes)) {
            status = nano_error_no_memory(err, "token texts", token->num_bytes);
            goto fail;
        }
        for (int i = 0; i < reader->num_ops; i++)
            NANO_TRY(run_op(reader, &reader->ops[i], is_first, &text, &spare, err));
        if (text.num_bytes > UINT32_MAX - all.num_bytes ||
            !nano_buffer_append(&all, text.data, text.num_bytes)) {
            status = nano_error_no_memory(err, "token texts", all.num_bytes);
            goto fail;
        }
        (*ends)[id] = (uint32_t)all.num_bytes;
        if (text.num_bytes > vocab->max_piece_bytes)
            vocab->max_piece_bytes = text.num_bytes;
    }
    if (!nano_buffer_append(&all, "", 0) || (!all.data && !nano_buffer_append(&all, " ", 1)))
        status = nano_error_no_memory(err, "token texts", all.num_bytes);
    *pieces = all.data;
    all = (struct nano_buffer){0};
fail:
    nano_buffer_deinit(&all);
    nano_buffer_deinit(&text);
    nano_buffer_deinit(&spare);
    return status;
}

enum nano_status nano_decoder_init(struct nano_decoder *decoder, const struct nano_component *c,
                                   struct nano_vocab *vocab)
{
    enum nano_status status = NANO_OK;
    struct reader *reader = nano_mem_calloc(1, sizeof *reader);
    if (!reader)
        return nano_error_no_memory(c->err, "decoder", sizeof *reader);
    memset(decoder, 0, sizeof *decoder);
    reader->out = decoder;
    if (c->json)
        NANO_TRY(visit(c, 0, reader));
    else
        reader->ops[reader->num_ops++].type = JOIN;
    bool by_place = false;
    for (int i = 0; i < reader->num_ops; i++) {
        enum decoder_type type = reader->ops[i].type;
        by_place = by_place || type == METASPACE || type == WORDPIECE || type == WORDPIECE_MARKED ||
                   type == JOIN;
    }
    NANO_TRY(write_pieces(reader, vocab, false, &vocab->pieces, &vocab->piece_ends, c->err));
    if (by_place)
        NANO_TRY(
            write_pieces(reader, vocab, true, &vocab->first_pieces, &vocab->first_ends, c->err));
fail:
    for (int i = 0; i < reader->num_ops; i++)
        nano_regex_deinit(&reader->ops[i].regex);
    nano_regex_scratch_deinit(&reader->scratch);
    nano_mem_free(reader);
    return status;
}
