/* Methods of lists, dicts and the language's own objects; those of strings are in files of their
 * own. A method without a function changes its object, which templates may not. */
#include <math.h>
#include <string.h>

#include "chat/jinja.h"

#define METHOD(name)                                                            \
    static struct nano_value name(struct nano_jinja *j, struct nano_value self, \
                                  const struct nano_value *p, const struct nano_args *args)
#define UNUSED (void)j, (void)self, (void)p, (void)args

/* ---- Dicts ----------------------------------------------------------------------------------- */

static struct nano_value view(struct nano_jinja *j, struct nano_dict *dict,
                              enum nano_view_kind kind)
{
    struct nano_view *view = nano_jinja_alloc(j, 1, sizeof *view);
    *view = (struct nano_view){dict, kind};
    return (struct nano_value){.kind = NANO_VIEW, .view = view};
}

METHOD(dict_items)
{
    UNUSED;
    return view(j, self.dict, NANO_VIEW_ITEMS);
}

METHOD(dict_keys)
{
    UNUSED;
    return view(j, self.dict, NANO_VIEW_KEYS);
}

METHOD(dict_values)
{
    UNUSED;
    return view(j, self.dict, NANO_VIEW_VALUES);
}

METHOD(dict_get)
{
    UNUSED;
    struct nano_value *found = nano_dict_find(j, self.dict, p[0]);
    return found ? *found : p[1].kind != NANO_MISSING ? p[1] : nano_value_none();
}

METHOD(dict_copy)
{
    UNUSED;
    struct nano_value copy = nano_dict_create(j, self.dict->num);
    for (size_t i = 0; i < self.dict->num; i++)
        nano_dict_set(j, copy.dict, self.dict->entries[i].key, self.dict->entries[i].value);
    return copy;
}

METHOD(dict_fromkeys)
{
    UNUSED;
    struct nano_list keys = nano_value_items(j, p[0]);
    struct nano_value dict = nano_dict_create(j, keys.num);
    for (size_t i = 0; i < keys.num; i++)
        nano_dict_set(j, dict.dict, keys.items[i],
                      p[1].kind != NANO_MISSING ? p[1] : nano_value_none());
    return dict;
}

static const struct nano_function dict_methods[] = {
    {"get", "/key default?", dict_get},
    {"items", "/", dict_items},
    {"keys", "/", dict_keys},
    {"values", "/", dict_values},
    {"copy", "/", dict_copy},
    {"fromkeys", "/keys value?", dict_fromkeys},
    {"clear", "", NULL},
    {"pop", "", NULL},
    {"popitem", "", NULL},
    {"setdefault", "", NULL},
    {"update", "", NULL},
};

/* ---- Lists and tuples ------------------------------------------------------------------------ */

METHOD(list_index)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    for (size_t i = 0; i < list.num; i++)
        if (nano_value_equal(j, list.items[i], p[0]))
            return nano_value_int((int64_t)i);
    nano_jinja_fail(j, "index(): the value is not in the %s", nano_value_type(self));
}

METHOD(list_count)
{
    UNUSED;
    struct nano_list list = nano_value_items(j, self);
    int64_t num = 0;
    for (size_t i = 0; i < list.num; i++)
        num += nano_value_equal(j, list.items[i], p[0]);
    return nano_value_int(num);
}

METHOD(list_copy)
{
    UNUSED;
    struct nano_value copy = nano_value_list(j, NANO_LIST, self.list->num);
    if (self.list->num)
        memcpy(copy.list->items, self.list->items, self.list->num * sizeof self);
    return copy;
}

/* pop and clear are what the sandbox of Jinja2 up to 3.1.4 lets through. */
METHOD(list_pop)
{
    UNUSED;
    struct nano_list *list = self.list;
    int64_t index = p[0].kind == NANO_MISSING ? -1 : nano_value_to_int(j, p[0], "pop()");
    if (index < 0)
        index += (int64_t)list->num;
    if (index < 0 || index >= (int64_t)list->num)
        nano_jinja_fail(j, "pop(): index out of range");
    struct nano_value item = list->items[index];
    struct nano_value rest = nano_value_list(j, NANO_LIST, list->num - 1);
    for (size_t i = 0; i < rest.list->num; i++)
        rest.list->items[i] = list->items[i + (i >= (size_t)index)];
    *list = *rest.list; /* a loop over the old items goes on over them */
    return item;
}

