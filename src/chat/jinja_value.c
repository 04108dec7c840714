/* Values: making, comparing, iterating. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chat/jinja.h"

/* ---- Making ---------------------------------------------------------------------------------- */

struct nano_value nano_value_none(void)
{
    return (struct nano_value){.kind = NANO_NONE};
}

struct nano_value nano_value_bool(bool b)
{
    return (struct nano_value){.kind = NANO_BOOL, .b = b};
}

struct nano_value nano_value_int(int64_t i)
{
    return (struct nano_value){.kind = NANO_INT, .i = i};
}

struct nano_value nano_value_float(double f)
{
    return (struct nano_value){.kind = NANO_FLOAT, .f = f};
}

struct nano_value nano_value_undefined(struct nano_jinja *j, const char *fmt, ...)
{
    char message[200];
    va_list args;
    va_start(args, fmt);
    int num_bytes = vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    if (num_bytes < 0 || (size_t)num_bytes >= sizeof message)
        num_bytes = sizeof message - 1;
    char *why = nano_jinja_alloc(j, (size_t)num_bytes + 1, 1);
    memcpy(why, message, (size_t)num_bytes);
    struct nano_undefined *undefined = nano_jinja_alloc(j, 1, sizeof *undefined);
    undefined->why = why;
    return (struct nano_value){.kind = NANO_UNDEFINED, .undefined = undefined};
}

struct nano_value nano_value_borrow(struct nano_jinja *j, const char *s, size_t num_bytes)
{
    struct nano_str *str = nano_jinja_alloc(j, 1, sizeof *str);
    *str = (struct nano_str){s, num_bytes, SIZE_MAX, false};
    return (struct nano_value){.kind = NANO_STR, .str = str};
}

struct nano_value nano_value_str(struct nano_jinja *j, const char *s, size_t num_bytes)
{
    char *copy = nano_jinja_alloc(j, num_bytes, 1);
    if (num_bytes)
        memcpy(copy, s, num_bytes);
    return nano_value_borrow(j, copy, num_bytes);
}

struct nano_value nano_value_cstr(struct nano_jinja *j, const char *s)
{
    return nano_value_str(j, s, strlen(s));
}

struct nano_value nano_value_list(struct nano_jinja *j, enum nano_kind kind, size_t num)
{
    struct nano_list *list = nano_jinja_alloc(j, 1, sizeof *list);
    list->items = nano_jinja_alloc(j, num, sizeof *list->items);
    list->num = num;
    return (struct nano_value){.kind = kind, .list = list};
}

struct nano_value nano_value_pair(struct nano_jinja *j, struct nano_value a, struct nano_value b)
{
    struct nano_value pair = nano_value_list(j, NANO_TUPLE, 2);
    pair.list->items[0] = a;
    pair.list->items[1] = b;
    return pair;
}

struct nano_value nano_value_iter(struct nano_jinja *j, const char *type, struct nano_value *items,
                                  size_t num)
{
    struct nano_iter *iter = nano_jinja_alloc(j, 1, sizeof *iter);
    *iter = (struct nano_iter){.items = items, .num = num, .type = type};
    return (struct nano_value){.kind = NANO_ITER, .iter = iter};
}

/* ---- Asking ---------------------------------------------------------------------------------- */

bool nano_value_is_number(struct nano_value v)
{
    return v.kind == NANO_BOOL || v.kind == NANO_INT || v.kind == NANO_FLOAT;
}

bool nano_value_is_str(struct nano_value v, const char *text)
{
    return v.kind == NANO_STR && v.str->num_bytes == strlen(text) &&
           memcmp(v.str->s, text, v.str->num_bytes) == 0;
}

double nano_value_to_double(struct nano_value v)
{
    return v.kind == NANO_FLOAT ? v.f : v.kind == NANO_BOOL ? (double)v.b : (double)v.i;
}

int64_t nano_value_to_int(struct nano_jinja *j, struct nano_value v, const char *what)
{
    if (v.kind == NANO_BOOL)
        return v.b;
    if (v.kind != NANO_INT)
        nano_jinja_fail(j, "%s: expected an integer, got '%s'", what, nano_value_type(v));
    return v.i;
}

const char *nano_value_type(struct nano_value v)
{
    static const char *const views[] = {"dict_keys", "dict_values", "dict_items"};
    switch (v.kind) {
    case NANO_MISSING:
    case NANO_UNDEFINED:
        return "Undefined";
    case NANO_NONE:
        return "NoneType";
    case NANO_BOOL:
        return "bool";
    case NANO_INT:
    case NANO_BIG:
        return "int";
    case NANO_FLOAT:
        return "float";
    case NANO_STR:
        return v.str->is_markup ? "Markup" : "str";
    case NANO_BYTES:
        return "bytes";
    case NANO_LIST:
        return "list";
    case NANO_TUPLE:
        return "tuple";
    case NANO_DICT:
        return "dict";
    case NANO_VIEW:
        return views[v.view->kind];
    case NANO_RANGE:
        return "range";
    case NANO_ITER:
        return v.iter->type;
    case NANO_NAMESPACE:
        return "Namespace";
    case NANO_LOOP:
        return "LoopContext";
    case NANO_MACRO:
        return "Macro";
    case NANO_FUNCTION:
        return "function";
    case NANO_METHOD:
        return "builtin_function_or_method";
    case NANO_CYCLER:
        return "Cycler";
    case NANO_JOINER:
        return "Joiner";
    case NANO_SELF:
        return "TemplateReference";
    case NANO_BLOCK:
        return "BlockReference";
    }
    return "object";
}

