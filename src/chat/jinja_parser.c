/* Statements: tokens to nodes. The grammar is Jinja2's, recursive descent with a limit on depth. */
#include <stdio.h>
#include <string.h>

#include "chat/ast.h"

#define MAX_PARSER_DEPTH 150

/* ---- Tokens and nodes ------------------------------------------------------------------------ */

const struct nano_token *nano_parser_peek(const struct nano_parser *p, size_t ahead)
{
    const struct nano_token *token = &p->tokens[p->pos];
    for (; ahead > 0 && token->type != NANO_TOKEN_END; ahead--)
        token++;
    return token;
}

_Noreturn void nano_parser_fail(struct nano_parser *p, const struct nano_token *token,
                                const char *what)
{
    static const char *const names[] = {
        [NANO_TOKEN_DATA] = "text",       [NANO_TOKEN_PRINT] = "{{",
        [NANO_TOKEN_PRINT_END] = "}}",    [NANO_TOKEN_BLOCK] = "{%",
        [NANO_TOKEN_BLOCK_END] = "%}",    [NANO_TOKEN_STRING] = "a string",
        [NANO_TOKEN_NUMBER] = "a number", [NANO_TOKEN_END] = "the end of the template"};
    p->j->line = token->line;
    if (token->type == NANO_TOKEN_NAME)
        nano_jinja_fail(p->j, "%s, got '%.*s'", what,
                        (int)(token->num_bytes < 40 ? token->num_bytes : 40), token->s);
    if (token->type == NANO_TOKEN_OPERATOR)
        nano_jinja_fail(p->j, "%s, got '%.2s'", what, token->op);
    nano_jinja_fail(p->j, "%s, got %s", what, names[token->type]);
}

bool nano_parser_at(const struct nano_parser *p, const char *op)
{
    const struct nano_token *token = nano_parser_peek(p, 0);
    return token->type == NANO_TOKEN_OPERATOR && token->op[0] == op[0] && token->op[1] == op[1];
}

bool nano_parser_skip(struct nano_parser *p, const char *op)
{
    if (!nano_parser_at(p, op))
        return false;
    p->pos++;
    return true;
}

void nano_parser_expect(struct nano_parser *p, const char *op)
{
    char what[24];
    if (nano_parser_skip(p, op))
        return;
    snprintf(what, sizeof what, "expected '%s'", op);
    nano_parser_fail(p, nano_parser_peek(p, 0), what);
}

static bool is_name(const struct nano_token *token, const char *name)
{
    return token->type == NANO_TOKEN_NAME && strlen(name) == token->num_bytes &&
           memcmp(token->s, name, token->num_bytes) == 0;
}

bool nano_parser_at_name(const struct nano_parser *p, const char *name)
{
    return is_name(nano_parser_peek(p, 0), name);
}

bool nano_parser_skip_name(struct nano_parser *p, const char *name)
{
    if (!nano_parser_at_name(p, name))
        return false;
    p->pos++;
    return true;
}

struct nano_node *nano_parser_node(struct nano_parser *p, enum nano_node_type type, uint32_t line)
{
    struct nano_node *node = nano_jinja_alloc(p->j, 1, sizeof *node);
    node->type = type;
    node->line = line;
    return node;
}

/* A bigger array each time, twice as large, in an arena: the old ones cost as much again. */
static void *grow(struct nano_parser *p, void *items, size_t num, size_t *capacity, size_t size)
{
    if (num < *capacity)
        return items;
    *capacity = *capacity ? *capacity * 2 : 4;
    void *larger = nano_jinja_alloc(p->j, *capacity, size);
    if (num)
        memcpy(larger, items, num * size);
    return larger;
}

void nano_parser_add(struct nano_parser *p, struct nano_nodes *nodes, struct nano_node *node)
{
    nodes->items = grow(p, nodes->items, nodes->num, &nodes->capacity, sizeof *nodes->items);
    nodes->items[nodes->num++] = node;
}

struct nano_str *nano_parser_text(struct nano_parser *p, const char *s, size_t num_bytes)
{
    struct nano_str *str = nano_value_borrow(p->j, s, num_bytes).str;
    nano_str_chars(str); /* a program is shared by threads: nothing is left to be computed */
    return str;
}

