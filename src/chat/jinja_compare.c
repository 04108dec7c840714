/* Comparing values: equality, order, membership, hashes. */
#include <math.h>
#include <string.h>

#include "chat/jinja.h"

static bool bytes_equal(struct nano_jinja *j, const struct nano_str *a, const struct nano_str *b)
{
    if (a->num_bytes != b->num_bytes)
        return false;
    nano_jinja_step(j, a->num_bytes / 64);
    return memcmp(a->s, b->s, a->num_bytes) == 0;
}

static bool dicts_equal(struct nano_jinja *j, const struct nano_dict *a, const struct nano_dict *b)
{
    if (a->num != b->num)
        return false;
    for (size_t i = 0; i < a->num; i++) {
        struct nano_value *other = nano_dict_find(j, b, a->entries[i].key);
        if (!other || !nano_value_equal(j, a->entries[i].value, *other))
            return false;
    }
    return true;
}

static bool lists_equal(struct nano_jinja *j, struct nano_list a, struct nano_list b)
{
    if (a.num != b.num)
        return false;
    for (size_t i = 0; i < a.num; i++)
        if (!nano_value_equal(j, a.items[i], b.items[i]))
            return false;
    return true;
}

/* Exactly, as Python compares an integer with a float. */
static int compare_int_float(int64_t i, double f)
{
    if (isnan(f))
        return 2;
    if (f >= 9223372036854775808.0)
        return -1;
    if (f < -9223372036854775808.0)
        return 1;
    double whole = floor(f);
    int64_t truncated = (int64_t)whole;
    if (i != truncated)
        return i < truncated ? -1 : 1;
    return whole < f ? -1 : 0;
}

/* -1, 0, 1, or 2 where one is no number. */
static int compare_numbers(struct nano_value a, struct nano_value b)
{
    if (a.kind == NANO_FLOAT && b.kind == NANO_FLOAT)
        return isnan(a.f) || isnan(b.f) ? 2 : (a.f > b.f) - (a.f < b.f);
    if (a.kind == NANO_FLOAT) {
        int order = compare_numbers(b, a);
        return order == 2 ? 2 : -order;
    }
    int64_t x = a.kind == NANO_BOOL ? a.b : a.i;
    if (b.kind == NANO_FLOAT)
        return compare_int_float(x, b.f);
    int64_t y = b.kind == NANO_BOOL ? b.b : b.i;
    return (x > y) - (x < y);
}

static bool same_kind_equal(struct nano_jinja *j, struct nano_value a, struct nano_value b)
{
    switch (a.kind) {
    case NANO_MISSING:
    case NANO_UNDEFINED:
    case NANO_NONE:
        return true;
    case NANO_STR:
    case NANO_BYTES:
    case NANO_BIG:
        return bytes_equal(j, a.str, b.str);
    case NANO_LIST:
    case NANO_TUPLE:
        return lists_equal(j, *a.list, *b.list);
    case NANO_DICT:
        return dicts_equal(j, a.dict, b.dict);
    case NANO_VIEW:
        return a.view->kind == b.view->kind && a.view->kind != NANO_VIEW_VALUES &&
               lists_equal(j, nano_value_items(j, a), nano_value_items(j, b));
    case NANO_RANGE:
        return a.range->num == b.range->num &&
               (a.range->num == 0 || a.range->start == b.range->start) &&
               (a.range->num < 2 || a.range->step == b.range->step);
    case NANO_METHOD:
        return a.method->function == b.method->function &&
               a.method->self.kind == b.method->self.kind &&
               a.method->self.str == b.method->self.str;
    default:
        return a.str == b.str;
    }
}

bool nano_value_equal(struct nano_jinja *j, struct nano_value a, struct nano_value b)
{
    nano_jinja_enter(j);
    bool equal = false;
    if (nano_value_is_number(a) && nano_value_is_number(b))
        equal = compare_numbers(a, b) == 0;
    else if (a.kind == b.kind)
        equal = same_kind_equal(j, a, b);
    j->depth--;
    return equal;
}

static int compare_bytes(struct nano_jinja *j, const struct nano_str *a, const struct nano_str *b)
{
    size_t num = a->num_bytes < b->num_bytes ? a->num_bytes : b->num_bytes;
    nano_jinja_step(j, num / 64);
    int order = memcmp(a->s, b->s, num); /* UTF-8 sorts as its code points */
    if (order == 0)
        return (a->num_bytes > b->num_bytes) - (a->num_bytes < b->num_bytes);
    return order < 0 ? -1 : 1;
}

