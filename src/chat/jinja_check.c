/* What Jinja2 finds when it compiles a template: the rules of the language that its grammar does
 * not have. */
#include "chat/ast.h"

/* Deeper trees (long chains of operators) would fail when they are rendered. */
#define MAX_TREE_DEPTH 500

struct context {
    bool in_branch; /* unknown filters and tests matter only when they are reached */
    bool in_loop;
};

static void check(struct nano_jinja *j, const struct nano_node *node, struct context context,
                  int depth);

static void check_body(struct nano_jinja *j, const struct nano_node *node, struct context context,
                       int depth)
{
    for (; node; node = node->next)
        check(j, node, context, depth);
}

/* A body that has variables of its own. */
static void check_frame(struct nano_jinja *j, const struct nano_node *node, bool in_loop, int depth)
{
    check_body(j, node, (struct context){false, in_loop}, depth);
}

static void check_children(struct nano_jinja *j, const struct nano_node *node,
                           struct context context, int depth)
{
    const struct nano_node *children[] = {node->a, node->b, node->c, node->star, node->star2};
    for (size_t i = 0; i < sizeof children / sizeof *children; i++)
        if (children[i])
            check(j, children[i], context, depth);
    for (size_t i = 0; i < node->num; i++)
        check(j, node->items[i], context, depth);
    for (size_t i = 0; i < node->num_keywords; i++)
        check(j, node->keywords[i].value, context, depth);
}

static void check_if(struct nano_jinja *j, const struct nano_node *node, struct context context,
                     int depth)
{
    context.in_branch = true;
    for (; node; node = node->c) {
        check(j, node->a, context, depth);
        check_body(j, node->body, context, depth);
        check_body(j, node->otherwise, context, depth);
    }
}

static void check_for(struct nano_jinja *j, const struct nano_node *node, struct context context,
                      int depth)
{
    check(j, node->b, context, depth);
    if (node->c)
        check(j, node->c, (struct context){false, false}, depth);
    check_frame(j, node->body, true, depth);
    check_frame(j, node->otherwise, context.in_loop, depth);
}

static void check(struct nano_jinja *j, const struct nano_node *node, struct context context,
                  int depth)
{
    j->line = node->line;
    if (++depth > MAX_TREE_DEPTH)
        nano_jinja_fail(j, "nested too deeply");
    switch (node->type) {
    case NANO_NODE_FILTER:
    case NANO_NODE_TEST:
        if (!node->function && !context.in_branch)
            nano_jinja_fail(
                j, "no %s named '%.*s'", node->type == NANO_NODE_FILTER ? "filter" : "test",
                (int)(node->name->num_bytes < 60 ? node->name->num_bytes : 60), node->name->s);
        check_children(j, node, context, depth);
        return;
    case NANO_NODE_COND:
        context.in_branch = true;
        check_children(j, node, context, depth);
        return;
    case NANO_NODE_IF:
        check_if(j, node, context, depth);
        return;
    case NANO_NODE_FOR:
        check_for(j, node, context, depth);
        return;
    case NANO_NODE_BREAK:
    case NANO_NODE_CONTINUE:
        if (!context.in_loop)
            nano_jinja_fail(j, "'%s' outside of a loop",
                            node->type == NANO_NODE_BREAK ? "break" : "continue");
        return;
    case NANO_NODE_MACRO:
        check_children(j, node, (struct context){false, false}, depth);
        check_frame(j, node->body, false, depth);
        return;
    case NANO_NODE_SCOPE:
    case NANO_NODE_BLOCK:
        check_frame(j, node->body, false, depth);
        return;
    case NANO_NODE_SET_BLOCK:
    case NANO_NODE_FILTER_BLOCK:
        if (node->b)
            check(j, node->b, (struct context){false, context.in_loop}, depth);
        check_frame(j, node->body, context.in_loop, depth);
        return;
    default:
        check_children(j, node, context, depth);
        check_frame(j, node->body, context.in_loop, depth);
    }
}

void nano_jinja_check(struct nano_jinja *j, const struct nano_program *program)
{
    check_body(j, program->body, (struct context){false, false}, 0);
}
