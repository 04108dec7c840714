/* Statements: nodes to output and variables. */
#include <string.h>

#include "chat/eval.h"

/* ---- Scopes ---------------------------------------------------------------------------------- */

struct nano_scope *nano_scope_push(struct nano_jinja *j, struct nano_scope *parent)
{
    struct nano_scope *scope = nano_jinja_alloc(j, 1, sizeof *scope);
    scope->parent = parent;
    j->scope = scope;
    return scope;
}

void nano_scope_set(struct nano_jinja *j, struct nano_scope *scope, uint32_t id,
                    struct nano_value value)
{
    if (scope->is_indexed) {
        scope->vars[id].value = value;
        return;
    }
    for (size_t i = 0; i < scope->num; i++) {
        if (scope->vars[i].id == id) {
            scope->vars[i].value = value;
            return;
        }
    }
    if (scope->num == scope->capacity) {
        scope->capacity = scope->capacity ? scope->capacity * 2 : 6;
        struct nano_var *vars = nano_jinja_alloc(j, scope->capacity, sizeof *vars);
        if (scope->num)
            memcpy(vars, scope->vars, scope->num * sizeof *vars);
        scope->vars = vars;
    }
    scope->vars[scope->num++] = (struct nano_var){id, value};
}

struct nano_value nano_scope_get(struct nano_jinja *j, uint32_t id)
{
    for (const struct nano_scope *scope = j->scope; scope; scope = scope->parent) {
        if (scope->is_indexed) {
            if (scope->vars[id].value.kind != NANO_MISSING)
                return scope->vars[id].value;
            continue;
        }
        for (size_t i = 0; i < scope->num; i++)
            if (scope->vars[i].id == id)
                return scope->vars[i].value;
    }
    const struct nano_str *name = j->program->names[id];
    const struct nano_function *function = nano_jinja_find_global(name->s, name->num_bytes);
    if (function)
        return (struct nano_value){.kind = NANO_FUNCTION, .function = function};
    if (name->num_bytes == 4 && memcmp(name->s, "self", 4) == 0)
        return (struct nano_value){.kind = NANO_SELF};
    return nano_value_undefined(j, "'%.*s' is undefined",
                                (int)(name->num_bytes < 100 ? name->num_bytes : 100), name->s);
}

/* ---- Assignment ------------------------------------------------------------------------------ */

static void assign(struct nano_jinja *j, struct nano_scope *scope, const struct nano_node *target,
                   struct nano_value value)
{
    if (target->type == NANO_NODE_NAME) {
        nano_scope_set(j, scope, target->id, value);
    } else if (target->type == NANO_NODE_ATTR_TARGET) {
        struct nano_value object = nano_scope_get(j, target->id);
        if (object.kind != NANO_NAMESPACE)
            nano_jinja_fail(j, "cannot set an attribute of '%s', only of a namespace",
                            nano_value_type(object));
        nano_dict_set(j, object.dict, (struct nano_value){.kind = NANO_STR, .str = target->name},
                      value);
    } else {
        if (!nano_value_is_iterable(value))
            nano_jinja_fail(j, "cannot unpack '%s'", nano_value_type(value));
        struct nano_list list = nano_value_items(j, value);
        if (list.num != target->num)
            nano_jinja_fail(j, "cannot unpack %zu values to %zu names", list.num, target->num);
        for (size_t i = 0; i < list.num; i++)
            assign(j, scope, target->items[i], list.items[i]);
    }
}

/* ---- Loops ----------------------------------------------------------------------------------- */

/* The items for which the condition behind the for holds. */
static struct nano_list filter_items(struct nano_jinja *j, const struct nano_node *node,
                                     struct nano_scope *outer, struct nano_list list)
{
    struct nano_value kept = nano_value_list(j, NANO_LIST, list.num);
    kept.list->num = 0;
    for (size_t i = 0; i < list.num; i++) {
        assign(j, nano_scope_push(j, outer), node->a, list.items[i]);
        if (nano_value_truth(j, nano_jinja_eval(j, node->c)))
            kept.list->items[kept.list->num++] = list.items[i];
    }
    j->scope = outer;
    return *kept.list;
}

