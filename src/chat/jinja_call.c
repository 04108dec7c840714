/* Calls: macros, functions, and how arguments find their parameters. */
#include <string.h>

#include "chat/eval.h"

/* ---- Functions ------------------------------------------------------------------------------- */

const struct nano_function *nano_jinja_find(const struct nano_function *table, size_t num,
                                            const char *name, size_t num_bytes)
{
    for (size_t i = 0; i < num; i++)
        if (strncmp(table[i].name, name, num_bytes) == 0 && table[i].name[num_bytes] == '\0')
            return &table[i];
    return NULL;
}

struct parameters { /* of a function: a walk through its list of names */
    const char *next;
    size_t num_bytes; /* of the name before it */
    const char *name;
    bool optional;
};

static bool next_parameter(struct parameters *p)
{
    p->next += strspn(p->next, " /");
    p->name = p->next;
    p->num_bytes = strcspn(p->next, " ?");
    p->next += p->num_bytes;
    p->optional = *p->next == '?';
    p->next += p->optional;
    return p->num_bytes > 0;
}

static bool take_keyword(const struct nano_args *args, const struct parameters *p, size_t *used,
                         struct nano_value *value)
{
    for (size_t i = 0; i < args->num_keywords; i++) {
        const struct nano_str *name = args->keywords[i].name;
        if (name->num_bytes == p->num_bytes && memcmp(name->s, p->name, p->num_bytes) == 0) {
            *value = args->keywords[i].value;
            ++*used;
            return true;
        }
    }
    return false;
}

struct nano_value nano_jinja_call_function(struct nano_jinja *j,
                                           const struct nano_function *function,
                                           struct nano_value self, const struct nano_args *args)
{
    struct nano_value values[NANO_MAX_PARAMS] = {{0}};
    struct parameters p = {.next = function->params};
    size_t num = 0, used = 0;
    if (function->params[0] == '*')
        return function->call(j, self, values, args);
    if (function->params[0] == '/' && args->num_keywords)
        nano_jinja_fail(j, "%s() takes no named arguments", function->name);
    for (; next_parameter(&p); num++) {
        if (num < args->num)
            values[num] = args->items[num];
        else if (!take_keyword(args, &p, &used, &values[num]) && !p.optional)
            nano_jinja_fail(j, "%s(): the argument '%.*s' is missing", function->name,
                            (int)p.num_bytes, p.name);
    }
    if (args->num > num)
        nano_jinja_fail(j, "%s() takes at most %zu arguments, got %zu", function->name, num,
                        args->num);
    if (used < args->num_keywords)
        nano_jinja_fail(j, "%s(): an argument has an unknown name or is given twice",
                        function->name);
    return function->call(j, self, values, args);
}

/* ---- Macros ---------------------------------------------------------------------------------- */

static bool name_equals(const struct nano_str *a, const struct nano_str *b)
{
    return a->num_bytes == b->num_bytes && memcmp(a->s, b->s, a->num_bytes) == 0;
}

/* Takes the named argument out of `rest`. */
static struct nano_value take_rest(struct nano_keyword *rest, size_t num,
                                   const struct nano_str *name)
{
    for (size_t i = 0; i < num; i++) {
        if (rest[i].name && name_equals(rest[i].name, name)) {
            rest[i].name = NULL;
            return rest[i].value;
        }
    }
    return (struct nano_value){0};
}

/* varargs and kwargs: what no parameter took. */
static void bind_rest(struct nano_jinja *j, const struct nano_node *node, struct nano_scope *scope,
                      const struct nano_args *args, const struct nano_keyword *rest)
{
    const char *name = node->name ? node->name->s : "caller";
    int length = node->name ? (int)(node->name->num_bytes < 60 ? node->name->num_bytes : 60) : 6;
    if (node->op & NANO_USES_KWARGS) {
        struct nano_value dict = nano_dict_create(j, 0);
        for (size_t i = 0; i < args->num_keywords; i++)
            if (rest[i].name)
                nano_dict_set(j, dict.dict,
                              (struct nano_value){.kind = NANO_STR, .str = rest[i].name},
                              rest[i].value);
        nano_scope_set(j, scope, j->program->id_kwargs, dict);
    } else {
        for (size_t i = 0; i < args->num_keywords; i++)
            if (rest[i].name)
                nano_jinja_fail(j, "the macro '%.*s' takes no argument named '%.*s'", length, name,
                                (int)(rest[i].name->num_bytes < 60 ? rest[i].name->num_bytes : 60),
                                rest[i].name->s);
    }
    if (node->op & NANO_USES_VARARGS) {
        size_t num = args->num > node->num ? args->num - node->num : 0;
        struct nano_value tuple = nano_value_list(j, NANO_TUPLE, num);
        if (num)
            memcpy(tuple.list->items, args->items + node->num, num * sizeof *args->items);
        nano_scope_set(j, scope, j->program->id_varargs, tuple);
    } else if (args->num > node->num) {
        nano_jinja_fail(j, "the macro '%.*s' takes at most %zu arguments, got %zu", length, name,
                        node->num, args->num);
    }
}

