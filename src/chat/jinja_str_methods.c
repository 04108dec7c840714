/* Methods of strings: searching, splitting, joining. */
#include <string.h>

#include "base/utf8.h"
#include "chat/jinja.h"
#include "chat/unicode.h"

#define METHOD(name)                                                            \
    static struct nano_value name(struct nano_jinja *j, struct nano_value self, \
                                  const struct nano_value *p, const struct nano_args *args)
#define UNUSED (void)j, (void)self, (void)p, (void)args

static const struct nano_str *need_str(struct nano_jinja *j, struct nano_value v, const char *what)
{
    if (v.kind != NANO_STR)
        nano_jinja_fail(j, "%s: expected a string, got '%s'", what, nano_value_type(v));
    return v.str;
}

static bool absent(struct nano_value v)
{
    return v.kind == NANO_MISSING || v.kind == NANO_NONE;
}

/* ---- Stripping and splitting ----------------------------------------------------------------- */

static struct nano_value strip(struct nano_jinja *j, struct nano_value self,
                               struct nano_value chars, unsigned sides)
{
    return nano_str_strip(j, self.str, sides, absent(chars) ? NULL : need_str(j, chars, "strip()"));
}

METHOD(str_strip)
{
    UNUSED;
    return strip(j, self, p[0], NANO_STRIP_LEFT | NANO_STRIP_RIGHT);
}

METHOD(str_lstrip)
{
    UNUSED;
    return strip(j, self, p[0], NANO_STRIP_LEFT);
}

METHOD(str_rstrip)
{
    UNUSED;
    return strip(j, self, p[0], NANO_STRIP_RIGHT);
}

struct parts { /* a list that is being made */
    struct nano_value *items;
    size_t num, capacity;
};

static void add_part(struct nano_jinja *j, struct parts *parts, struct nano_value part)
{
    if (parts->num == parts->capacity) {
        parts->capacity = parts->capacity ? parts->capacity * 2 : 8;
        struct nano_value *items = nano_jinja_alloc(j, parts->capacity, sizeof *items);
        if (parts->num)
            memcpy(items, parts->items, parts->num * sizeof *items);
        parts->items = items;
    }
    parts->items[parts->num++] = part;
}

static struct nano_value to_list(struct nano_jinja *j, struct parts parts, bool reverse)
{
    struct nano_value list = nano_value_list(j, NANO_LIST, parts.num);
    for (size_t i = 0; i < parts.num; i++)
        list.list->items[i] = parts.items[reverse ? parts.num - 1 - i : i];
    return list;
}

static const char *find_last(struct nano_jinja *j, const char *s, size_t num_bytes,
                             const struct nano_str *part)
{
    for (size_t i = num_bytes - (part->num_bytes <= num_bytes ? part->num_bytes : num_bytes) + 1;
         part->num_bytes <= num_bytes && i-- > 0;) {
        nano_jinja_step(j, i % 64 == 0 ? 1 + part->num_bytes / 64 : 0);
        if (memcmp(s + i, part->s, part->num_bytes) == 0)
            return s + i;
    }
    return NULL;
}

static struct nano_value split_at(struct nano_jinja *j, const struct nano_str *str,
                                  const struct nano_str *separator, int64_t max, bool from_right)
{
    struct parts parts = {0};
    size_t from = 0, to = str->num_bytes;
    if (separator->num_bytes == 0)
        nano_jinja_fail(j, "split(): empty separator");
    nano_jinja_step(j, str->num_bytes / 64);
    while (max < 0 || (int64_t)parts.num < max) {
        const char *found = from_right ? find_last(j, str->s + from, to - from, separator)
                                       : nano_str_find(j, str->s + from, to - from, separator->s,
                                                       separator->num_bytes);
        if (!found)
            break;
        size_t at = (size_t)(found - str->s), end = at + separator->num_bytes;
        add_part(j, &parts,
                 from_right ? nano_str_range(j, str, end, to) : nano_str_range(j, str, from, at));
        from = from_right ? from : end;
        to = from_right ? at : to;
    }
    add_part(j, &parts, nano_str_range(j, str, from, to));
    return to_list(j, parts, from_right);
}

/* The next word's range inside [from, to). */
static bool next_word(const struct nano_str *str, size_t *from, size_t *end, size_t to)
{
    bool inside = false;
    for (size_t i = *from; i < to;) {
        uint32_t c = 0;
        int num = nano_utf8_decode(str->s + i, to - i, &c);
        bool space = nano_unicode_is_space(c);
        if (!inside && !space) {
            *from = i;
            inside = true;
        } else if (inside && space) {
            *end = i;
            return true;
        }
        i += num > 0 ? (size_t)num : 1;
    }
    *end = to;
    return inside;
}

