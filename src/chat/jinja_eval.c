/* Expressions: nodes to values. */
#include "chat/eval.h"

#include <string.h>

static struct nano_value eval_list(struct nano_jinja *j, const struct nano_node *node,
                                   enum nano_kind kind)
{
    struct nano_value list = nano_value_list(j, kind, node->num);
    for (size_t i = 0; i < node->num; i++)
        list.list->items[i] = nano_jinja_eval(j, node->items[i]);
    return list;
}

static struct nano_value eval_dict(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_value dict = nano_dict_create(j, node->num / 2);
    for (size_t i = 0; i < node->num; i += 2) {
        struct nano_value key = nano_jinja_eval(j, node->items[i]);
        nano_dict_set(j, dict.dict, key, nano_jinja_eval(j, node->items[i + 1]));
    }
    return dict;
}

static bool is_literal(const struct nano_node *node)
{
    return node->type == NANO_NODE_CONST || node->type == NANO_NODE_LIST ||
           node->type == NANO_NODE_TUPLE || node->type == NANO_NODE_DICT;
}

static struct nano_value eval_slice(struct nano_jinja *j, const struct nano_node *node,
                                    struct nano_value v)
{
    const struct nano_node *slice = node->b, *parts[] = {slice->a, slice->b, slice->c};
    struct nano_value bounds[3];
    for (int i = 0; i < 3; i++)
        bounds[i] = parts[i] ? nano_jinja_eval(j, parts[i]) : nano_value_none();
    bool can = v.kind == NANO_STR || v.kind == NANO_LIST || v.kind == NANO_TUPLE ||
               v.kind == NANO_RANGE || v.kind == NANO_UNDEFINED;
    if (!can && node->flag &&
        is_literal(node->a)) /* Jinja2 computes it in advance, in its own way */
        return nano_value_undefined(j, "'%s' object has no slices", nano_value_type(v));
    return nano_value_slice(j, v, bounds);
}

static struct nano_value eval_item(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_value v = nano_jinja_eval(j, node->a);
    j->line = node->line;
    if (node->b->type == NANO_NODE_SLICE)
        return eval_slice(j, node, v);
    return nano_value_item(j, v, nano_jinja_eval(j, node->b));
}

static bool compare(struct nano_jinja *j, char op, struct nano_value a, struct nano_value b)
{
    int order;
    switch (op) {
    case '=':
        return nano_value_equal(j, a, b);
    case '!':
        return !nano_value_equal(j, a, b);
    case 'i':
        return nano_value_contains(j, b, a);
    case 'n':
        return !nano_value_contains(j, b, a);
    case '<':
        return nano_value_compare(j, a, b, "<") == -1;
    case '>':
        return nano_value_compare(j, a, b, ">") == 1;
    case 'l':
        order = nano_value_compare(j, a, b, "<=");
        return order == -1 || order == 0;
    default:
        order = nano_value_compare(j, a, b, ">=");
        return order == 1 || order == 0;
    }
}

static struct nano_value eval_compare(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_value left = nano_jinja_eval(j, node->a);
    bool result = true;
    for (size_t i = 0; i < node->num && result; i++) {
        struct nano_value right = nano_jinja_eval(j, node->items[i]->a);
        j->line = node->line;
        result = compare(j, node->items[i]->op, left, right);
        left = right;
    }
    return nano_value_bool(result);
}

static struct nano_value eval_concat(struct nano_jinja *j, const struct nano_node *node)
{
    size_t from = j->out_bytes;
    for (size_t i = 0; i < node->num; i++) {
        struct nano_value v = nano_jinja_eval(j, node->items[i]);
        nano_value_print(j, v);
    }
    return nano_jinja_take(j, from);
}