static int compare_big(const struct nano_str *a, const struct nano_str *b)
{
    bool minus = a->s[0] == '-';
    if (minus != (b->s[0] == '-'))
        return minus ? -1 : 1;
    int order = a->num_bytes != b->num_bytes ? (a->num_bytes < b->num_bytes ? -1 : 1)
                                             : memcmp(a->s, b->s, a->num_bytes);
    return minus ? -order : order;
}

int nano_value_compare(struct nano_jinja *j, struct nano_value a, struct nano_value b,
                       const char *op)
{
    nano_jinja_step(j, 1);
    if (a.kind == NANO_UNDEFINED || b.kind == NANO_UNDEFINED) {
        struct nano_value v = a.kind == NANO_UNDEFINED ? a : b;
        nano_jinja_fail(j, "%s", v.undefined ? v.undefined->why : "undefined");
    }
    if (nano_value_is_number(a) && nano_value_is_number(b))
        return compare_numbers(a, b);
    if (a.kind == NANO_BIG && b.kind == NANO_BIG)
        return compare_big(a.str, b.str);
    if (a.kind == NANO_BIG && nano_value_is_number(b))
        return a.str->s[0] == '-' ? -1 : 1;
    if (b.kind == NANO_BIG && nano_value_is_number(a))
        return b.str->s[0] == '-' ? 1 : -1;
    if (a.kind == NANO_STR && b.kind == NANO_STR)
        return compare_bytes(j, a.str, b.str);
    if (a.kind == b.kind && (a.kind == NANO_LIST || a.kind == NANO_TUPLE)) {
        for (size_t i = 0; i < a.list->num && i < b.list->num; i++) {
            if (nano_value_equal(j, a.list->items[i], b.list->items[i]))
                continue;
            nano_jinja_enter(j);
            int order = nano_value_compare(j, a.list->items[i], b.list->items[i], op);
            j->depth--;
            return order;
        }
        return (a.list->num > b.list->num) - (a.list->num < b.list->num);
    }
    nano_jinja_fail(j, "'%s' not supported between '%s' and '%s'", op, nano_value_type(a),
                    nano_value_type(b));
}

bool nano_value_contains(struct nano_jinja *j, struct nano_value container, struct nano_value item)
{
    switch (container.kind) {
    case NANO_STR:
        if (item.kind != NANO_STR)
            nano_jinja_fail(j, "'in <string>' requires a string on its left side, not '%s'",
                            nano_value_type(item));
        nano_jinja_step(j, container.str->num_bytes / 64);
        return nano_str_find(j, container.str->s, container.str->num_bytes, item.str->s,
                             item.str->num_bytes) != NULL;
    case NANO_DICT:
        return nano_dict_find(j, container.dict, item) != NULL;
    case NANO_VIEW:
        if (container.view->kind == NANO_VIEW_KEYS)
            return nano_dict_find(j, container.view->dict, item) != NULL;
        break;
    default:
        break;
    }
    if (!nano_value_is_iterable(container))
        nano_jinja_fail(j, "argument of type '%s' is not iterable", nano_value_type(container));
    struct nano_list list = nano_value_items(j, container);
    for (size_t i = 0; i < list.num; i++)
        if (nano_value_equal(j, list.items[i], item))
            return true;
    return false;
}

static uint64_t hash_bytes(struct nano_jinja *j, const struct nano_str *str)
{
    uint64_t hash = 14695981039346656037u;
    nano_jinja_step(j, str->num_bytes / 2);
    for (size_t i = 0; i < str->num_bytes; i++)
        hash = (hash ^ (unsigned char)str->s[i]) * 1099511628211u;
    return hash;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t nano_value_hash(struct nano_jinja *j, struct nano_value v)
{
    uint64_t hash = 0;
    switch (v.kind) {
    case NANO_STR:
    case NANO_BYTES:
    case NANO_BIG:
        return hash_bytes(j, v.str);
    case NANO_BOOL:
        return mix(v.b);
    case NANO_INT:
        return mix((uint64_t)v.i);
    case NANO_FLOAT: /* equal numbers have equal hashes */
        if (v.f >= -9223372036854775808.0 && v.f < 9223372036854775808.0 && v.f == floor(v.f))
            return mix((uint64_t)(int64_t)v.f);
        memcpy(&hash, &v.f, sizeof hash);
        return mix(hash);
    case NANO_TUPLE:
        nano_jinja_enter(j);
        for (size_t i = 0; i < v.list->num; i++)
            hash = mix(hash + nano_value_hash(j, v.list->items[i]));
        j->depth--;
        return hash;
    case NANO_LIST:
    case NANO_DICT:
        nano_jinja_fail(j, "unhashable type: '%s'", nano_value_type(v));
    default:
        return mix((uint64_t)v.kind);
    }
}