static struct nano_value split_words(struct nano_jinja *j, const struct nano_str *str, int64_t max)
{
    struct parts parts = {0};
    size_t from = 0, end;
    nano_jinja_step(j, str->num_bytes / 2);
    while (next_word(str, &from, &end, str->num_bytes)) {
        if (max >= 0 && (int64_t)parts.num >= max) {
            struct nano_value rest = nano_str_range(j, str, from, str->num_bytes);
            add_part(j, &parts, nano_str_strip(j, rest.str, NANO_STRIP_RIGHT, NULL));
            break;
        }
        add_part(j, &parts, nano_str_range(j, str, from, end));
        from = end;
    }
    return to_list(j, parts, false);
}

static struct nano_value rsplit_words(struct nano_jinja *j, const struct nano_str *str, int64_t max)
{
    struct nano_value words = split_words(j, str, -1);
    struct nano_list *list = words.list;
    if (max < 0 || list->num <= (size_t)max)
        return words;
    size_t first = list->num - (size_t)max - 1; /* the last word of the unsplit rest */
    struct nano_value rest = nano_str_strip(j, str, NANO_STRIP_LEFT, NULL);
    const struct nano_str *last = list->items[first].str;
    rest = nano_str_range(j, rest.str, 0, (size_t)(last->s - rest.str->s) + last->num_bytes);
    list->items[first] = rest;
    list->items += first;
    list->num -= first;
    return words;
}

METHOD(str_split)
{
    UNUSED;
    int64_t max = p[1].kind == NANO_MISSING ? -1 : nano_value_to_int(j, p[1], "split()");
    return absent(p[0]) ? split_words(j, self.str, max)
                        : split_at(j, self.str, need_str(j, p[0], "split()"), max, false);
}

METHOD(str_rsplit)
{
    UNUSED;
    int64_t max = p[1].kind == NANO_MISSING ? -1 : nano_value_to_int(j, p[1], "rsplit()");
    return absent(p[0]) ? rsplit_words(j, self.str, max)
                        : split_at(j, self.str, need_str(j, p[0], "rsplit()"), max, true);
}

METHOD(str_splitlines)
{
    UNUSED;
    return nano_str_lines(j, self.str, nano_value_truth(j, p[0]));
}

static struct nano_value partition(struct nano_jinja *j, struct nano_value self,
                                   struct nano_value separator, bool from_right)
{
    const struct nano_str *str = self.str, *part = need_str(j, separator, "partition()");
    struct nano_value tuple = nano_value_list(j, NANO_TUPLE, 3);
    if (part->num_bytes == 0)
        nano_jinja_fail(j, "partition(): empty separator");
    nano_jinja_step(j, str->num_bytes / 64);
    const char *found = from_right
                            ? find_last(j, str->s, str->num_bytes, part)
                            : nano_str_find(j, str->s, str->num_bytes, part->s, part->num_bytes);
    size_t at = found ? (size_t)(found - str->s) : from_right ? 0 : str->num_bytes;
    size_t end = found ? at + part->num_bytes : at;
    tuple.list->items[0] = nano_str_range(j, str, 0, at);
    tuple.list->items[1] = nano_str_range(j, str, at, end);
    tuple.list->items[2] = nano_str_range(j, str, end, str->num_bytes);
    return tuple;
}

METHOD(str_partition)
{
    UNUSED;
    return partition(j, self, p[0], false);
}

METHOD(str_rpartition)
{
    UNUSED;
    return partition(j, self, p[0], true);
}

/* ---- Searching ------------------------------------------------------------------------------- */

/* The part of the string between the characters start and end, as in find(sub, start, end). False
 * if start lies behind its end. */
static bool window(struct nano_jinja *j, struct nano_value self, const struct nano_value *bounds,
                   size_t *from, size_t *to)
{
    int64_t length = (int64_t)nano_str_chars(self.str), at[2] = {0, length};
    for (int i = 0; i < 2; i++) {
        if (absent(bounds[i]))
            continue;
        at[i] = nano_value_to_int(j, bounds[i], "a position");
        if (at[i] < 0)
            at[i] = at[i] < -length ? 0 : at[i] + length;
        if (i == 1 && at[i] > length)
            at[i] = length;
    }
    if (at[0] > length || at[0] > at[1])
        return false;
    nano_jinja_step(j, self.str->num_bytes / 64);
    *from = nano_str_offset(self.str, (size_t)at[0]);
    *to = nano_str_offset(self.str, (size_t)at[1]);
    return true;
}

static int64_t find(struct nano_jinja *j, struct nano_value self, const struct nano_value *p,
                    bool last)
{
    const struct nano_str *str = self.str, *part = need_str(j, p[0], "find()");
    size_t from, to;
    if (!window(j, self, p + 1, &from, &to))
        return -1;
    const char *found = last ? find_last(j, str->s + from, to - from, part)
                             : nano_str_find(j, str->s + from, to - from, part->s, part->num_bytes);
    if (!found)
        return -1;
    struct nano_str before = {str->s, (size_t)(found - str->s), SIZE_MAX, false};
    return (int64_t)nano_str_chars(&before);
}

METHOD(str_find)
{
    UNUSED;
    return nano_value_int(find(j, self, p, false));
}

