/* Values: making, asking, iterating. */
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