static void bind_parameters(struct nano_jinja *j, const struct nano_node *node,
                            struct nano_scope *scope, const struct nano_args *args)
{
    struct nano_keyword *rest = nano_jinja_alloc(j, args->num_keywords, sizeof *rest);
    bool has_caller = false;
    if (args->num_keywords)
        memcpy(rest, args->keywords, args->num_keywords * sizeof *rest);
    struct nano_value *given = nano_jinja_alloc(j, node->num, sizeof *given);
    for (size_t i = 0; i < node->num; i++) {
        given[i] = i < args->num ? args->items[i]
                                 : take_rest(rest, args->num_keywords, node->items[i]->name);
        has_caller |= node->items[i]->id == j->program->id_caller;
    }
    if ((node->op & NANO_USES_CALLER) && !has_caller) {
        struct nano_value caller =
            take_rest(rest, args->num_keywords, j->program->names[j->program->id_caller]);
        if (caller.kind == NANO_MISSING || caller.kind == NANO_NONE)
            caller = nano_value_undefined(j, "no caller defined");
        nano_scope_set(j, scope, j->program->id_caller, caller);
    }
    bind_rest(j, node, scope, args, rest);
    for (size_t i = 0; i < node->num; i++) {
        const struct nano_node *param = node->items[i];
        if (given[i].kind == NANO_MISSING && param->a)
            given[i] = nano_jinja_eval(j, param->a);
        else if (given[i].kind == NANO_MISSING)
            given[i] = nano_value_undefined(
                j, "the parameter '%.*s' was not given",
                (int)(param->name->num_bytes < 60 ? param->name->num_bytes : 60), param->name->s);
        nano_scope_set(j, scope, param->id, given[i]);
    }
}

static struct nano_value call_macro(struct nano_jinja *j, const struct nano_macro *macro,
                                    const struct nano_args *args)
{
    struct nano_scope *before = j->scope;
    uint32_t line = j->line;
    struct nano_scope *scope = nano_scope_push(j, macro->closure);
    bind_parameters(j, macro->node, scope, args);
    size_t from = j->out_bytes;
    nano_jinja_exec(j, macro->node->body);
    j->scope = before;
    j->line = line;
    struct nano_value text = nano_jinja_take(j, from);
    text.str->is_markup = j->autoescape;
    return text;
}

/* ---- Whatever can be called ------------------------------------------------------------------ */

static struct nano_value call_joiner(struct nano_jinja *j, struct nano_joiner *joiner)
{
    bool used = joiner->used;
    joiner->used = true;
    return used ? joiner->separator : nano_value_borrow(j, "", 0);
}

static struct nano_value call_loop(struct nano_jinja *j, const struct nano_loop *loop,
                                   const struct nano_args *args)
{
    if (args->num != 1 || args->num_keywords)
        nano_jinja_fail(j, "loop() takes one argument");
    return nano_jinja_loop_again(j, loop, args->items[0]);
}

struct nano_value nano_jinja_call(struct nano_jinja *j, struct nano_value f,
                                  const struct nano_args *args)
{
    nano_jinja_enter(j);
    struct nano_value result = {0};
    switch (f.kind) {
    case NANO_MACRO:
        result = call_macro(j, f.macro, args);
        break;
    case NANO_FUNCTION:
        result = nano_jinja_call_function(j, f.function, result, args);
        break;
    case NANO_METHOD:
        result = nano_jinja_call_function(j, f.method->function, f.method->self, args);
        break;
    case NANO_LOOP:
        result = call_loop(j, f.loop, args);
        break;
    case NANO_JOINER:
        result = call_joiner(j, f.joiner);
        break;
    case NANO_BLOCK:
        result = nano_jinja_exec_block(j, f.node);
        break;
    case NANO_UNDEFINED:
        nano_jinja_fail(j, "%s", f.undefined ? f.undefined->why : "undefined");
    default:
        nano_jinja_fail(j, "'%s' object is not callable", nano_value_type(f));
    }
    j->depth--;
    return result;
}
