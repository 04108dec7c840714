/* Strings: characters, slices, stripping, case. */
#include <string.h>

#include "base/utf8.h"
#include "chat/jinja.h"
#include "chat/unicode.h"

static bool is_first_byte(char c)
{
    return ((unsigned char)c & 0xC0) != 0x80;
}

size_t nano_str_chars(struct nano_str *str)
{
    if (str->num_chars == SIZE_MAX) {
        size_t num = 0;
        for (size_t i = 0; i < str->num_bytes; i++)
            num += is_first_byte(str->s[i]);
        str->num_chars = num;
    }
    return str->num_chars;
}

size_t nano_str_offset(const struct nano_str *str, size_t index)
{
    if (str->num_chars == str->num_bytes)
        return index;
    size_t i = 0;
    for (; i < str->num_bytes; i++)
        if (is_first_byte(str->s[i]) && index-- == 0)
            break;
    return i;
}

struct nano_value nano_str_range(struct nano_jinja *j, const struct nano_str *str, size_t from,
                                 size_t to)
{
    struct nano_value part = nano_value_borrow(j, str->s + from, to - from);
    part.str->is_markup = str->is_markup;
    return part;
}

struct nano_value nano_str_slice(struct nano_jinja *j, const struct nano_str *str, size_t first,
                                 size_t last)
{
    nano_jinja_step(j, str->num_chars == str->num_bytes ? 0 : str->num_bytes / 64);
    size_t from = nano_str_offset(str, first);
    return nano_str_range(j, str, from, nano_str_offset(str, last));
}

static bool strips(struct nano_jinja *j, uint32_t c, const char *bytes, size_t num_bytes,
                   const struct nano_str *chars)
{
    return chars ? nano_str_find(j, chars->s, chars->num_bytes, bytes, num_bytes) != NULL
                 : nano_unicode_is_space(c);
}

struct nano_value nano_str_strip(struct nano_jinja *j, const struct nano_str *str, unsigned sides,
                                 const struct nano_str *chars)
{
    size_t from = 0, to = str->num_bytes;
    uint32_t c = 0;
    uint64_t cost = 1 + (chars ? chars->num_bytes / 64 : 0);
    while ((sides & NANO_STRIP_LEFT) && from < to) {
        nano_jinja_step(j, cost);
        size_t num = (size_t)nano_utf8_decode(str->s + from, to - from, &c);
        if (num == 0 || !strips(j, c, str->s + from, num, chars))
            break;
        from += num;
    }
    while ((sides & NANO_STRIP_RIGHT) && from < to) {
        nano_jinja_step(j, cost);
        size_t start = to - 1;
        while (start > from && !is_first_byte(str->s[start]))
            start--;
        if (nano_utf8_decode(str->s + start, to - start, &c) == 0 ||
            !strips(j, c, str->s + start, to - start, chars))
            break;
        to = start;
    }
    return nano_str_range(j, str, from, to);
}

/* The callers pay for the text, this for the comparisons, of which a hostile text makes many. */
const char *nano_str_find(struct nano_jinja *j, const char *s, size_t num_bytes, const char *part,
                          size_t part_bytes)
{
    if (part_bytes == 0)
        return s;
    const char *end = s + num_bytes;
    while ((size_t)(end - s) >= part_bytes) {
        s = memchr(s, part[0], (size_t)(end - s) - part_bytes + 1);
        if (!s)
            return NULL;
        nano_jinja_step(j, 1);
        if (s[part_bytes - 1] == part[part_bytes - 1]) {
            nano_jinja_step(j, part_bytes / 64);
            if (memcmp(s, part, part_bytes) == 0)
                return s;
        }
        s++;
    }
    return NULL;
}

static void write_case(struct nano_jinja *j, uint32_t c, enum nano_case which)
{
    uint32_t out[3];
    int num = nano_unicode_to_case(c, which, out);
    for (int i = 0; i < num; i++)
        nano_jinja_write_char(j, out[i]);
}

static bool is_cased(uint32_t c)
{
    return nano_unicode_is_lower(c) || nano_unicode_is_upper(c);
}