size_t nano_value_length(struct nano_jinja *j, struct nano_value v)
{
    (void)j;
    switch (v.kind) {
    case NANO_UNDEFINED:
        return 0;
    case NANO_STR:
        return nano_str_chars(v.str);
    case NANO_BYTES:
        return v.str->num_bytes;
    case NANO_LIST:
    case NANO_TUPLE:
        return v.list->num;
    case NANO_DICT:
        return v.dict->num;
    case NANO_VIEW:
        return v.view->dict->num;
    case NANO_RANGE:
        return (size_t)v.range->num;
    case NANO_LOOP:
        return v.loop->num;
    default:
        return SIZE_MAX;
    }
}

bool nano_value_truth(struct nano_jinja *j, struct nano_value v)
{
    switch (v.kind) {
    case NANO_MISSING:
    case NANO_UNDEFINED:
    case NANO_NONE:
        return false;
    case NANO_BOOL:
        return v.b;
    case NANO_INT:
        return v.i != 0;
    case NANO_FLOAT:
        return v.f != 0;
    case NANO_STR:
    case NANO_BYTES:
        return v.str->num_bytes > 0;
    default:
        return nano_value_length(j, v) != 0;
    }
}

/* ---- Comparing ------------------------------------------------------------------------------- */

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

/* ---- Iterating ------------------------------------------------------------------------------- */

bool nano_value_is_iterable(struct nano_value v)
{
    switch (v.kind) {
    case NANO_UNDEFINED:
    case NANO_STR:
    case NANO_BYTES:
    case NANO_LIST:
    case NANO_TUPLE:
    case NANO_DICT:
    case NANO_VIEW:
    case NANO_RANGE:
    case NANO_ITER:
    case NANO_LOOP:
        return true;
    default:
        return false;
    }
}

static struct nano_list characters(struct nano_jinja *j, struct nano_str *str)
{
    size_t num = nano_str_chars(str), offset = 0;
    struct nano_value list = nano_value_list(j, NANO_LIST, num);
    for (size_t i = 0; i < num; i++) {
        size_t next = offset + 1;
        while (next < str->num_bytes && ((unsigned char)str->s[next] & 0xC0) == 0x80)
            next++;
        list.list->items[i] = nano_value_borrow(j, str->s + offset, next - offset);
        offset = next;
    }
    return *list.list;
}

static struct nano_list entries(struct nano_jinja *j, const struct nano_dict *dict,
                                enum nano_view_kind kind)
{
    struct nano_value list = nano_value_list(j, NANO_LIST, dict->num);
    for (size_t i = 0; i < dict->num; i++) {
        struct nano_entry entry = dict->entries[i];
        list.list->items[i] = kind == NANO_VIEW_KEYS ? entry.key
                              : kind == NANO_VIEW_VALUES
                                  ? entry.value
                                  : nano_value_pair(j, entry.key, entry.value);
    }
    return *list.list;
}

struct nano_list nano_value_items(struct nano_jinja *j, struct nano_value v)
{
    struct nano_list rest = {0};
    struct nano_value list;
    switch (v.kind) {
    case NANO_UNDEFINED:
        return rest;
    case NANO_LIST:
    case NANO_TUPLE:
        return *v.list;
    case NANO_STR:
        return characters(j, v.str);
    case NANO_DICT:
        return entries(j, v.dict, NANO_VIEW_KEYS);
    case NANO_VIEW:
        return entries(j, v.view->dict, v.view->kind);
    case NANO_BYTES:
        list = nano_value_list(j, NANO_LIST, v.str->num_bytes);
        for (size_t i = 0; i < v.str->num_bytes; i++)
            list.list->items[i] = nano_value_int((unsigned char)v.str->s[i]);
        return *list.list;
    case NANO_RANGE:
        list = nano_value_list(j, NANO_LIST, (size_t)v.range->num);
        for (int64_t i = 0; i < v.range->num; i++)
            list.list->items[i] = nano_value_int(
                (int64_t)((uint64_t)v.range->start + (uint64_t)i * (uint64_t)v.range->step));
        return *list.list;
    case NANO_ITER:
        if (v.iter->error)
            nano_jinja_fail(j, "%s", v.iter->error);
        rest.num = v.iter->num - v.iter->pos;
        rest.items = rest.num ? v.iter->items + v.iter->pos : NULL;
        v.iter->pos = v.iter->num;
        return rest;
    case NANO_LOOP:
        rest.items = v.loop->items + v.loop->pos + 1;
        rest.num = v.loop->num - v.loop->pos - 1;
        v.loop->num = v.loop->pos + 1;
        return rest;
    default:
        nano_jinja_fail(j, "'%s' object is not iterable", nano_value_type(v));
    }
}
