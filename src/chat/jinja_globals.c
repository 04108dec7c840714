/* Global functions. */
#include <string.h>

#include "chat/jinja.h"

#define MAX_RANGE 100000 /* as in Jinja2's sandbox */

#define FUNCTION(name)                                                          \
    static struct nano_value name(struct nano_jinja *j, struct nano_value self, \
                                  const struct nano_value *p, const struct nano_args *args)
#define UNUSED (void)j, (void)self, (void)p, (void)args

FUNCTION(call_range)
{
    UNUSED;
    int64_t start = 0, step = 1, stop = nano_value_to_int(j, p[0], "range()");
    if (p[1].kind != NANO_MISSING) {
        start = stop;
        stop = nano_value_to_int(j, p[1], "range()");
    }
    if (p[2].kind != NANO_MISSING)
        step = nano_value_to_int(j, p[2], "range()");
    if (step == 0)
        nano_jinja_fail(j, "range(): the step must not be zero");
    uint64_t distance = 0, stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    if (step > 0 && start < stop)
        distance = (uint64_t)stop - (uint64_t)start;
    else if (step < 0 && start > stop)
        distance = (uint64_t)start - (uint64_t)stop;
    uint64_t num = distance ? (distance - 1) / stride + 1 : 0;
    if (num > MAX_RANGE)
        nano_jinja_fail(j, "range(): more than %d items", MAX_RANGE);
    struct nano_range *range = nano_jinja_alloc(j, 1, sizeof *range);
    *range = (struct nano_range){start, stop, step, (int64_t)num};
    return (struct nano_value){.kind = NANO_RANGE, .range = range};
}

/* A dict from a mapping or pairs, and from named arguments. */
static struct nano_value make_dict(struct nano_jinja *j, const struct nano_args *args,
                                   const char *what)
{
    struct nano_value dict = nano_dict_create(j, args->num_keywords);
    if (args->num > 1)
        nano_jinja_fail(j, "%s: expected at most one argument in order", what);
    if (args->num == 1 && args->items[0].kind == NANO_DICT) {
        const struct nano_dict *from = args->items[0].dict;
        for (size_t i = 0; i < from->num; i++)
            nano_dict_set(j, dict.dict, from->entries[i].key, from->entries[i].value);
    } else if (args->num == 1) {
        struct nano_list pairs = nano_value_items(j, args->items[0]);
        for (size_t i = 0; i < pairs.num; i++) {
            struct nano_list pair = nano_value_items(j, pairs.items[i]);
            if (pair.num != 2)
                nano_jinja_fail(j, "%s: expected pairs", what);
            nano_dict_set(j, dict.dict, pair.items[0], pair.items[1]);
        }
    }
    for (size_t i = 0; i < args->num_keywords; i++)
        nano_dict_set(j, dict.dict,
                      (struct nano_value){.kind = NANO_STR, .str = args->keywords[i].name},
                      args->keywords[i].value);
    return dict;
}

FUNCTION(call_dict)
{
    UNUSED;
    return make_dict(j, args, "dict()");
}

FUNCTION(call_namespace)
{
    UNUSED;
    struct nano_value v = make_dict(j, args, "namespace()");
    v.kind = NANO_NAMESPACE;
    return v;
}

FUNCTION(call_cycler)
{
    UNUSED;
    if (args->num == 0)
        nano_jinja_fail(j, "cycler(): at least one item has to be provided");
    struct nano_cycler *cycler = nano_jinja_alloc(j, 1, sizeof *cycler);
    *cycler = (struct nano_cycler){args->items, args->num, 0};
    return (struct nano_value){.kind = NANO_CYCLER, .cycler = cycler};
}

FUNCTION(call_joiner)
{
    UNUSED;
    struct nano_joiner *joiner = nano_jinja_alloc(j, 1, sizeof *joiner);
    joiner->separator = p[0].kind == NANO_MISSING ? nano_value_borrow(j, ", ", 2) : p[0];
    return (struct nano_value){.kind = NANO_JOINER, .joiner = joiner};
}

FUNCTION(call_raise_exception)
{
    UNUSED;
    struct nano_value message = nano_value_to_str(j, p[0]);
    j->line = 0; /* the template's own words, alone */
    nano_jinja_fail(j, "%.*s",
                    (int)(message.str->num_bytes < sizeof j->err->message ? message.str->num_bytes
                                                                          : sizeof j->err->message),
                    message.str->s);
}

FUNCTION(call_strftime_now)
{
    UNUSED;
    if (p[0].kind != NANO_STR)
        nano_jinja_fail(j, "strftime_now(): expected a string, got '%s'", nano_value_type(p[0]));
    return nano_jinja_strftime(j, p[0].str);
}

FUNCTION(call_lipsum)
{
    UNUSED;
    nano_jinja_fail(j, "lipsum() is not supported");
}

static const struct nano_function globals[] = {
    {"range", "/start stop? step?", call_range},
    {"dict", "*", call_dict},
    {"namespace", "*", call_namespace},
    {"cycler", "*", call_cycler},
    {"joiner", "sep?", call_joiner},
    {"raise_exception", "message", call_raise_exception},
    {"strftime_now", "format", call_strftime_now},
    {"lipsum", "*", call_lipsum},
};

const struct nano_function *nano_jinja_find_global(const char *name, size_t num_bytes)
{
    return nano_jinja_find(globals, sizeof globals / sizeof *globals, name, num_bytes);
}