/* The sigma at byte `at` is the last letter of a word of several. */
static bool ends_word(const struct nano_str *str, size_t at)
{
    uint32_t before = 0, behind = 0;
    size_t start = at > 0 ? at - 1 : 0;
    while (start > 0 && !is_first_byte(str->s[start]))
        start--;
    nano_utf8_decode(str->s + start, at - start, &before);
    nano_utf8_decode(str->s + at + 2, str->num_bytes - at - 2, &behind);
    return nano_unicode_is_alpha(before) && !nano_unicode_is_alpha(behind);
}

struct nano_value nano_str_case(struct nano_jinja *j, const struct nano_str *str,
                                enum nano_str_case which)
{
    size_t from = j->out_bytes;
    bool inside = false; /* a word */
    nano_jinja_step(j, str->num_bytes / 2);
    for (size_t i = 0; i < str->num_bytes;) {
        uint32_t c = 0;
        int num = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
        enum nano_case to = which == NANO_STR_UPPER                              ? NANO_CASE_UPPER
                            : which == NANO_STR_FOLD                             ? NANO_CASE_FOLD
                            : which == NANO_STR_LOWER || inside                  ? NANO_CASE_LOWER
                            : which == NANO_STR_SWAP && nano_unicode_is_lower(c) ? NANO_CASE_UPPER
                            : which == NANO_STR_SWAP                             ? NANO_CASE_LOWER
                                                                                 : NANO_CASE_TITLE;
        if (c == 0x3A3 && to == NANO_CASE_LOWER && ends_word(str, i))
            nano_jinja_write_char(j, 0x3C2);
        else
            write_case(j, c, to);
        inside = which == NANO_STR_CAPITALIZE || (which == NANO_STR_TITLE && is_cased(c));
        i += num > 0 ? (size_t)num : 1;
    }
    struct nano_value v = nano_jinja_take(j, from);
    v.str->is_markup = str->is_markup;
    return v;
}

struct nano_value nano_str_replace(struct nano_jinja *j, const struct nano_str *str,
                                   const struct nano_str *old, const struct nano_str *to,
                                   int64_t max)
{
    size_t from = j->out_bytes, i = 0;
    for (int64_t n = 0; max < 0 || n < max; n++) {
        const char *found =
            nano_str_find(j, str->s + i, str->num_bytes - i, old->s, old->num_bytes);
        nano_jinja_step(j, 1);
        if (!found)
            break;
        nano_jinja_write(j, str->s + i, (size_t)(found - str->s) - i);
        nano_jinja_write(j, to->s, to->num_bytes);
        i = (size_t)(found - str->s) + old->num_bytes;
        if (old->num_bytes > 0)
            continue;
        if (i >= str->num_bytes) { /* an empty one is found once between all characters */
            struct nano_value done = nano_jinja_take(j, from);
            return done;
        }
        size_t next = i + 1;
        while (next < str->num_bytes && !is_first_byte(str->s[next]))
            next++;
        nano_jinja_write(j, str->s + i, next - i);
        i = next;
    }
    nano_jinja_write(j, str->s + i, str->num_bytes - i);
    return nano_jinja_take(j, from);
}

struct nano_value nano_str_lines(struct nano_jinja *j, const struct nano_str *str, bool keep_ends)
{
    struct nano_value list = {0};
    for (int pass = 0; pass < 2; pass++) { /* the first one counts */
        size_t num = 0, start = 0;
        nano_jinja_step(j, str->num_bytes / 2);
        for (size_t i = 0; i < str->num_bytes;) {
            uint32_t c = 0;
            int length = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
            size_t end = i;
            i += length > 0 ? (size_t)length : 1;
            if (!nano_unicode_is_line_end(c) && i < str->num_bytes)
                continue;
            if (!nano_unicode_is_line_end(c))
                end = i;
            else if (c == '\r' && i < str->num_bytes && str->s[i] == '\n')
                i++;
            if (pass)
                list.list->items[num] = nano_str_range(j, str, start, keep_ends ? i : end);
            num++;
            start = i;
        }
        if (!pass)
            list = nano_value_list(j, NANO_LIST, num);
    }
    return list;
}