METHOD(list_clear)
{
    UNUSED;
    self.list->num = 0;
    return nano_value_none();
}

static const struct nano_function list_methods[] = {
    {"index", "/value", list_index},
    {"count", "/value", list_count},
    {"copy", "/", list_copy},
    {"pop", "/index?", list_pop},
    {"clear", "/", list_clear},
    {"append", "", NULL},
    {"extend", "", NULL},
    {"insert", "", NULL},
    {"remove", "", NULL},
    {"reverse", "", NULL},
    {"sort", "", NULL},
};
#define NUM_TUPLE_METHODS 2 /* the first ones of a list */

/* ---- The language's own ---------------------------------------------------------------------- */

METHOD(loop_cycle)
{
    UNUSED;
    if (args->num == 0)
        nano_jinja_fail(j, "cycle(): no values given");
    return args->items[self.loop->pos % args->num];
}

METHOD(loop_changed)
{
    UNUSED;
    struct nano_value now = nano_value_list(j, NANO_TUPLE, args->num);
    if (args->num)
        memcpy(now.list->items, args->items, args->num * sizeof now);
    bool same =
        self.loop->changed.kind == NANO_TUPLE && nano_value_equal(j, self.loop->changed, now);
    self.loop->changed = now;
    return nano_value_bool(!same);
}

static const struct nano_function loop_methods[] = {
    {"cycle", "*", loop_cycle},
    {"changed", "*", loop_changed},
};

METHOD(cycler_next)
{
    UNUSED;
    struct nano_value item = self.cycler->items[self.cycler->pos];
    self.cycler->pos = (self.cycler->pos + 1) % self.cycler->num;
    return item;
}

METHOD(cycler_reset)
{
    UNUSED;
    self.cycler->pos = 0;
    return nano_value_none();
}

static const struct nano_function cycler_methods[] = {
    {"next", "", cycler_next},
    {"reset", "", cycler_reset},
};

METHOD(bytes_decode)
{
    UNUSED;
    return nano_value_borrow(j, self.str->s, self.str->num_bytes);
}

static const struct nano_function bytes_methods[] = {{"decode", "encoding?", bytes_decode}};

/* ---- Numbers --------------------------------------------------------------------------------- */

METHOD(int_bit_length)
{
    UNUSED;
    int64_t i = self.kind == NANO_BOOL ? self.b : self.i;
    int64_t num = 0;
    for (uint64_t rest = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; rest; rest >>= 1)
        num++;
    return nano_value_int(num);
}

METHOD(float_is_integer)
{
    UNUSED;
    return nano_value_bool(self.f - self.f == 0 && self.f == floor(self.f));
}

static const struct nano_function int_methods[] = {{"bit_length", "/", int_bit_length}};
static const struct nano_function float_methods[] = {{"is_integer", "/", float_is_integer}};

/* ---- All of them ----------------------------------------------------------------------------- */

#define COUNT(table) (sizeof(table) / sizeof *(table))

const struct nano_function *nano_jinja_find_method(struct nano_value self,
                                                   const struct nano_str *name)
{
    const struct nano_function *found;
    const char *s = name->s;
    size_t num = name->num_bytes;
    switch (self.kind) {
    case NANO_STR:
        found = nano_jinja_find(nano_str_methods, nano_num_str_methods, s, num);
        return found ? found
                     : nano_jinja_find(nano_str_more_methods, nano_num_str_more_methods, s, num);
    case NANO_BOOL:
    case NANO_INT:
        return nano_jinja_find(int_methods, COUNT(int_methods), s, num);
    case NANO_FLOAT:
        return nano_jinja_find(float_methods, COUNT(float_methods), s, num);
    case NANO_BYTES:
        return nano_jinja_find(bytes_methods, COUNT(bytes_methods), s, num);
    case NANO_DICT:
        return nano_jinja_find(dict_methods, COUNT(dict_methods), s, num);
    case NANO_LIST:
        return nano_jinja_find(list_methods, COUNT(list_methods), s, num);
    case NANO_TUPLE:
    case NANO_RANGE:
        return nano_jinja_find(list_methods, NUM_TUPLE_METHODS, s, num);
    case NANO_LOOP:
        return nano_jinja_find(loop_methods, COUNT(loop_methods), s, num);
    case NANO_CYCLER:
        return nano_jinja_find(cycler_methods, COUNT(cycler_methods), s, num);
    default:
        return NULL;
    }
}
