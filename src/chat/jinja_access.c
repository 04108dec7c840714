/* x.name and x[key]: attributes, methods and items, in the order in which Jinja2's sandbox looks
 * for them. */
#include <string.h>

#include "chat/ast.h"

static int name_length(const struct nano_str *name)
{
    return (int)(name->num_bytes < 80 ? name->num_bytes : 80);
}

static const char *describe(struct nano_value v)
{
    return v.kind == NANO_NONE ? "None" : nano_value_type(v);
}

static struct nano_value no_attribute(struct nano_jinja *j, struct nano_value v,
                                      const struct nano_str *name)
{
    return nano_value_undefined(j,
                                v.kind == NANO_NONE ? "'%s' has no attribute '%.*s'"
                                                    : "'%s object' has no attribute '%.*s'",
                                describe(v), name_length(name), name->s);
}

static _Noreturn void fail_undefined(struct nano_jinja *j, struct nano_value v)
{
    nano_jinja_fail(j, "%s", v.undefined ? v.undefined->why : "undefined");
}

/* A method, or MISSING. Those that would change what the request gave are there and refused. */
static struct nano_value find_method(struct nano_jinja *j, struct nano_value v,
                                     const struct nano_str *name)
{
    const struct nano_function *function = nano_jinja_find_method(v, name);
    if (!function)
        return (struct nano_value){0};
    if (!function->call)
        return nano_value_undefined(j, "access to attribute '%s' of '%s' object is unsafe.",
                                    function->name, nano_value_type(v));
    struct nano_method *method = nano_jinja_alloc(j, 1, sizeof *method);
    *method = (struct nano_method){v, function};
    return (struct nano_value){.kind = NANO_METHOD, .method = method};
}

/* ---- Attributes of the language's own objects ------------------------------------------------ */

static bool is(const struct nano_str *name, const char *text)
{
    return name->num_bytes == strlen(text) && memcmp(name->s, text, name->num_bytes) == 0;
}

static struct nano_value loop_attribute(struct nano_jinja *j, const struct nano_loop *loop,
                                        const struct nano_str *name)
{
    int64_t pos = (int64_t)loop->pos, num = (int64_t)loop->num;
    if (is(name, "index0"))
        return nano_value_int(pos);
    if (is(name, "index"))
        return nano_value_int(pos + 1);
    if (is(name, "first"))
        return nano_value_bool(pos == 0);
    if (is(name, "last"))
        return nano_value_bool(pos == num - 1);
    if (is(name, "length"))
        return nano_value_int(num);
    if (is(name, "revindex"))
        return nano_value_int(num - pos);
    if (is(name, "revindex0"))
        return nano_value_int(num - pos - 1);
    if (is(name, "depth"))
        return nano_value_int(loop->depth0 + 1);
    if (is(name, "depth0"))
        return nano_value_int(loop->depth0);
    if (is(name, "previtem"))
        return pos > 0 ? loop->items[pos - 1]
                       : nano_value_undefined(j, "there is no previous item");
    if (is(name, "nextitem"))
        return pos + 1 < num ? loop->items[pos + 1]
                             : nano_value_undefined(j, "there is no next item");
    return (struct nano_value){0};
}

static struct nano_value macro_attribute(struct nano_jinja *j, const struct nano_node *macro,
                                         const struct nano_str *name)
{
    struct nano_value list;
    if (is(name, "name"))
        return macro->name ? (struct nano_value){.kind = NANO_STR, .str = macro->name}
                           : nano_value_none();
    if (is(name, "catch_kwargs"))
        return nano_value_bool(macro->op & NANO_USES_KWARGS);
    if (is(name, "catch_varargs"))
        return nano_value_bool(macro->op & NANO_USES_VARARGS);
    if (is(name, "caller"))
        return nano_value_bool(macro->op & NANO_USES_CALLER);
    if (!is(name, "arguments"))
        return (struct nano_value){0};
    list = nano_value_list(j, NANO_TUPLE, macro->num);
    for (size_t i = 0; i < macro->num; i++)
        list.list->items[i] = (struct nano_value){.kind = NANO_STR, .str = macro->items[i]->name};
    return list;
}