static struct nano_value eval_condition(struct nano_jinja *j, const struct nano_node *node)
{
    if (nano_value_truth(j, nano_jinja_eval(j, node->b)))
        return nano_jinja_eval(j, node->a);
    if (node->c)
        return nano_jinja_eval(j, node->c);
    return nano_value_undefined(j, "the inline if on line %u is false and has no else", node->line);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static size_t star_items(struct nano_jinja *j, const struct nano_node *node, struct nano_list *list)
{
    if (node->star)
        *list = nano_value_items(j, nano_jinja_eval(j, node->star));
    return list->num;
}

static const struct nano_dict *star_dict(struct nano_jinja *j, const struct nano_node *node)
{
    if (!node->star2)
        return NULL;
    struct nano_value v = nano_jinja_eval(j, node->star2);
    if (v.kind != NANO_DICT)
        nano_jinja_fail(j, "** needs a mapping, not '%s'", nano_value_type(v));
    return v.dict;
}

void nano_jinja_eval_args(struct nano_jinja *j, const struct nano_node *node,
                          struct nano_args *args)
{
    struct nano_list list = {0};
    *args = (struct nano_args){0};
    if (node->num == 0 && node->num_keywords == 0 && !node->star && !node->star2)
        return;
    struct nano_value *items = nano_jinja_alloc(j, node->num, sizeof *items);
    for (size_t i = 0; i < node->num; i++)
        items[i] = nano_jinja_eval(j, node->items[i]);
    args->num = node->num + star_items(j, node, &list);
    args->items = items;
    if (list.num > 0) {
        args->items = nano_jinja_alloc(j, args->num, sizeof *args->items);
        memcpy(args->items, items, node->num * sizeof *items);
        memcpy(args->items + node->num, list.items, list.num * sizeof *items);
    }
    const struct nano_dict *dict = star_dict(j, node);
    size_t num_keywords = node->num_keywords + (dict ? dict->num : 0);
    if (num_keywords == 0)
        return;
    args->keywords = nano_jinja_alloc(j, num_keywords, sizeof *args->keywords);
    for (size_t i = 0; i < node->num_keywords; i++)
        args->keywords[args->num_keywords++] = (struct nano_keyword){
            node->keywords[i].name, nano_jinja_eval(j, node->keywords[i].value)};
    for (size_t i = 0; dict && i < dict->num; i++) {
        if (dict->entries[i].key.kind != NANO_STR)
            nano_jinja_fail(j, "names of arguments must be strings");
        args->keywords[args->num_keywords++] =
            (struct nano_keyword){dict->entries[i].key.str, dict->entries[i].value};
    }
}

static struct nano_value eval_call(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_args args;
    struct nano_value f = nano_jinja_eval(j, node->a);
    nano_jinja_eval_args(j, node, &args);
    j->line = node->line;
    return nano_jinja_call(j, f, &args);
}

static struct nano_value apply(struct nano_jinja *j, const struct nano_node *node,
                               struct nano_value value)
{
    struct nano_args args;
    if (!node->function)
        nano_jinja_fail(j, "no %s named '%.*s'", node->type == NANO_NODE_FILTER ? "filter" : "test",
                        (int)(node->name->num_bytes < 60 ? node->name->num_bytes : 60),
                        node->name->s);
    nano_jinja_eval_args(j, node, &args);
    j->line = node->line;
    return nano_jinja_call_function(j, node->function, value, &args);
}

struct nano_value nano_jinja_filter(struct nano_jinja *j, const struct nano_node *node,
                                    struct nano_value value)
{
    nano_jinja_enter(j);
    if (node->a)
        value = nano_jinja_filter(j, node->a, value);
    value = apply(j, node, value);
    j->depth--;
    return value;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static struct nano_value eval_attribute(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_value v = nano_jinja_eval(j, node->a);
    j->line = node->line;
    return nano_value_attribute(j, v, node->name);
}

static struct nano_value eval_binary(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_value a = nano_jinja_eval(j, node->a), b = nano_jinja_eval(j, node->b);
    j->line = node->line;
    return nano_value_binary(j, node->op, a, b);
}

static struct nano_value eval_and_or(struct nano_jinja *j, const struct nano_node *node)
{
    struct nano_value v = nano_jinja_eval(j, node->a);
    bool done = nano_value_truth(j, v) == (node->type == NANO_NODE_OR);
    return done ? v : nano_jinja_eval(j, node->b);
}

static struct nano_value eval_node(struct nano_jinja *j, const struct nano_node *node)
{
    switch (node->type) {
    case NANO_NODE_CONST:
        return node->value;
    case NANO_NODE_NAME:
        return nano_scope_get(j, node->id);
    case NANO_NODE_LIST:
        return eval_list(j, node, NANO_LIST);
    case NANO_NODE_TUPLE:
        return eval_list(j, node, NANO_TUPLE);
    case NANO_NODE_DICT:
        return eval_dict(j, node);
    case NANO_NODE_ATTR:
        return eval_attribute(j, node);
    case NANO_NODE_ITEM:
        return eval_item(j, node);
    case NANO_NODE_CALL:
        return eval_call(j, node);
    case NANO_NODE_FILTER:
    case NANO_NODE_TEST:
        return apply(j, node, nano_jinja_eval(j, node->a));
    case NANO_NODE_NOT:
        return nano_value_bool(!nano_value_truth(j, nano_jinja_eval(j, node->a)));
    case NANO_NODE_SIGN:
        return nano_value_negate(j, nano_jinja_eval(j, node->a), node->op == '-');
    case NANO_NODE_AND:
    case NANO_NODE_OR:
        return eval_and_or(j, node);
    case NANO_NODE_BINARY:
        return eval_binary(j, node);
    case NANO_NODE_CONCAT:
        return eval_concat(j, node);
    case NANO_NODE_COMPARE:
        return eval_compare(j, node);
    case NANO_NODE_COND:
        return eval_condition(j, node);
    default: /* a slice between commas */
        nano_jinja_fail(j, "a slice can only stand alone between brackets");
    }
}

struct nano_value nano_jinja_eval(struct nano_jinja *j, const struct nano_node *node)
{
    nano_jinja_enter(j);
    struct nano_value v = eval_node(j, node);
    j->depth--;
    return v;
}
