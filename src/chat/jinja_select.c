/* Tests, the filters that apply tests and filters to all items, and the tables' lookup. */
#include <string.h>

#include "chat/jinja.h"

#define FUNCTION(name)                                                          \
    static struct nano_value name(struct nano_jinja *j, struct nano_value self, \
                                  const struct nano_value *p, const struct nano_args *args)
#define UNUSED (void)j, (void)self, (void)p, (void)args
#define TEST(name, expression)              \
    FUNCTION(name)                          \
    {                                       \
        UNUSED;                             \
        return nano_value_bool(expression); \
    }

/* ---- Tests ----------------------------------------------------------------------------------- */

static bool is_int(struct nano_value v)
{
    return v.kind == NANO_INT || v.kind == NANO_BIG;
}

static bool has_items(struct nano_value v)
{
    return v.kind == NANO_UNDEFINED || v.kind == NANO_STR || v.kind == NANO_BYTES ||
           v.kind == NANO_LIST || v.kind == NANO_TUPLE || v.kind == NANO_DICT ||
           v.kind == NANO_RANGE;
}

static bool same_object(struct nano_jinja *j, struct nano_value a, struct nano_value b)
{
    bool by_value =
        a.kind == NANO_NONE || a.kind == NANO_BOOL || a.kind == NANO_INT || a.kind == NANO_STR;
    if (a.kind != b.kind)
        return false;
    return by_value ? nano_value_equal(j, a, b) : a.kind != NANO_FLOAT && a.str == b.str;
}

/* value % by == rest, which is false for what has a fraction. */
static bool remainder_is(struct nano_jinja *j, struct nano_value v, struct nano_value by,
                         int64_t rest)
{
    return nano_value_equal(j, nano_value_binary(j, '%', v, by), nano_value_int(rest));
}

static bool has_case(struct nano_jinja *j, struct nano_value v, const char *method)
{
    struct nano_str name = {method, strlen(method), SIZE_MAX, false};
    struct nano_value str = nano_value_to_str(j, v);
    struct nano_args none = {0};
    return nano_jinja_call_function(j, nano_jinja_find_method(str, &name), str, &none).b;
}

static bool less(struct nano_jinja *j, struct nano_value a, struct nano_value b, const char *op,
                 int order, bool or_equal)
{
    int result = nano_value_compare(j, a, b, op);
    return result == order || (or_equal && result == 0);
}

static bool is_filter(struct nano_jinja *j, struct nano_value v)
{
    nano_value_hash(j, v); /* what has no hash cannot be looked for */
    return v.kind == NANO_STR && nano_jinja_find_filter(v.str->s, v.str->num_bytes) != NULL;
}

static bool is_test(struct nano_jinja *j, struct nano_value v)
{
    nano_value_hash(j, v);
    return v.kind == NANO_STR && nano_jinja_find_test(v.str->s, v.str->num_bytes) != NULL;
}

TEST(test_defined, self.kind != NANO_UNDEFINED)
TEST(test_undefined, self.kind == NANO_UNDEFINED)
TEST(test_none, self.kind == NANO_NONE)
TEST(test_string, self.kind == NANO_STR)
TEST(test_mapping, self.kind == NANO_DICT)
TEST(test_sequence, has_items(self))
TEST(test_iterable, nano_value_is_iterable(self))
TEST(test_number, nano_value_is_number(self) || is_int(self))
TEST(test_integer, is_int(self))
TEST(test_float, self.kind == NANO_FLOAT)
TEST(test_boolean, self.kind == NANO_BOOL)
TEST(test_true, self.kind == NANO_BOOL && self.b)
TEST(test_false, self.kind == NANO_BOOL && !self.b)
TEST(test_callable, nano_value_is_callable(self))
TEST(test_escaped, self.kind == NANO_STR && self.str->is_markup)
TEST(test_odd, remainder_is(j, self, nano_value_int(2), 1))
TEST(test_even, remainder_is(j, self, nano_value_int(2), 0))
TEST(test_divisibleby, remainder_is(j, self, p[0], 0))
TEST(test_lower, has_case(j, self, "islower"))
TEST(test_upper, has_case(j, self, "isupper"))
TEST(test_eq, nano_value_equal(j, self, p[0]))
TEST(test_ne, !nano_value_equal(j, self, p[0]))
TEST(test_lt, less(j, self, p[0], "<", -1, false))
TEST(test_le, less(j, self, p[0], "<=", -1, true))
TEST(test_gt, less(j, self, p[0], ">", 1, false))
TEST(test_ge, less(j, self, p[0], ">=", 1, true))
TEST(test_in, nano_value_contains(j, p[0], self))
TEST(test_sameas, same_object(j, self, p[0]))
TEST(test_filter, is_filter(j, self))
TEST(test_test, is_test(j, self))