METHOD(str_rfind)
{
    UNUSED;
    return nano_value_int(find(j, self, p, true));
}

METHOD(str_index)
{
    UNUSED;
    int64_t at = find(j, self, p, false);
    if (at < 0)
        nano_jinja_fail(j, "index(): substring not found");
    return nano_value_int(at);
}

METHOD(str_rindex)
{
    UNUSED;
    int64_t at = find(j, self, p, true);
    if (at < 0)
        nano_jinja_fail(j, "rindex(): substring not found");
    return nano_value_int(at);
}

METHOD(str_count)
{
    UNUSED;
    const struct nano_str *str = self.str, *part = need_str(j, p[0], "count()");
    size_t from, to;
    int64_t num = 0;
    if (!window(j, self, p + 1, &from, &to))
        return nano_value_int(0);
    if (part->num_bytes == 0) {
        struct nano_str inside = {str->s + from, to - from, SIZE_MAX, false};
        return nano_value_int((int64_t)nano_str_chars(&inside) + 1);
    }
    for (const char *found;
         (found = nano_str_find(j, str->s + from, to - from, part->s, part->num_bytes)) != NULL;
         num++)
        from = (size_t)(found - str->s) + part->num_bytes;
    return nano_value_int(num);
}

static bool has_affix(const char *s, size_t num_bytes, const struct nano_str *affix, bool at_end)
{
    return affix->num_bytes <= num_bytes &&
           memcmp(s + (at_end ? num_bytes - affix->num_bytes : 0), affix->s, affix->num_bytes) == 0;
}

static struct nano_value has_affixes(struct nano_jinja *j, struct nano_value self,
                                     const struct nano_value *p, bool at_end)
{
    const char *what = at_end ? "endswith()" : "startswith()";
    size_t from, to;
    bool result = false, inside = window(j, self, p + 1, &from, &to);
    size_t num = p[0].kind == NANO_TUPLE ? p[0].list->num : 1;
    for (size_t i = 0; i < num; i++) {
        struct nano_value affix = p[0].kind == NANO_TUPLE ? p[0].list->items[i] : p[0];
        const struct nano_str *str = need_str(j, affix, what);
        result |= inside && has_affix(self.str->s + from, to - from, str, at_end);
    }
    return nano_value_bool(result);
}

METHOD(str_startswith)
{
    UNUSED;
    return has_affixes(j, self, p, false);
}

METHOD(str_endswith)
{
    UNUSED;
    return has_affixes(j, self, p, true);
}

METHOD(str_removeprefix)
{
    UNUSED;
    const struct nano_str *affix = need_str(j, p[0], "removeprefix()");
    if (!has_affix(self.str->s, self.str->num_bytes, affix, false))
        return self;
    return nano_str_range(j, self.str, affix->num_bytes, self.str->num_bytes);
}

METHOD(str_removesuffix)
{
    UNUSED;
    const struct nano_str *affix = need_str(j, p[0], "removesuffix()");
    if (!has_affix(self.str->s, self.str->num_bytes, affix, true))
        return self;
    return nano_str_range(j, self.str, 0, self.str->num_bytes - affix->num_bytes);
}

METHOD(str_replace)
{
    UNUSED;
    const struct nano_str *old = need_str(j, p[0], "replace()");
    int64_t max = p[2].kind == NANO_MISSING ? -1 : nano_value_to_int(j, p[2], "replace()");
    return nano_str_replace(j, self.str, old, need_str(j, p[1], "replace()"), max);
}

METHOD(str_join)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, p[0]);
    size_t from = j->out_bytes;
    for (size_t i = 0; i < list.num; i++) {
        const struct nano_str *item = need_str(j, list.items[i], "join()");
        if (i)
            nano_jinja_write(j, self.str->s, self.str->num_bytes);
        nano_jinja_write(j, item->s, item->num_bytes);
    }
    return nano_jinja_take(j, from);
}

const struct nano_function nano_str_methods[] = {
    {"strip", "/chars?", str_strip},
    {"lstrip", "/chars?", str_lstrip},
    {"rstrip", "/chars?", str_rstrip},
    {"split", "sep? maxsplit?", str_split},
    {"rsplit", "sep? maxsplit?", str_rsplit},
    {"splitlines", "keepends?", str_splitlines},
    {"partition", "/sep", str_partition},
    {"rpartition", "/sep", str_rpartition},
    {"startswith", "/prefix start? end?", str_startswith},
    {"endswith", "/suffix start? end?", str_endswith},
    {"removeprefix", "/prefix", str_removeprefix},
    {"removesuffix", "/suffix", str_removesuffix},
    {"find", "/sub start? end?", str_find},
    {"rfind", "/sub start? end?", str_rfind},
    {"index", "/sub start? end?", str_index},
    {"rindex", "/sub start? end?", str_rindex},
    {"count", "/sub start? end?", str_count},
    {"replace", "/old new count?", str_replace},
    {"join", "/iterable", str_join},
};
const size_t nano_num_str_methods = sizeof nano_str_methods / sizeof *nano_str_methods;