/* True if a turn came to its end: what follows else is for loops without one. */
static bool run_turns(struct nano_jinja *j, struct nano_loop *loop, struct nano_value loop_value)
{
    const struct nano_node *node = loop->node;
    struct nano_scope *scope = NULL;
    uint64_t num_closures = 0;
    bool ended = false;
    for (; loop->pos < loop->num; loop->pos++) {
        nano_jinja_step(j, 1);
        if (!scope || j->num_closures != num_closures)
            scope = nano_scope_push(j, loop->outer);
        num_closures = j->num_closures;
        scope->num = 0;
        j->scope = scope;
        nano_scope_set(j, scope, j->program->id_loop, loop_value);
        assign(j, scope, node->a, loop->items[loop->pos]);
        enum nano_flow flow = nano_jinja_exec(j, node->body);
        if (flow == NANO_FLOW_BREAK)
            break;
        ended |= flow == NANO_FLOW_NEXT;
    }
    j->scope = loop->outer;
    return ended;
}

static enum nano_flow run_loop(struct nano_jinja *j, const struct nano_node *node,
                               struct nano_scope *outer, struct nano_value items, int64_t depth0)
{
    struct nano_loop *loop = nano_jinja_alloc(j, 1, sizeof *loop);
    struct nano_scope *before = j->scope;
    enum nano_flow flow = NANO_FLOW_NEXT;
    struct nano_list list = nano_value_items(j, items);
    if (node->c)
        list = filter_items(j, node, outer, list);
    *loop = (struct nano_loop){
        .items = list.items, .num = list.num, .depth0 = depth0, .node = node, .outer = outer};
    bool ended = run_turns(j, loop, (struct nano_value){.kind = NANO_LOOP, .loop = loop});
    if (!ended && node->otherwise) {
        nano_scope_push(j, outer);
        flow = nano_jinja_exec(j, node->otherwise);
    }
    j->scope = before;
    return flow;
}