static const struct nano_function tests[] = {
    {"defined", "", test_defined},
    {"undefined", "", test_undefined},
    {"none", "", test_none},
    {"string", "", test_string},
    {"mapping", "", test_mapping},
    {"sequence", "", test_sequence},
    {"iterable", "", test_iterable},
    {"number", "", test_number},
    {"integer", "", test_integer},
    {"float", "", test_float},
    {"boolean", "", test_boolean},
    {"true", "", test_true},
    {"false", "", test_false},
    {"callable", "", test_callable},
    {"escaped", "", test_escaped},
    {"odd", "", test_odd},
    {"even", "", test_even},
    {"divisibleby", "num", test_divisibleby},
    {"lower", "", test_lower},
    {"upper", "", test_upper},
    {"eq", "/b", test_eq},
    {"equalto", "/b", test_eq},
    {"==", "/b", test_eq},
    {"ne", "/b", test_ne},
    {"!=", "/b", test_ne},
    {"lt", "/b", test_lt},
    {"lessthan", "/b", test_lt},
    {"<", "/b", test_lt},
    {"le", "/b", test_le},
    {"<=", "/b", test_le},
    {"gt", "/b", test_gt},
    {"greaterthan", "/b", test_gt},
    {">", "/b", test_gt},
    {"ge", "/b", test_ge},
    {">=", "/b", test_ge},
    {"in", "seq", test_in},
    {"sameas", "other", test_sameas},
    {"filter", "", test_filter},
    {"test", "", test_test},
};

const struct nano_function *nano_jinja_find_test(const char *name, size_t num_bytes)
{
    return nano_jinja_find(tests, sizeof tests / sizeof *tests, name, num_bytes);
}

/* ---- map, select and the like ---------------------------------------------------------------- */

/* What is done to each item. */
struct each {
    const struct nano_function *function; /* NULL: its truth (select), its attribute (map) */
    struct nano_value name;               /* of a function that does not exist; else MISSING */
    struct nano_value path;
    struct nano_value otherwise; /* of map, for items without the attribute */
    struct nano_args args;
    bool is_map, keep;
};

static struct nano_value apply_each(struct nano_jinja *j, const struct each *each,
                                    struct nano_value item)
{
    if (each->name.kind != NANO_MISSING) {
        struct nano_value name = nano_value_to_str(j, each->name);
        int length = (int)(name.str->num_bytes < 60 ? name.str->num_bytes : 60);
        nano_jinja_fail(j, "no %s named '%.*s'", each->is_map ? "filter" : "test", length,
                        name.str->s);
    }
    struct nano_value v = nano_jinja_path(j, item, each->path);
    if (v.kind == NANO_UNDEFINED && each->otherwise.kind != NANO_MISSING)
        v = each->otherwise;
    return each->function ? nano_jinja_call_function(j, each->function, v, &each->args) : v;
}

static size_t run_each(struct nano_jinja *j, const struct each *each, struct nano_list list,
                       struct nano_value *out, volatile size_t *num)
{
    for (size_t i = 0; i < list.num; i++) {
        nano_jinja_step(j, 1);
        struct nano_value v = apply_each(j, each, list.items[i]);
        if (each->is_map)
            out[(*num)++] = v;
        else if (nano_value_truth(j, v) == each->keep)
            out[(*num)++] = list.items[i];
    }
    return *num;
}