static struct nano_value own_attribute(struct nano_jinja *j, struct nano_value v,
                                       const struct nano_str *name)
{
    struct nano_value none = {0}, *found;
    switch (v.kind) {
    case NANO_LOOP:
        return loop_attribute(j, v.loop, name);
    case NANO_MACRO:
        return macro_attribute(j, v.macro->node, name);
    case NANO_NAMESPACE:
        found = nano_dict_find(
            j, v.dict,
            (struct nano_value){.kind = NANO_STR, .str = (struct nano_str *)(uintptr_t)name});
        return found ? *found : none;
    case NANO_CYCLER:
        if (is(name, "current"))
            return v.cycler->items[v.cycler->pos];
        return is(name, "pos") ? nano_value_int((int64_t)v.cycler->pos) : none;
    case NANO_BOOL:
    case NANO_INT:
        return is(name, "real") || is(name, "numerator")
                   ? nano_value_int(v.kind == NANO_BOOL ? v.b : v.i)
               : is(name, "imag")        ? nano_value_int(0)
               : is(name, "denominator") ? nano_value_int(1)
                                         : none;
    case NANO_FLOAT:
        return is(name, "real") ? v : is(name, "imag") ? nano_value_float(0) : none;
    case NANO_RANGE:
        return is(name, "start")  ? nano_value_int(v.range->start)
               : is(name, "stop") ? nano_value_int(v.range->stop)
               : is(name, "step") ? nano_value_int(v.range->step)
                                  : none;
    case NANO_SELF:
        for (size_t i = 0; i < j->program->num_blocks; i++)
            if (j->program->blocks[i]->name->num_bytes == name->num_bytes &&
                memcmp(j->program->blocks[i]->name->s, name->s, name->num_bytes) == 0)
                return (struct nano_value){.kind = NANO_BLOCK, .node = j->program->blocks[i]};
        return none;
    default:
        return none;
    }
}

static struct nano_value attribute(struct nano_jinja *j, struct nano_value v,
                                   const struct nano_str *name)
{
    struct nano_value found = own_attribute(j, v, name);
    return found.kind != NANO_MISSING ? found : find_method(j, v, name);
}

struct nano_value nano_value_attribute(struct nano_jinja *j, struct nano_value v,
                                       const struct nano_str *name)
{
    if (v.kind == NANO_UNDEFINED)
        fail_undefined(j, v);
    struct nano_value found = attribute(j, v, name);
    if (found.kind != NANO_MISSING)
        return found;
    if (v.kind == NANO_DICT) {
        struct nano_value key = {.kind = NANO_STR, .str = (struct nano_str *)(uintptr_t)name};
        struct nano_value *item = nano_dict_find(j, v.dict, key);
        if (item)
            return *item;
    }
    return no_attribute(j, v, name);
}

/* ---- Items ----------------------------------------------------------------------------------- */

static bool is_hashable(struct nano_jinja *j, struct nano_value v)
{
    bool hashable = v.kind != NANO_LIST && v.kind != NANO_DICT;
    nano_jinja_enter(j);
    for (size_t i = 0; v.kind == NANO_TUPLE && hashable && i < v.list->num; i++)
        hashable = is_hashable(j, v.list->items[i]);
    j->depth--;
    return hashable;
}

static struct nano_value sequence_item(struct nano_jinja *j, struct nano_value v, int64_t index)
{
    int64_t length = (int64_t)nano_value_length(j, v);
    if (index < 0)
        index += length;
    if (index < 0 || index >= length)
        return (struct nano_value){0};
    switch (v.kind) {
    case NANO_STR:
        return nano_str_slice(j, v.str, (size_t)index, (size_t)index + 1);
    case NANO_BYTES:
        return nano_value_int((unsigned char)v.str->s[index]);
    case NANO_RANGE:
        return nano_value_int(
            (int64_t)((uint64_t)v.range->start + (uint64_t)index * (uint64_t)v.range->step));
    default:
        return v.list->items[index];
    }
}

struct nano_value nano_value_item(struct nano_jinja *j, struct nano_value v, struct nano_value key)
{
    struct nano_value found = {0}, *item = NULL;
    switch (v.kind) {
    case NANO_UNDEFINED:
        fail_undefined(j, v);
    case NANO_DICT:
        if (is_hashable(j, key))
            item = nano_dict_find(j, v.dict, key);
        found = item ? *item : found;
        break;
    case NANO_STR:
    case NANO_BYTES:
    case NANO_LIST:
    case NANO_TUPLE:
    case NANO_RANGE:
        if (key.kind == NANO_INT || key.kind == NANO_BOOL)
            found = sequence_item(j, v, key.kind == NANO_INT ? key.i : key.b);
        break;
    default:
        break;
    }
    if (found.kind == NANO_MISSING && key.kind == NANO_STR)
        found = attribute(j, v, key.str);
    if (found.kind != NANO_MISSING)
        return found;
    if (key.kind == NANO_STR)
        return no_attribute(j, v, key.str);
    if (key.kind == NANO_INT)
        return nano_value_undefined(j, "%s object has no element %lld", describe(v),
                                    (long long)key.i);
    return nano_value_undefined(j, "%s object has no such element", describe(v));
}

bool nano_value_is_callable(struct nano_value v)
{
    return v.kind == NANO_MACRO || v.kind == NANO_FUNCTION || v.kind == NANO_METHOD ||
           v.kind == NANO_LOOP || v.kind == NANO_JOINER || v.kind == NANO_BLOCK ||
           v.kind == NANO_UNDEFINED;
}