struct nano_str *nano_parser_name(struct nano_parser *p)
{
    const struct nano_token *token = nano_parser_peek(p, 0);
    if (token->type != NANO_TOKEN_NAME)
        nano_parser_fail(p, token, "expected a name");
    p->pos++;
    return nano_parser_text(p, token->s, token->num_bytes);
}

uint32_t nano_parser_id(struct nano_parser *p, const char *name, size_t num_bytes)
{
    struct nano_program *program = p->program;
    for (size_t i = 0; i < program->num_names; i++)
        if (program->names[i]->num_bytes == num_bytes &&
            memcmp(program->names[i]->s, name, num_bytes) == 0)
            return (uint32_t)i;
    program->names =
        grow(p, program->names, program->num_names, &p->names_capacity, sizeof *program->names);
    program->names[program->num_names] = nano_parser_text(p, name, num_bytes);
    return (uint32_t)program->num_names++;
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

static struct nano_node *parse_statement(struct nano_parser *p);

static void expect_block_end(struct nano_parser *p)
{
    const struct nano_token *token = nano_parser_peek(p, 0);
    if (token->type != NANO_TOKEN_BLOCK_END)
        nano_parser_fail(p, token, "expected '%}'");
    p->pos++;
}

static struct nano_node *parse_text(struct nano_parser *p)
{
    const struct nano_token *token = nano_parser_peek(p, 0);
    struct nano_node *node;
    p->pos++;
    if (token->type == NANO_TOKEN_DATA) {
        node = nano_parser_node(p, NANO_NODE_TEXT, token->line);
        node->name = nano_parser_text(p, token->s, token->num_bytes);
        return node;
    }
    node = nano_parser_node(p, NANO_NODE_PRINT, token->line);
    node->a = nano_parse_tuple(p, true, NULL, false);
    node->a->flag |= node->a->type == NANO_NODE_ITEM;
    if (nano_parser_peek(p, 0)->type != NANO_TOKEN_PRINT_END)
        nano_parser_fail(p, nano_parser_peek(p, 0), "expected '}}'");
    p->pos++;
    return node;
}

static bool at_one_of(const struct nano_parser *p, const char *const *names)
{
    for (; names && *names; names++)
        if (nano_parser_at_name(p, *names))
            return true;
    return false;
}

static _Noreturn void fail_end(struct nano_parser *p)
{
    char what[80];
    snprintf(what, sizeof what, "unexpected end of template, expected '%s'%s%s%s", p->until[0],
             p->until[1] ? " or '" : "", p->until[1] ? p->until[1] : "", p->until[1] ? "'" : "");
    p->j->line = nano_parser_peek(p, 0)->line;
    nano_jinja_fail(p->j, "%s", what);
}

/* Statements up to one of the tags `until`, whose name is the next token then; NULL: the end. */
static struct nano_node *parse_body(struct nano_parser *p, const char *const *until)
{
    const char *const *outer = p->until;
    struct nano_node *first = NULL, **last = &first;
    p->until = until;
    if (++p->depth > MAX_PARSER_DEPTH)
        nano_parser_fail(p, nano_parser_peek(p, 0), "nested too deeply");
    for (;;) {
        const struct nano_token *token = nano_parser_peek(p, 0);
        if (token->type == NANO_TOKEN_END) {
            if (until)
                fail_end(p);
            break;
        }
        if (token->type != NANO_TOKEN_BLOCK) {
            *last = parse_text(p);
        } else {
            p->pos++;
            if (at_one_of(p, until))
                break;
            *last = parse_statement(p);
            expect_block_end(p);
        }
        while (*last)
            last = &(*last)->next;
    }
    p->depth--;
    p->until = outer;
    return first;
}

/* The rest of an opening tag, a body and the name of the tag that ends it. */
static struct nano_node *parse_block_body(struct nano_parser *p, const char *const *until)
{
    nano_parser_skip(p, ":");
    expect_block_end(p);
    return parse_body(p, until);
}

static struct nano_node *parse_simple_body(struct nano_parser *p, const char *end)
{
    const char *until[] = {end, NULL};
    struct nano_node *body = parse_block_body(p, until);
    p->pos++;
    return body;
}

/* ---- Targets --------------------------------------------------------------------------------- */

static void check_target(struct nano_parser *p, const struct nano_node *node)
{
    p->j->line = node->line;
    if (node->type == NANO_NODE_TUPLE) {
        for (size_t i = 0; i < node->num; i++)
            check_target(p, node->items[i]);
    } else if (node->type != NANO_NODE_NAME && node->type != NANO_NODE_ATTR_TARGET) {
        nano_jinja_fail(p->j, "cannot assign to this");
    }
}

static struct nano_node *parse_one_target(struct nano_parser *p, bool with_attribute)
{
    const struct nano_token *next = nano_parser_peek(p, 1);
    if (with_attribute && nano_parser_peek(p, 0)->type == NANO_TOKEN_NAME &&
        next->type == NANO_TOKEN_OPERATOR && next->op[0] == '.') {
        const struct nano_token *token = nano_parser_peek(p, 0);
        struct nano_node *node = nano_parser_node(p, NANO_NODE_ATTR_TARGET, token->line);
        node->id = nano_parser_id(p, token->s, token->num_bytes);
        p->pos += 2;
        node->name = nano_parser_name(p);
        return node;
    }
    return nano_parse_primary(p);
}

/* a, or a, b … as a TUPLE. An attribute can only be a target alone. */
static struct nano_node *parse_target(struct nano_parser *p, const char *end, bool with_attribute)
{
    struct nano_nodes nodes = {0};
    uint32_t line = nano_parser_peek(p, 0)->line;
    bool is_tuple = false;
    do {
        if (is_tuple && ((end && nano_parser_at_name(p, end)) || nano_parser_at(p, "=") ||
                         nano_parser_peek(p, 0)->type == NANO_TOKEN_BLOCK_END))
            break;
        if (end && nano_parser_at_name(p, end))
            nano_parser_fail(p, nano_parser_peek(p, 0), "expected a target");
        nano_parser_add(p, &nodes, parse_one_target(p, with_attribute && nodes.num == 0));
        if (nodes.items[0]->type == NANO_NODE_ATTR_TARGET)
            break;
        if (nano_parser_at(p, ","))
            is_tuple = true;
    } while (nano_parser_skip(p, ","));
    struct nano_node *target = nodes.items[0];
    if (is_tuple) {
        target = nano_parser_node(p, NANO_NODE_TUPLE, line);
        target->items = nodes.items;
        target->num = nodes.num;
    }
    check_target(p, target);
    return target;
}

static struct nano_node *parse_name_target(struct nano_parser *p, enum nano_node_type type)
{
    struct nano_node *node = nano_parser_node(p, type, nano_parser_peek(p, 0)->line);
    node->name = nano_parser_name(p);
    node->id = nano_parser_id(p, node->name->s, node->name->num_bytes);
    return node;
}

/* ---- Statements ------------------------------------------------------------------------------ */

static bool stores_id(const struct nano_node *target, uint32_t id)
{
    if (target->type == NANO_NODE_NAME)
        return target->id == id;
    for (size_t i = 0; i < target->num; i++)
        if (stores_id(target->items[i], id))
            return true;
    return false;
}

static void parse_for(struct nano_parser *p, struct nano_node *node)
{
    static const char *const until[] = {"endfor", "else", NULL};
    node->type = NANO_NODE_FOR;
    node->a = parse_target(p, "in", false);
    if (stores_id(node->a, p->program->id_loop))
        nano_jinja_fail(p->j, "the variable of a for cannot be called 'loop'");
    if (!nano_parser_skip_name(p, "in"))
        nano_parser_fail(p, nano_parser_peek(p, 0), "expected 'in'");
    node->b = nano_parse_tuple(p, false, "recursive", false);
    if (nano_parser_skip_name(p, "if"))
        node->c = nano_parse_expression(p, true);
    node->flag = nano_parser_skip_name(p, "recursive");
    node->body = parse_block_body(p, until);
    bool has_else = nano_parser_at_name(p, "else");
    p->pos++;
    if (has_else)
        node->otherwise = parse_simple_body(p, "endfor");
}

static void parse_if(struct nano_parser *p, struct nano_node *node)
{
    static const char *const until[] = {"elif", "else", "endif", NULL};
    for (;;) {
        node->type = NANO_NODE_IF;
        node->a = nano_parse_tuple(p, false, NULL, false);
        node->body = parse_block_body(p, until);
        const struct nano_token *token = nano_parser_peek(p, 0);
        p->pos++;
        if (is_name(token, "elif")) { /* a chain that is walked in a loop, however long */
            node->c = nano_parser_node(p, NANO_NODE_IF, token->line);
            node = node->c;
            continue;
        }
        if (is_name(token, "else"))
            node->otherwise = parse_simple_body(p, "endif");
        return;
    }
}

static void parse_set(struct nano_parser *p, struct nano_node *node)
{
    node->a = parse_target(p, NULL, true);
    if (nano_parser_skip(p, "=")) {
        node->type = NANO_NODE_SET;
        node->b = nano_parse_tuple(p, true, NULL, false);
        return;
    }
    node->type = NANO_NODE_SET_BLOCK;
    node->b = nano_parse_filters(p, NULL, false);
    node->body = parse_simple_body(p, "endset");
}

static void parse_parameters(struct nano_parser *p, struct nano_node *node)
{
    struct nano_nodes params = {0};
    bool has_default = false;
    nano_parser_expect(p, "(");
    while (!nano_parser_at(p, ")")) {
        if (params.num)
            nano_parser_expect(p, ",");
        struct nano_node *param = parse_name_target(p, NANO_NODE_PARAM);
        for (size_t i = 0; i < params.num; i++)
            if (params.items[i]->id == param->id)
                nano_jinja_fail(p->j, "two parameters have the same name");
        if (nano_parser_skip(p, "=")) {
            param->a = nano_parse_expression(p, true);
            has_default = true;
        } else if (has_default) {
            nano_parser_fail(p, nano_parser_peek(p, 0),
                             "a parameter without default follows one with");
        }
        nano_parser_add(p, &params, param);
    }
    nano_parser_expect(p, ")");
    node->items = params.items;
    node->num = params.num;
}

static void parse_macro_body(struct nano_parser *p, struct nano_node *node, const char *end)
{
    char outer = p->uses;
    p->uses = 0;
    node->body = parse_simple_body(p, end);
    node->op = p->uses;
    p->uses |= outer;
}

static void parse_macro(struct nano_parser *p, struct nano_node *node)
{
    node->type = NANO_NODE_MACRO;
    node->name = nano_parser_name(p);
    node->id = nano_parser_id(p, node->name->s, node->name->num_bytes);
    parse_parameters(p, node);
    parse_macro_body(p, node, "endmacro");
}

static void parse_call_block(struct nano_parser *p, struct nano_node *node)
{
    node->type = NANO_NODE_CALL_BLOCK;
    node->b = nano_parser_node(p, NANO_NODE_MACRO, node->line);
    node->b->id = p->program->id_caller;
    if (nano_parser_at(p, "("))
        parse_parameters(p, node->b);
    node->a = nano_parse_expression(p, true);
    if (node->a->type != NANO_NODE_CALL)
        nano_parser_fail(p, nano_parser_peek(p, 0), "expected a call");
    parse_macro_body(p, node->b, "endcall");
}

static void parse_filter_block(struct nano_parser *p, struct nano_node *node)
{
    node->type = NANO_NODE_FILTER_BLOCK;
    node->b = nano_parse_filters(p, NULL, true);
    node->body = parse_simple_body(p, "endfilter");
}

static void parse_with(struct nano_parser *p, struct nano_node *node)
{
    struct nano_nodes nodes = {0};
    node->type = NANO_NODE_WITH;
    while (nano_parser_peek(p, 0)->type != NANO_TOKEN_BLOCK_END) {
        if (nodes.num)
            nano_parser_expect(p, ",");
        nano_parser_add(p, &nodes, parse_target(p, NULL, false));
        nano_parser_expect(p, "=");
        nano_parser_add(p, &nodes, nano_parse_expression(p, true));
    }
    node->items = nodes.items;
    node->num = nodes.num;
    node->body = parse_simple_body(p, "endwith");
}

static void parse_generation(struct nano_parser *p, struct nano_node *node)
{
    node->type = NANO_NODE_SCOPE;
    node->body = parse_simple_body(p, "endgeneration");
}

static void parse_autoescape(struct nano_parser *p, struct nano_node *node)
{
    node->type = NANO_NODE_AUTOESCAPE;
    node->a = nano_parse_expression(p, true);
    node->body = parse_simple_body(p, "endautoescape");
}

static void parse_block(struct nano_parser *p, struct nano_node *node)
{
    struct nano_program *program = p->program;
    node->type = NANO_NODE_BLOCK;
    node->name = nano_parser_name(p);
    for (size_t i = 0; i < program->num_blocks; i++)
        if (program->blocks[i]->name->num_bytes == node->name->num_bytes &&
            memcmp(program->blocks[i]->name->s, node->name->s, node->name->num_bytes) == 0)
            nano_parser_fail(p, nano_parser_peek(p, 0), "two blocks have the same name");
    program->blocks =
        grow(p, program->blocks, program->num_blocks, &p->blocks_capacity, sizeof *program->blocks);
    program->blocks[program->num_blocks++] = node;
    node->flag = nano_parser_skip_name(p, "scoped");
    nano_parser_skip_name(p, "required");
    node->body = parse_simple_body(p, "endblock");
    const struct nano_token *token = nano_parser_peek(p, 0);
    if (token->type == NANO_TOKEN_NAME && token->num_bytes == node->name->num_bytes &&
        memcmp(token->s, node->name->s, token->num_bytes) == 0)
        p->pos++;
}

static void parse_print(struct nano_parser *p, struct nano_node *node)
{
    node->type = NANO_NODE_PRINT;
    node->a = nano_parse_expression(p, true);
    while (nano_parser_skip(p, ",")) {
        node->next = nano_parser_node(p, NANO_NODE_PRINT, node->line);
        node = node->next;
        node->a = nano_parse_expression(p, true);
    }
}

static void parse_break(struct nano_parser *p, struct nano_node *node)
{
    (void)p;
    node->type = NANO_NODE_BREAK;
}

static void parse_continue(struct nano_parser *p, struct nano_node *node)
{
    (void)p;
    node->type = NANO_NODE_CONTINUE;
}

/* include, import, from, extends: what follows is read over, since it fails whatever it is. */
static void parse_load(struct nano_parser *p, struct nano_node *node)
{
    node->type = NANO_NODE_LOAD;
    node->a = nano_parse_expression(p, true);
    while (nano_parser_peek(p, 0)->type == NANO_TOKEN_NAME || nano_parser_at(p, ","))
        p->pos++;
}

static struct nano_node *parse_statement(struct nano_parser *p)
{
    static const struct {
        const char *tag;
        void (*parse)(struct nano_parser *p, struct nano_node *node);
    } statements[] = {
        {"if", parse_if},
        {"for", parse_for},
        {"set", parse_set},
        {"macro", parse_macro},
        {"call", parse_call_block},
        {"filter", parse_filter_block},
        {"generation", parse_generation},
        {"break", parse_break},
        {"continue", parse_continue},
        {"with", parse_with},
        {"block", parse_block},
        {"autoescape", parse_autoescape},
        {"print", parse_print},
        {"include", parse_load},
        {"import", parse_load},
        {"from", parse_load},
        {"extends", parse_load},
    };
    const struct nano_token *token = nano_parser_peek(p, 0);
    if (token->type != NANO_TOKEN_NAME)
        nano_parser_fail(p, token, "expected the name of a tag");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!is_name(token, statements[i].tag))
            continue;
        struct nano_node *node = nano_parser_node(p, NANO_NODE_TEXT, token->line);
        p->pos++;
        statements[i].parse(p, node);
        return node;
    }
    if (p->until) {
        char what[64];
        snprintf(what, sizeof what, "unknown tag where '%s' is missing", p->until[0]);
        nano_parser_fail(p, token, what);
    }
    nano_parser_fail(p, token, "unknown tag");
}

static void parse_tokens(struct nano_parser *p)
{
    struct nano_program *program = p->program;
    program->id_loop = nano_parser_id(p, "loop", 4);
    program->id_caller = nano_parser_id(p, "caller", 6);
    program->id_varargs = nano_parser_id(p, "varargs", 7);
    program->id_kwargs = nano_parser_id(p, "kwargs", 6);
    program->body = parse_body(p, NULL);
}

struct nano_program *nano_jinja_parse(struct nano_jinja *j, const struct nano_token *tokens)
{
    struct nano_parser p = {.j = j, .tokens = tokens};
    p.program = nano_jinja_alloc(j, 1, sizeof *p.program);
    parse_tokens(&p);
    return p.program;
}