/* In Jinja2 these are generators, whose errors come when somebody reads so far. */
static struct nano_value generate(struct nano_jinja *j, const struct each *each,
                                  struct nano_value self)
{
    jmp_buf here, *outer = j->unwind;
    struct nano_error error = {0}, *outer_error = j->err;
    struct nano_scope *scope = j->scope;
    int depth = j->depth;
    uint32_t line = j->line;
    size_t from = j->out_bytes;
    volatile size_t num = 0;
    struct nano_list list = {0};
    if (nano_value_truth(j, self))
        list = nano_value_items(j, self);
    struct nano_value out = nano_value_list(j, NANO_LIST, list.num);
    struct nano_value iter = nano_value_iter(j, "generator", out.list->items, 0);
    j->err = &error;
    j->unwind = &here;
    j->line = 0;
    if (setjmp(here) == 0)
        run_each(j, each, list, out.list->items, &num);
    j->err = outer_error;
    j->unwind = outer;
    j->scope = scope;
    j->depth = depth;
    j->line = line;
    j->out_bytes = from;
    iter.iter->num = num;
    if (error.status == NANO_ERR_NO_MEMORY || (error.status != NANO_OK && j->steps_left < 1000))
        nano_jinja_fail_status(j, error.status, "%s", error.message);
    if (error.status != NANO_OK)
        iter.iter->error = nano_value_cstr(j, error.message).str->s;
    return iter;
}

static void set_function(struct each *each, const struct nano_args *args, size_t at)
{
    if (at >= args->num)
        return;
    struct nano_value name = args->items[at];
    if (name.kind == NANO_STR)
        each->function = each->is_map ? nano_jinja_find_filter(name.str->s, name.str->num_bytes)
                                      : nano_jinja_find_test(name.str->s, name.str->num_bytes);
    if (!each->function)
        each->name = name;
    each->args = *args;
    each->args.items += at + 1;
    each->args.num -= at + 1;
}

static bool is_keyword(const struct nano_keyword *keyword, const char *name)
{
    return keyword->name->num_bytes == strlen(name) &&
           memcmp(keyword->name->s, name, keyword->name->num_bytes) == 0;
}

FUNCTION(do_map)
{
    UNUSED;
    struct each each = {.is_map = true};
    bool has_attribute = false;
    for (size_t i = 0; i < args->num_keywords; i++)
        has_attribute |= is_keyword(&args->keywords[i], "attribute");
    if (args->num > 0 || !has_attribute) {
        if (args->num == 0)
            nano_jinja_fail(j, "map: expected a filter or an attribute");
        set_function(&each, args, 0);
        return generate(j, &each, self);
    }
    for (size_t i = 0; i < args->num_keywords; i++) {
        if (is_keyword(&args->keywords[i], "attribute"))
            each.path = args->keywords[i].value;
        else if (is_keyword(&args->keywords[i], "default"))
            each.otherwise = args->keywords[i].value;
        else
            nano_jinja_fail(j, "map: an argument has an unknown name");
    }
    if (each.otherwise.kind == NANO_NONE)
        each.otherwise.kind = NANO_MISSING;
    return generate(j, &each, self);
}

static struct nano_value select(struct nano_jinja *j, struct nano_value self,
                                const struct nano_args *args, bool by_attribute, bool keep)
{
    struct each each = {.keep = keep};
    if (by_attribute) {
        if (args->num == 0)
            nano_jinja_fail(j, "selectattr: expected the name of an attribute");
        each.path = args->items[0];
    }
    set_function(&each, args, by_attribute);
    return generate(j, &each, self);
}

FUNCTION(do_select)
{
    UNUSED;
    return select(j, self, args, false, true);
}

FUNCTION(do_reject)
{
    UNUSED;
    return select(j, self, args, false, false);
}

FUNCTION(do_selectattr)
{
    UNUSED;
    return select(j, self, args, true, true);
}

FUNCTION(do_rejectattr)
{
    UNUSED;
    return select(j, self, args, true, false);
}

const struct nano_function nano_select_filters[] = {
    {"map", "*", do_map},
    {"select", "*", do_select},
    {"reject", "*", do_reject},
    {"selectattr", "*", do_selectattr},
    {"rejectattr", "*", do_rejectattr},
};
const size_t nano_num_select_filters = sizeof nano_select_filters / sizeof *nano_select_filters;

const struct nano_function *nano_jinja_find_filter(const char *name, size_t num_bytes)
{
    const struct {
        const struct nano_function *functions;
        size_t num;
    } tables[] = {{nano_text_filters, nano_num_text_filters},
                  {nano_list_filters, nano_num_list_filters},
                  {nano_number_filters, nano_num_number_filters},
                  {nano_select_filters, nano_num_select_filters}};
    const struct nano_function *found = NULL;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && !found; i++)
        found = nano_jinja_find(tables[i].functions, tables[i].num, name, num_bytes);
    return found;
}
