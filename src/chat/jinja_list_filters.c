/* Filters over lists and mappings. */
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "chat/jinja.h"
#include "chat/unicode.h"

#define FILTER(name)                                                            \
    static struct nano_value name(struct nano_jinja *j, struct nano_value self, \
                                  const struct nano_value *p, const struct nano_args *args)
#define UNUSED (void)j, (void)self, (void)p, (void)args

static bool absent(struct nano_value v)
{
    return v.kind == NANO_MISSING || v.kind == NANO_NONE;
}

/* ---- Keys: the attribute of an item, perhaps without its case -------------------------------- */

static bool is_number(const char *s, size_t num_bytes)
{
    for (size_t i = 0; i < num_bytes; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return num_bytes > 0;
}

/* item.a.0.b for "a.0.b" */
static struct nano_value path_item(struct nano_jinja *j, struct nano_value item, const char *s,
                                   size_t num_bytes)
{
    for (size_t at = 0; at <= num_bytes;) {
        const char *dot = memchr(s + at, '.', num_bytes - at);
        size_t end = dot ? (size_t)(dot - s) : num_bytes;
        struct nano_value key = is_number(s + at, end - at)
                                    ? nano_jinja_parse_int(j, s + at, end - at, 10)
                                    : nano_value_borrow(j, s + at, end - at);
        item = nano_value_item(j, item, key);
        at = end + 1;
    }
    return item;
}

struct nano_value nano_jinja_path(struct nano_jinja *j, struct nano_value item,
                                  struct nano_value path)
{
    if (absent(path))
        return item;
    if (path.kind == NANO_STR)
        return path_item(j, item, path.str->s, path.str->num_bytes);
    return nano_value_item(j, item, path);
}

static struct nano_value without_case(struct nano_jinja *j, struct nano_value v, bool ignore_case)
{
    return ignore_case && v.kind == NANO_STR ? nano_str_case(j, v.str, NANO_STR_LOWER) : v;
}

static struct nano_value key_of(struct nano_jinja *j, struct nano_value item,
                                struct nano_value path, bool ignore_case)
{
    return without_case(j, nano_jinja_path(j, item, path), ignore_case);
}

/* ---- Sorting --------------------------------------------------------------------------------- */

struct keyed {
    struct nano_value key, item;
};

static void merge(struct nano_jinja *j, const struct keyed *from, struct keyed *to, size_t low,
                  size_t middle, size_t high, bool reverse)
{
    size_t a = low, b = middle;
    for (size_t i = low; i < high; i++) {
        bool take_b = a == middle;
        if (!take_b && b < high)
            take_b = reverse ? nano_value_compare(j, from[a].key, from[b].key, "<") == -1
                             : nano_value_compare(j, from[b].key, from[a].key, "<") == -1;
        to[i] = take_b ? from[b++] : from[a++];
    }
}

/* Stable, also in reverse. */
static struct nano_value sorted(struct nano_jinja *j, struct keyed *items, size_t num, bool reverse)
{
    struct keyed *other = nano_jinja_alloc(j, num, sizeof *other);
    for (size_t width = 1; width < num; width *= 2) {
        for (size_t low = 0; low < num; low += 2 * width) {
            size_t middle = low + width < num ? low + width : num;
            size_t high = low + 2 * width < num ? low + 2 * width : num;
            merge(j, items, other, low, middle, high, reverse);
        }
        struct keyed *swap = items;
        items = other;
        other = swap;
    }
    struct nano_value list = nano_value_list(j, NANO_LIST, num);
    for (size_t i = 0; i < num; i++)
        list.list->items[i] = items[i].item;
    return list;
}

/* The attributes, separated by commas, as a list: lists compare what differs in them, so that equal
 * keys without an order, undefined ones too, are fine. */
static struct nano_value sort_key(struct nano_jinja *j, struct nano_value item,
                                  struct nano_value path, bool ignore_case)
{
    size_t num = 1, at = 0;
    for (size_t i = 0; path.kind == NANO_STR && i < path.str->num_bytes; i++)
        num += path.str->s[i] == ',';
    struct nano_value keys = nano_value_list(j, NANO_LIST, num);
    if (path.kind != NANO_STR) {
        keys.list->items[0] = key_of(j, item, path, ignore_case);
        return keys;
    }
    for (size_t i = 0; i < num; i++) {
        const char *s = path.str->s + at, *comma = memchr(s, ',', path.str->num_bytes - at);
        size_t length = comma ? (size_t)(comma - s) : path.str->num_bytes - at;
        keys.list->items[i] = without_case(j, path_item(j, item, s, length), ignore_case);
        at += length + 1;
    }
    return keys;
}

static struct nano_value sort_items(struct nano_jinja *j, struct nano_list list,
                                    struct nano_value path, bool ignore_case, bool reverse)
{
    struct keyed *items = nano_jinja_alloc(j, list.num, sizeof *items);
    for (size_t i = 0; i < list.num; i++)
        items[i] = (struct keyed){sort_key(j, list.items[i], path, ignore_case), list.items[i]};
    return sorted(j, items, list.num, reverse);
}

FILTER(do_sort)
{
    UNUSED;
    return sort_items(j, nano_value_items(j, self), p[2], !nano_value_truth(j, p[1]),
                      nano_value_truth(j, p[0]));
}

FILTER(do_dictsort)
{
    UNUSED;
    bool by_value = nano_value_is_str(p[1], "value");
    if (p[1].kind != NANO_MISSING && !by_value && !nano_value_is_str(p[1], "key"))
        nano_jinja_fail(j, "dictsort: by must be \"key\" or \"value\"");
    if (self.kind == NANO_UNDEFINED)
        nano_jinja_fail(j, "%s", self.undefined ? self.undefined->why : "undefined");
    if (self.kind != NANO_DICT)
        nano_jinja_fail(j, "dictsort: expected a mapping, got '%s'", nano_value_type(self));
    struct nano_view view = {self.dict, NANO_VIEW_ITEMS};
    struct nano_list pairs =
        nano_value_items(j, (struct nano_value){.kind = NANO_VIEW, .view = &view});
    struct keyed *items = nano_jinja_alloc(j, pairs.num, sizeof *items);
    for (size_t i = 0; i < pairs.num; i++)
        items[i] = (struct keyed){
            without_case(j, pairs.items[i].list->items[by_value], !nano_value_truth(j, p[0])),
            pairs.items[i]};
    return sorted(j, items, pairs.num, nano_value_truth(j, p[2]));
}

FILTER(do_unique)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    struct nano_value seen = nano_dict_create(j, list.num);
    struct nano_value kept = nano_value_list(j, NANO_LIST, list.num);
    size_t num = 0;
    for (size_t i = 0; i < list.num; i++) {
        struct nano_value key = key_of(j, list.items[i], p[1], !nano_value_truth(j, p[0]));
        if (nano_dict_find(j, seen.dict, key))
            continue;
        nano_dict_set(j, seen.dict, key, nano_value_none());
        kept.list->items[num++] = list.items[i];
    }
    return nano_value_iter(j, "generator", kept.list->items, num);
}

