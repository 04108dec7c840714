/* Normalizer. */
#include "tokenizer/normalizer.h"

#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "base/byte_char.h"
#include "tokenizer/char_class.h"

#define SPACE_MARK "\xE2\x96\x81"

enum nano_status nano_normalizer_add(struct nano_normalizer *normalizer,
                                     enum nano_normalizer_kind kind,
                                     struct nano_normalizer_step **out, struct nano_error *err)
{
    if (normalizer->num_steps == NANO_MAX_NORMALIZER_STEPS)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "normalizer: more than %d steps are not supported",
                              NANO_MAX_NORMALIZER_STEPS);
    *out = &normalizer->steps[normalizer->num_steps++];
    memset(*out, 0, sizeof **out);
    (*out)->kind = kind;
    return NANO_OK;
}

void nano_normalizer_deinit(struct nano_normalizer *normalizer)
{
    for (int i = 0; i < normalizer->num_steps; i++) {
        nano_buffer_deinit(&normalizer->steps[i].text);
        nano_buffer_deinit(&normalizer->steps[i].pattern);
        nano_regex_deinit(&normalizer->steps[i].regex);
    }
    nano_charsmap_deinit(&normalizer->charsmap);
    memset(normalizer, 0, sizeof *normalizer);
}

void nano_normalizer_scratch_deinit(struct nano_normalizer_scratch *scratch)
{
    nano_buffer_deinit(&scratch->buffers[0]);
    nano_buffer_deinit(&scratch->buffers[1]);
    nano_regex_scratch_deinit(&scratch->regex);
    nano_mem_free(scratch->codepoints);
    memset(scratch, 0, sizeof *scratch);
}

static bool append_char(struct nano_buffer *out, uint32_t codepoint)
{
    char bytes[4];
    return nano_buffer_append(out, bytes, (size_t)nano_utf8_encode(codepoint, bytes));
}

/* A valid part of the text; no character outside composes with one of it. */
static bool append_form(struct nano_normalizer_scratch *scratch, struct nano_buffer *out,
                        const char *text, size_t num_bytes, utf8proc_option_t options)
{
    utf8proc_ssize_t length = -1, capacity = 0;
    for (int attempt = 0; attempt < 2 && length < 0; attempt++) {
        capacity = attempt == 0 ? (utf8proc_ssize_t)num_bytes + 32 : capacity;
        if (!nano_mem_grow((void **)&scratch->codepoints, &scratch->codepoints_capacity,
                           (size_t)capacity, sizeof *scratch->codepoints))
            return false;
        length = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)num_bytes,
                                    scratch->codepoints, capacity, options);
        if (length < 0)
            return nano_buffer_append(out, text, num_bytes);
        if (length > capacity) {
            capacity = length;
            length = -1;
        }
    }
    if (length >= 0)
        length = utf8proc_normalize_utf32(scratch->codepoints, length, options);
    for (utf8proc_ssize_t i = 0; i < length; i++)
        if (!append_char(out, (uint32_t)scratch->codepoints[i]))
            return false;
    return true;
}

/* ASCII is in every form already. It composes only with what follows, so the last of a run goes
 * with that. */
static bool run_form(struct nano_normalizer_scratch *scratch, struct nano_buffer *out,
                     const char *text, size_t num_bytes, utf8proc_option_t options)
{
    for (size_t pos = 0; pos < num_bytes;) {
        size_t ascii = pos;
        while (ascii < num_bytes && !(text[ascii] & 0x80))
            ascii++;
        size_t plain = ascii < num_bytes && ascii > pos ? ascii - 1 : ascii;
        if (!nano_buffer_append(out, text + pos, plain - pos))
            return false;
        size_t end = ascii;
        while (end < num_bytes && (text[end] & 0x80))
            end++;
        for (pos = plain; pos < end;) {
            size_t valid = nano_utf8_valid_prefix(text + pos, end - pos);
            if (valid > 0 ? !append_form(scratch, out, text + pos, valid, options)
                          : !nano_buffer_append(out, text + pos, 1))
                return false;
            pos += valid ? valid : 1;
        }
    }
    return true;
}

