/* Characters: binary search in generated tables. */
#include "chat/unicode.h"

#include <stddef.h>
#include <stdlib.h>

#include "chat/unicode_tables.h"

#define COUNT(table) (sizeof(table) / sizeof *(table))

/* Of bsearch: both kinds of entries begin with a range. */
static int compare_to_range(const void *key, const void *entry)
{
    const uint32_t c = *(const uint32_t *)key;
    const struct unicode_range *range = entry;
    return c < range->first ? -1 : c > range->last;
}

static bool in_ranges(const struct unicode_range *ranges, size_t num, uint32_t c)
{
    return bsearch(&c, ranges, num, sizeof *ranges, compare_to_range) != NULL;
}

static uint32_t map_case(const struct unicode_case *cases, size_t num, uint32_t c)
{
    const struct unicode_case *found = bsearch(&c, cases, num, sizeof *cases, compare_to_range);
    if (!found || (c - found->range.first) % found->stride != 0)
        return c;
    return (uint32_t)((int32_t)c + found->distance);
}

static const uint32_t *find_special(const struct unicode_special *specials, size_t num, uint32_t c)
{
    for (size_t i = 0; i < num && specials[i].codepoint <= c; i++)
        if (specials[i].codepoint == c)
            return specials[i].to;
    return NULL;
}

static bool between(uint32_t c, uint32_t first, uint32_t last)
{
    return c >= first && c <= last;
}

bool nano_unicode_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || between(c, 9, 13) || between(c, 0x1C, 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || between(c, 0x2000, 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool nano_unicode_is_line_end(uint32_t c)
{
    return between(c, 10, 13) || between(c, 0x1C, 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool nano_unicode_is_printable(uint32_t c)
{
    if (c < 0x7F)
        return c >= 0x20;
    return !in_ranges(not_printable, COUNT(not_printable), c);
}

bool nano_unicode_is_alpha(uint32_t c)
{
    if (c < 0x80)
        return between(c | 0x20, 'a', 'z');
    return in_ranges(alphabetic, COUNT(alphabetic), c);
}

bool nano_unicode_is_decimal(uint32_t c)
{
    if (c < 0x80)
        return between(c, '0', '9');
    return in_ranges(decimal, COUNT(decimal), c);
}

/* Digits come in runs from 0 to 9. */
uint32_t nano_unicode_decimal_value(uint32_t c)
{
    for (size_t i = 0; i < COUNT(decimal); i++)
        if (between(c, decimal[i].first, decimal[i].last))
            return (c - decimal[i].first) % 10;
    return 0;
}

bool nano_unicode_is_lower(uint32_t c)
{
    uint32_t out[3];
    return nano_unicode_to_case(c, NANO_CASE_UPPER, out) > 1 || out[0] != c;
}

bool nano_unicode_is_upper(uint32_t c)
{
    uint32_t out[3];
    return nano_unicode_to_case(c, NANO_CASE_LOWER, out) > 1 || out[0] != c;
}

static int copy_special(const uint32_t *special, enum nano_case which, uint32_t out[3])
{
    int num = 0;
    for (; num < 3 && special[num]; num++) {
        uint32_t rest[3];
        out[num] = special[num];
        if (which == NANO_CASE_TITLE && num > 0) {
            nano_unicode_to_case(special[num], NANO_CASE_LOWER, rest);
            out[num] = rest[0];
        }
    }
    return num;
}

int nano_unicode_to_case(uint32_t c, enum nano_case which, uint32_t out[3])
{
    bool lower = which == NANO_CASE_LOWER || which == NANO_CASE_FOLD;
    out[0] = c;
    if (c < 0x80) {
        if (lower ? between(c, 'A', 'Z') : between(c, 'a', 'z'))
            out[0] = c ^ 0x20;
        return 1;
    }
    const uint32_t *special =
        which == NANO_CASE_LOWER  ? find_special(special_lower, COUNT(special_lower), c)
        : which == NANO_CASE_FOLD ? find_special(special_fold, COUNT(special_fold), c)
                                  : find_special(special_upper, COUNT(special_upper), c);
    if (special)
        return copy_special(special, which, out);
    out[0] =
        lower ? map_case(to_lower, COUNT(to_lower), c) : map_case(to_upper, COUNT(to_upper), c);
    return 1;
}