static struct nano_value extreme(struct nano_jinja *j, struct nano_value self,
                                 const struct nano_value *p, int sign)
{
    struct nano_list list = nano_value_items(j, self);
    bool ignore_case = !nano_value_truth(j, p[0]);
    if (list.num == 0)
        return nano_value_undefined(j, "no aggregated item, the sequence was empty");
    struct nano_value best = list.items[0], best_key = key_of(j, best, p[1], ignore_case);
    for (size_t i = 1; i < list.num; i++) {
        struct nano_value key = key_of(j, list.items[i], p[1], ignore_case);
        if (nano_value_compare(j, key, best_key, sign < 0 ? "<" : ">") == sign) {
            best = list.items[i];
            best_key = key;
        }
    }
    return best;
}

FILTER(do_min)
{
    UNUSED;
    return extreme(j, self, p, -1);
}

FILTER(do_max)
{
    UNUSED;
    return extreme(j, self, p, 1);
}

FILTER(do_groupby)
{
    UNUSED;
    bool ignore_case = !nano_value_truth(j, p[2]);
    struct nano_list all = nano_value_items(j, self);
    struct keyed *items = nano_jinja_alloc(j, all.num, sizeof *items);
    for (size_t i = 0; i < all.num; i++) {
        struct nano_value key = nano_jinja_path(j, all.items[i], p[0]);
        if (key.kind == NANO_UNDEFINED && p[1].kind != NANO_MISSING)
            key = p[1];
        items[i] = (struct keyed){without_case(j, key, ignore_case),
                                  nano_value_pair(j, key, all.items[i])};
    }
    struct nano_list pairs = *sorted(j, items, all.num, false).list;
    struct nano_value groups = nano_value_list(j, NANO_LIST, all.num);
    size_t num = 0, from = 0;
    for (size_t i = 1; i <= pairs.num; i++) {
        struct nano_value key = without_case(j, pairs.items[from].list->items[0], ignore_case);
        if (i < pairs.num &&
            nano_value_equal(j, key, without_case(j, pairs.items[i].list->items[0], ignore_case)))
            continue;
        struct nano_value group = nano_value_list(j, NANO_LIST, i - from);
        for (size_t k = from; k < i; k++)
            group.list->items[k - from] = pairs.items[k].list->items[1];
        groups.list->items[num++] = nano_value_pair(j, pairs.items[from].list->items[0], group);
        from = i;
    }
    groups.list->num = num;
    return groups;
}