static bool is_dropped_by_nmt(uint32_t c)
{
    return (c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
           c == 0x9F;
}

static bool is_space_of_nmt(uint32_t c)
{
    return c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
           c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

static bool run_char(enum nano_normalizer_kind kind, struct nano_buffer *out, uint32_t c)
{
    switch (kind) {
    case NANO_NORMALIZE_LOWERCASE:
        if (c == 0x130) /* the one character whose small form is two */
            return append_char(out, 'i') && append_char(out, 0x307);
        return append_char(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
    case NANO_NORMALIZE_STRIP_ACCENTS:
        return nano_char_is_accent(c) || append_char(out, c);
    case NANO_NORMALIZE_CLEAN:
        if (c == '\t' || c == '\n' || c == '\r')
            return append_char(out, ' ');
        if (c == 0 || c == 0xFFFD || nano_char_is_control(c))
            return true;
        return append_char(out, nano_char_is_space(c) ? ' ' : c);
    case NANO_NORMALIZE_SPACE_IDEOGRAPHS:
        if (nano_char_is_ideograph(c))
            return append_char(out, ' ') && append_char(out, c) && append_char(out, ' ');
        return append_char(out, c);
    default:
        return is_dropped_by_nmt(c) || append_char(out, is_space_of_nmt(c) ? ' ' : c);
    }
}

static bool run_chars(enum nano_normalizer_kind kind, struct nano_buffer *out, const char *text,
                      size_t num_bytes)
{
    for (size_t pos = 0; pos < num_bytes;) {
        uint32_t codepoint;
        int length = nano_utf8_decode(text + pos, num_bytes - pos, &codepoint);
        if (length ? !run_char(kind, out, codepoint) : !nano_buffer_append(out, text + pos, 1))
            return false;
        pos += length ? (size_t)length : 1;
    }
    return true;
}

static bool run_byte_chars(struct nano_buffer *out, const char *text, size_t num_bytes)
{
    for (size_t i = 0; i < num_bytes; i++)
        if (!append_char(out, nano_byte_char((unsigned char)text[i])))
            return false;
    return true;
}

static bool run_strip(const struct nano_normalizer_step *step, struct nano_buffer *out,
                      const char *text, size_t num_bytes)
{
    uint32_t codepoint;
    size_t begin = 0, end = num_bytes, length;
    while (step->left && begin < end && nano_char_at(text, end, begin, &codepoint, &length) &&
           nano_char_is_space(codepoint))
        begin += length;
    while (step->right && end > begin && nano_char_before(text, end, &codepoint, &length) &&
           nano_char_is_space(codepoint))
        end -= length;
    return nano_buffer_append(out, text + begin, end - begin);
}

static bool replace_literal(const struct nano_normalizer_step *step, struct nano_buffer *out,
                            const char *text, size_t num_bytes)
{
    const char *pattern = step->pattern.data;
    size_t length = step->pattern.num_bytes, done = 0;
    for (size_t pos = 0; length > 0 && pos + length <= num_bytes;) {
        const char *first = memchr(text + pos, pattern[0], num_bytes - length + 1 - pos);
        if (!first)
            break;
        pos = (size_t)(first - text);
        if (memcmp(first, pattern, length) != 0) {
            pos++;
            continue;
        }
        if (!nano_buffer_append(out, text + done, pos - done) ||
            !nano_buffer_append(out, step->text.data, step->text.num_bytes))
            return false;
        done = pos += length;
    }
    return nano_buffer_append(out, text + done, num_bytes - done);
}

/* In every valid part of the text. */
static enum nano_status replace_regex(const struct nano_normalizer_step *step,
                                      struct nano_normalizer_scratch *scratch,
                                      struct nano_buffer *out, const char *text, size_t num_bytes,
                                      struct nano_error *err)
{
    for (size_t pos = 0; pos < num_bytes;) {
        size_t valid = nano_utf8_valid_prefix(text + pos, num_bytes - pos), done = 0;
        struct nano_regex_cursor cursor = {0};
        while (valid > 0) {
            size_t begin, end;
            enum nano_status status = nano_regex_next(&step->regex, &scratch->regex, &cursor,
                                                      text + pos, valid, &begin, &end, err);
            if (status != NANO_OK)
                return status;
            if (begin > valid)
                break;
            if (!nano_buffer_append(out, text + pos + done, begin - done) ||
                !nano_buffer_append(out, step->text.data, step->text.num_bytes))
                return nano_error_no_memory(err, "normalized text", num_bytes);
            done = end;
        }
        size_t rest = valid > 0 ? valid - done : 1;
        if (!nano_buffer_append(out, text + pos + done, rest))
            return nano_error_no_memory(err, "normalized text", num_bytes);
        pos += done + rest;
    }
    return NANO_OK;
}

/* Runs of spaces become one mark or stay as many; there is one before the text. */
static bool run_sentencepiece(const struct nano_normalizer *normalizer,
                              const struct nano_normalizer_step *step, struct nano_buffer *out,
                              const char *text, size_t num_bytes)
{
    bool in_word = false, prefixed = false;
    for (size_t pos = 0; pos < num_bytes;) {
        uint32_t codepoint;
        const char *part = text + pos;
        size_t part_bytes;
        size_t taken = nano_charsmap_find(&normalizer->charsmap, text + pos, num_bytes - pos, true,
                                          &part, &part_bytes);
        if (taken == 0) {
            taken = (size_t)nano_utf8_decode(text + pos, num_bytes - pos, &codepoint);
            part = taken ? text + pos : NANO_UTF8_REPLACEMENT;
            part_bytes = taken ? taken : sizeof NANO_UTF8_REPLACEMENT - 1;
            taken += taken == 0;
        }
        pos += taken;
        for (size_t i = 0; i < part_bytes; i++) {
            bool is_space = part[i] == ' ';
            bool marks =
                is_space
                    ? !step->remove_extra_spaces
                    : !in_word && ((step->add_prefix && !prefixed) ||
                                   (step->remove_extra_spaces && (prefixed || out->num_bytes > 0)));
            prefixed = prefixed || !is_space;
            if ((marks && !nano_buffer_append(out, SPACE_MARK, 3)) ||
                (!is_space && !nano_buffer_append(out, part + i, 1)))
                return false;
            in_word = !is_space;
        }
    }
    return true;
}

static enum nano_status run_step(const struct nano_normalizer *normalizer,
                                 const struct nano_normalizer_step *step,
                                 struct nano_normalizer_scratch *scratch, struct nano_buffer *out,
                                 const char *text, size_t num_bytes, struct nano_error *err)
{
    bool ok;
    utf8proc_option_t stable = UTF8PROC_STABLE, compat = UTF8PROC_STABLE | UTF8PROC_COMPAT;
    switch (step->kind) {
    case NANO_NORMALIZE_NFC:
        ok = run_form(scratch, out, text, num_bytes, stable | UTF8PROC_COMPOSE);
        break;
    case NANO_NORMALIZE_NFD:
        ok = run_form(scratch, out, text, num_bytes, stable | UTF8PROC_DECOMPOSE);
        break;
    case NANO_NORMALIZE_NFKC:
        ok = run_form(scratch, out, text, num_bytes, compat | UTF8PROC_COMPOSE);
        break;
    case NANO_NORMALIZE_NFKD:
        ok = run_form(scratch, out, text, num_bytes, compat | UTF8PROC_DECOMPOSE);
        break;
    case NANO_NORMALIZE_BYTE_CHARS:
        ok = run_byte_chars(out, text, num_bytes);
        break;
    case NANO_NORMALIZE_PREPEND:
        ok = num_bytes == 0 || (nano_buffer_append(out, step->text.data, step->text.num_bytes) &&
                                nano_buffer_append(out, text, num_bytes));
        break;
    case NANO_NORMALIZE_STRIP:
        ok = run_strip(step, out, text, num_bytes);
        break;
    case NANO_NORMALIZE_REPLACE:
        if (step->regex.code)
            return replace_regex(step, scratch, out, text, num_bytes, err);
        ok = replace_literal(step, out, text, num_bytes);
        break;
    case NANO_NORMALIZE_CHARSMAP:
        ok = nano_charsmap_apply(&normalizer->charsmap, text, num_bytes, out);
        break;
    case NANO_NORMALIZE_SENTENCEPIECE:
        ok = run_sentencepiece(normalizer, step, out, text, num_bytes);
        break;
    default:
        ok = run_chars(step->kind, out, text, num_bytes);
        break;
    }
    return ok ? NANO_OK : nano_error_no_memory(err, "normalized text", num_bytes);
}

enum nano_status nano_normalizer_run(const struct nano_normalizer *normalizer,
                                     struct nano_normalizer_scratch *scratch, const char *text,
                                     size_t num_bytes, const char **out, size_t *out_bytes,
                                     struct nano_error *err)
{
    for (int i = 0; i < normalizer->num_steps; i++) {
        struct nano_buffer *buffer = &scratch->buffers[i & 1];
        buffer->num_bytes = 0;
        enum nano_status status =
            run_step(normalizer, &normalizer->steps[i], scratch, buffer, text, num_bytes, err);
        if (status != NANO_OK)
            return status;
        text = buffer->data ? buffer->data : "";
        num_bytes = buffer->num_bytes;
        if (num_bytes > INT32_MAX - 1)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "the normalized text has %zu bytes, expected less than 2 GiB",
                                  num_bytes);
    }
    *out = text;
    *out_bytes = num_bytes;
    return NANO_OK;
}