struct nano_value nano_jinja_loop_again(struct nano_jinja *j, const struct nano_loop *loop,
                                        struct nano_value items)
{
    size_t from = j->out_bytes;
    if (!loop->node->flag)
        nano_jinja_fail(j, "only a recursive loop can be called");
    nano_jinja_enter(j);
    run_loop(j, loop->node, loop->outer, items, loop->depth0 + 1);
    j->depth--;
    return nano_jinja_take(j, from);
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* Runs a body in a scope of its own, inside of `parent`. */
static enum nano_flow run_inside(struct nano_jinja *j, struct nano_scope *parent,
                                 const struct nano_node *body)
{
    struct nano_scope *before = j->scope;
    nano_scope_push(j, parent);
    enum nano_flow flow = nano_jinja_exec(j, body);
    j->scope = before;
    return flow;
}

static enum nano_flow exec_set_block(struct nano_jinja *j, const struct nano_node *node)
{
    size_t from = j->out_bytes;
    enum nano_flow flow = run_inside(j, j->scope, node->body);
    struct nano_value value = nano_jinja_take(j, from);
    if (flow != NANO_FLOW_NEXT)
        return flow;
    if (node->b)
        value = nano_jinja_filter(j, node->b, value);
    assign(j, j->scope, node->a, value);
    return flow;
}

static enum nano_flow exec_filter_block(struct nano_jinja *j, const struct nano_node *node)
{
    size_t from = j->out_bytes;
    enum nano_flow flow = run_inside(j, j->scope, node->body);
    struct nano_value value = nano_jinja_take(j, from);
    if (flow == NANO_FLOW_NEXT)
        nano_value_print(j, nano_jinja_filter(j, node->b, value));
    return flow;
}

static struct nano_value make_macro(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_macro *macro = nano_jinja_alloc(j, 1, sizeof *macro);
    *macro = (struct nano_macro){node, j->scope};
    j->num_closures++;
    return (struct nano_value){.kind = NANO_MACRO, .macro = macro};
}

static void exec_call_block(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_args args;
    struct nano_value f = nano_jinja_eval(j, node->a->a);
    nano_jinja_eval_args(j, node->a, &args);
    struct nano_keyword *keywords = nano_jinja_alloc(j, args.num_keywords + 1, sizeof *keywords);
    if (args.num_keywords)
        memcpy(keywords, args.keywords, args.num_keywords * sizeof *keywords);
    keywords[args.num_keywords++] =
        (struct nano_keyword){j->program->names[j->program->id_caller], make_macro(j, node->b)};
    args.keywords = keywords;
    j->line = node->line;
    nano_value_print(j, nano_jinja_call(j, f, &args));
}

static enum nano_flow exec_with(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_scope *before = j->scope;
    struct nano_value values = nano_value_list(j, NANO_LIST, node->num / 2);
    for (size_t i = 0; i < node->num / 2; i++)
        values.list->items[i] = nano_jinja_eval(j, node->items[2 * i + 1]);
    struct nano_scope *scope = nano_scope_push(j, before);
    for (size_t i = 0; i < node->num / 2; i++)
        assign(j, scope, node->items[2 * i], values.list->items[i]);
    enum nano_flow flow = nano_jinja_exec(j, node->body);
    j->scope = before;
    return flow;
}

static enum nano_flow exec_autoescape(struct nano_jinja *j, const struct nano_node *node)
{
    bool before = j->autoescape;
    j->autoescape = nano_value_truth(j, nano_jinja_eval(j, node->a));
    enum nano_flow flow = run_inside(j, j->scope, node->body);
    j->autoescape = before;
    return flow;
}

struct nano_value nano_jinja_exec_block(struct nano_jinja *j, const struct nano_node *block)
{
    size_t from = j->out_bytes;
    nano_jinja_enter(j);
    run_inside(j, block->flag ? j->scope : j->globals, block->body);
    j->depth--;
    return nano_jinja_take(j, from);
}

static void exec_print(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_value value = nano_jinja_eval(j, node->a);
    nano_value_print(j, j->autoescape ? nano_value_escape(j, value) : value);
}

static enum nano_flow exec_if(struct nano_jinja *j, const struct nano_node *node)
{
    for (; node; node = node->c) {
        j->line = node->line;
        if (nano_value_truth(j, nano_jinja_eval(j, node->a)))
            return nano_jinja_exec(j, node->body);
        if (node->otherwise)
            return nano_jinja_exec(j, node->otherwise);
    }
    return NANO_FLOW_NEXT;
}

static enum nano_flow exec_one(struct nano_jinja *j, const struct nano_node *node)
{
    switch (node->type) {
    case NANO_NODE_TEXT:
        nano_jinja_write(j, node->name->s, node->name->num_bytes);
        return NANO_FLOW_NEXT;
    case NANO_NODE_PRINT:
        exec_print(j, node);
        return NANO_FLOW_NEXT;
    case NANO_NODE_IF:
        return exec_if(j, node);
    case NANO_NODE_FOR:
        return run_loop(j, node, j->scope, nano_jinja_eval(j, node->b), 0);
    case NANO_NODE_SET:
        assign(j, j->scope, node->a, nano_jinja_eval(j, node->b));
        return NANO_FLOW_NEXT;
    case NANO_NODE_SET_BLOCK:
        return exec_set_block(j, node);
    case NANO_NODE_MACRO:
        nano_scope_set(j, j->scope, node->id, make_macro(j, node));
        return NANO_FLOW_NEXT;
    case NANO_NODE_CALL_BLOCK:
        exec_call_block(j, node);
        return NANO_FLOW_NEXT;
    case NANO_NODE_FILTER_BLOCK:
        return exec_filter_block(j, node);
    case NANO_NODE_WITH:
        return exec_with(j, node);
    case NANO_NODE_SCOPE:
        return run_inside(j, j->scope, node->body);
    case NANO_NODE_AUTOESCAPE:
        return exec_autoescape(j, node);
    case NANO_NODE_BLOCK:
        nano_value_print(j, nano_jinja_exec_block(j, node));
        return NANO_FLOW_NEXT;
    case NANO_NODE_BREAK:
        return NANO_FLOW_BREAK;
    case NANO_NODE_CONTINUE:
        return NANO_FLOW_CONTINUE;
    default:
        nano_jinja_fail(j, "a chat template cannot load other templates");
    }
}

enum nano_flow nano_jinja_exec(struct nano_jinja *j, const struct nano_node *body)
{
    enum nano_flow flow = NANO_FLOW_NEXT;
    nano_jinja_enter(j);
    for (; body && flow == NANO_FLOW_NEXT; body = body->next) {
        nano_jinja_step(j, 1);
        j->line = body->line;
        flow = exec_one(j, body);
    }
    j->depth--;
    return flow;
}