/* ---- Taking apart and together --------------------------------------------------------------- */

FILTER(do_length)
{
    UNUSED;
    size_t length = nano_value_length(j, self);
    if (length == SIZE_MAX)
        nano_jinja_fail(j, "object of type '%s' has no length", nano_value_type(self));
    return nano_value_int((int64_t)length);
}

FILTER(do_default)
{
    UNUSED;
    bool replace =
        self.kind == NANO_UNDEFINED || (nano_value_truth(j, p[1]) && !nano_value_truth(j, self));
    return !replace ? self : p[0].kind == NANO_MISSING ? nano_value_borrow(j, "", 0) : p[0];
}

FILTER(do_join)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    struct nano_value separator =
        p[0].kind == NANO_MISSING ? nano_value_borrow(j, "", 0) : nano_value_to_str(j, p[0]);
    size_t from = j->out_bytes;
    for (size_t i = 0; i < list.num; i++) {
        if (i)
            nano_jinja_write(j, separator.str->s, separator.str->num_bytes);
        nano_value_print(j, nano_jinja_path(j, list.items[i], p[1]));
    }
    return nano_jinja_take(j, from);
}

FILTER(do_first)
{
    UNUSED;
    if (self.kind == NANO_ITER && self.iter->pos < self.iter->num)
        return self.iter->items[self.iter->pos++];
    struct nano_list list = nano_value_items(j, self);
    return list.num ? list.items[0]
                    : nano_value_undefined(j, "no first item, the sequence was empty");
}

static void need_reversible(struct nano_jinja *j, struct nano_value v)
{
    if (v.kind == NANO_ITER || v.kind == NANO_LOOP || !nano_value_is_iterable(v))
        nano_jinja_fail(j, "'%s' object is not reversible", nano_value_type(v));
}

FILTER(do_last)
{
    UNUSED;
    need_reversible(j, self);
    struct nano_list list = nano_value_items(j, self);
    return list.num ? list.items[list.num - 1]
                    : nano_value_undefined(j, "no last item, the sequence was empty");
}

FILTER(do_random)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    if (list.num == 0)
        return nano_value_undefined(j, "no random item, the sequence was empty");
    j->random = (j->random ? j->random : nano_os_random_seed()) * 6364136223846793005u + 1;
    return list.items[(j->random >> 33) % list.num];
}

FILTER(do_list)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    struct nano_value copy = nano_value_list(j, NANO_LIST, list.num);
    if (list.num)
        memcpy(copy.list->items, list.items, list.num * sizeof self);
    return copy;
}

FILTER(do_reverse)
{
    UNUSED;
    const struct nano_value backwards[3] = {nano_value_none(), nano_value_none(),
                                            nano_value_int(-1)};
    if (self.kind == NANO_STR)
        return nano_value_slice(j, self, backwards);
    if (!nano_value_is_iterable(self))
        nano_jinja_fail(j, "reverse: expected something iterable, got '%s'", nano_value_type(self));
    struct nano_list list = nano_value_items(j, self);
    struct nano_value copy = nano_value_list(j, NANO_LIST, list.num);
    for (size_t i = 0; i < list.num; i++)
        copy.list->items[i] = list.items[list.num - 1 - i];
    return nano_value_iter(j, "list_reverseiterator", copy.list->items, list.num);
}

FILTER(do_items)
{
    UNUSED;
    if (self.kind == NANO_UNDEFINED)
        return nano_value_iter(j, "generator", NULL, 0);
    if (self.kind != NANO_DICT)
        nano_jinja_fail(j, "items: expected a mapping, got '%s'", nano_value_type(self));
    struct nano_view view = {self.dict, NANO_VIEW_ITEMS};
    struct nano_list list =
        nano_value_items(j, (struct nano_value){.kind = NANO_VIEW, .view = &view});
    return nano_value_iter(j, "generator", list.items, list.num);
}

FILTER(do_sum)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    struct nano_value sum = p[1].kind == NANO_MISSING ? nano_value_int(0) : p[1];
    if (sum.kind == NANO_STR)
        nano_jinja_fail(j, "sum: strings cannot be summed, use join");
    for (size_t i = 0; i < list.num; i++)
        sum = nano_value_binary(j, '+', sum, nano_jinja_path(j, list.items[i], p[0]));
    return sum;
}

static int64_t need_positive(struct nano_jinja *j, struct nano_value v, const char *what)
{
    int64_t num = nano_value_to_int(j, v, what);
    if (num < 1 || num > 1000000)
        nano_jinja_fail(j, "%s: expected a positive number", what);
    return num;
}

FILTER(do_batch)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    size_t size = (size_t)need_positive(j, p[0], "batch"), num = (list.num + size - 1) / size;
    struct nano_value batches = nano_value_list(j, NANO_LIST, num);
    for (size_t i = 0; i < num; i++) {
        size_t left = list.num - i * size, have = left < size ? left : size;
        struct nano_value batch = nano_value_list(j, NANO_LIST, absent(p[1]) ? have : size);
        for (size_t k = 0; k < batch.list->num; k++)
            batch.list->items[k] = k < have ? list.items[i * size + k] : p[1];
        batches.list->items[i] = batch;
    }
    return nano_value_iter(j, "generator", batches.list->items, num);
}

FILTER(do_slice)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    size_t num = (size_t)need_positive(j, p[0], "slice"), at = 0;
    struct nano_value slices = nano_value_list(j, NANO_LIST, num);
    for (size_t i = 0; i < num; i++) {
        size_t have = list.num / num + (i < list.num % num);
        bool fill = !absent(p[1]) && i >= list.num % num;
        struct nano_value slice = nano_value_list(j, NANO_LIST, have + fill);
        for (size_t k = 0; k < have; k++)
            slice.list->items[k] = list.items[at++];
        if (fill)
            slice.list->items[have] = p[1];
        slices.list->items[i] = slice;
    }
    return nano_value_iter(j, "generator", slices.list->items, num);
}

FILTER(do_attr)
{
    UNUSED;
    struct nano_value name = nano_value_to_str(j, p[0]);
    if (self.kind == NANO_DICT) { /* no items, only attributes */
        struct nano_value empty = nano_dict_create(j, 0);
        struct nano_value found = nano_value_attribute(j, empty, name.str);
        return found.kind == NANO_METHOD ? nano_value_attribute(j, self, name.str) : found;
    }
    return nano_value_attribute(j, self, name.str);
}

/* On one line, however long, with the keys of the outermost mapping in order. */
FILTER(do_pprint)
{
    UNUSED;
    size_t from = j->out_bytes;
    if (self.kind == NANO_DICT) {
        struct nano_list keys = nano_value_items(j, self);
        keys = *sort_items(j, keys, nano_value_none(), false, false).list;
        struct nano_value dict = nano_dict_create(j, keys.num);
        for (size_t i = 0; i < keys.num; i++)
            nano_dict_set(j, dict.dict, keys.items[i],
                          *nano_dict_find(j, self.dict, keys.items[i]));
        self = dict;
    }
    nano_value_repr(j, self);
    return nano_jinja_take(j, from);
}

const struct nano_function nano_list_filters[] = {
    {"length", "", do_length},
    {"count", "", do_length},
    {"default", "default_value? boolean?", do_default},
    {"d", "default_value? boolean?", do_default},
    {"join", "d? attribute?", do_join},
    {"list", "", do_list},
    {"items", "", do_items},
    {"first", "", do_first},
    {"last", "", do_last},
    {"random", "", do_random},
    {"reverse", "", do_reverse},
    {"sort", "reverse? case_sensitive? attribute?", do_sort},
    {"dictsort", "case_sensitive? by? reverse?", do_dictsort},
    {"unique", "case_sensitive? attribute?", do_unique},
    {"min", "case_sensitive? attribute?", do_min},
    {"max", "case_sensitive? attribute?", do_max},
    {"groupby", "attribute default? case_sensitive?", do_groupby},
    {"sum", "attribute? start?", do_sum},
    {"batch", "linecount fill_with?", do_batch},
    {"slice", "slices fill_with?", do_slice},
    {"attr", "name", do_attr},
    {"pprint", "", do_pprint},
};
const size_t nano_num_list_filters = sizeof nano_list_filters / sizeof *nano_list_filters;
