/* Expressions: tokens to nodes, with Jinja2's precedence (which is not Python's: filters bind
 * tighter than any operator, ~ tighter than +). */
#include <string.h>

#include "chat/ast.h"

#define MAX_EXPRESSION_DEPTH 150

static struct nano_node *parse_unary(struct nano_parser *p, bool with_filter);
static struct nano_node *parse_postfix(struct nano_parser *p, struct nano_node *node);

static uint32_t line_of(const struct nano_parser *p)
{
    return nano_parser_peek(p, 0)->line;
}

static struct nano_node *binary(struct nano_parser *p, enum nano_node_type type, char op,
                                uint32_t line, struct nano_node *a, struct nano_node *b)
{
    struct nano_node *node = nano_parser_node(p, type, line);
    node->op = op;
    node->a = a;
    node->b = b;
    return node;
}

static void set_items(struct nano_node *node, struct nano_nodes items)
{
    node->items = items.items;
    node->num = items.num;
}

/* ---- Operators ------------------------------------------------------------------------------- */

static struct nano_node *parse_power(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_node *left = parse_unary(p, true);
    while (nano_parser_skip(p, "**"))
        left = binary(p, NANO_NODE_BINARY, 'p', line, left, parse_unary(p, true));
    return left;
}

static struct nano_node *parse_product(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_node *left = parse_power(p);
    for (;;) {
        char op = nano_parser_skip(p, "*")    ? '*'
                  : nano_parser_skip(p, "/")  ? '/'
                  : nano_parser_skip(p, "//") ? 'f'
                  : nano_parser_skip(p, "%")  ? '%'
                                              : '\0';
        if (!op)
            return left;
        left = binary(p, NANO_NODE_BINARY, op, line, left, parse_power(p));
    }
}

static struct nano_node *parse_concat(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_node *first = parse_product(p);
    if (!nano_parser_at(p, "~"))
        return first;
    struct nano_nodes items = {0};
    nano_parser_add(p, &items, first);
    while (nano_parser_skip(p, "~"))
        nano_parser_add(p, &items, parse_product(p));
    struct nano_node *node = nano_parser_node(p, NANO_NODE_CONCAT, line);
    set_items(node, items);
    return node;
}

static struct nano_node *parse_sum(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_node *left = parse_concat(p);
    for (;;) {
        char op = nano_parser_skip(p, "+") ? '+' : nano_parser_skip(p, "-") ? '-' : '\0';
        if (!op)
            return left;
        left = binary(p, NANO_NODE_BINARY, op, line, left, parse_concat(p));
    }
}

static char comparison(struct nano_parser *p)
{
    static const struct {
        const char *text;
        char op;
    } ops[] = {{"==", '='}, {"!=", '!'}, {"<=", 'l'}, {">=", 'g'}, {"<", '<'}, {">", '>'}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (nano_parser_skip(p, ops[i].text))
            return ops[i].op;
    if (nano_parser_skip_name(p, "in"))
        return 'i';
    const struct nano_token *next = nano_parser_peek(p, 1);
    if (nano_parser_at_name(p, "not") && next->type == NANO_TOKEN_NAME && next->num_bytes == 2 &&
        memcmp(next->s, "in", 2) == 0) {
        p->pos += 2;
        return 'n';
    }
    return '\0';
}

static struct nano_node *parse_comparison(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_node *first = parse_sum(p);
    struct nano_nodes items = {0};
    for (char op; (op = comparison(p)) != '\0';)
        nano_parser_add(p, &items, binary(p, NANO_NODE_OPERAND, op, line, parse_sum(p), NULL));
    if (items.num == 0)
        return first;
    struct nano_node *node = binary(p, NANO_NODE_COMPARE, '\0', line, first, NULL);
    set_items(node, items);
    return node;
}

static struct nano_node *parse_not(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    int num = 0;
    while (nano_parser_skip_name(p, "not"))
        num++;
    struct nano_node *node = parse_comparison(p);
    if (num > 0) /* twice is a bool, too */
        node = binary(p, NANO_NODE_NOT, '\0', line, node, NULL);
    if (num > 0 && num % 2 == 0)
        node = binary(p, NANO_NODE_NOT, '\0', line, node, NULL);
    return node;
}

static struct nano_node *parse_and(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_node *left = parse_not(p);
    while (nano_parser_skip_name(p, "and"))
        left = binary(p, NANO_NODE_AND, '\0', line, left, parse_not(p));
    return left;
}

static struct nano_node *parse_or(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_node *left = parse_and(p);
    while (nano_parser_skip_name(p, "or"))
        left = binary(p, NANO_NODE_OR, '\0', line, left, parse_and(p));
    return left;
}

static void enter(struct nano_parser *p)
{
    if (++p->depth > MAX_EXPRESSION_DEPTH)
        nano_parser_fail(p, nano_parser_peek(p, 0), "nested too deeply");
}

struct nano_node *nano_parse_expression(struct nano_parser *p, bool with_condition)
{
    enter(p);
    uint32_t line = line_of(p);
    struct nano_node *node = parse_or(p);
    while (with_condition && nano_parser_skip_name(p, "if")) {
        struct nano_node *test = parse_or(p);
        node = binary(p, NANO_NODE_COND, '\0', line, node, test);
        if (nano_parser_skip_name(p, "else"))
            node->c = nano_parse_expression(p, true);
    }
    p->depth--;
    return node;
}

struct nano_node *nano_parse_tuple(struct nano_parser *p, bool with_condition, const char *end,
                                   bool in_parentheses)
{
    struct nano_nodes items = {0};
    uint32_t line = line_of(p);
    bool is_tuple = false;
    for (;;) {
        const struct nano_token *token = nano_parser_peek(p, 0);
        if (token->type == NANO_TOKEN_PRINT_END || token->type == NANO_TOKEN_BLOCK_END ||
            nano_parser_at(p, ")") || (end && nano_parser_at_name(p, end)))
            break;
        nano_parser_add(p, &items, nano_parse_expression(p, with_condition));
        if (!nano_parser_skip(p, ","))
            break;
        is_tuple = true;
    }
    if (!is_tuple && items.num)
        return items.items[0];
    if (!is_tuple && !in_parentheses)
        nano_parser_fail(p, nano_parser_peek(p, 0), "expected an expression");
    struct nano_node *node = nano_parser_node(p, NANO_NODE_TUPLE, line);
    set_items(node, items);
    return node;
}

/* ---- Calls, filters, tests ------------------------------------------------------------------- */

static _Noreturn void bad_call(struct nano_parser *p)
{
    nano_parser_fail(p, nano_parser_peek(p, 0), "wrong order of arguments");
}

static void add_keyword(struct nano_parser *p, struct nano_node *node, size_t *capacity)
{
    if (node->num_keywords == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 4;
        struct nano_named *larger = nano_jinja_alloc(p->j, *capacity, sizeof *larger);
        if (node->num_keywords)
            memcpy(larger, node->keywords, node->num_keywords * sizeof *larger);
        node->keywords = larger;
    }
    struct nano_named *keyword = &node->keywords[node->num_keywords++];
    keyword->name = nano_parser_name(p);
    for (size_t i = 0; i + 1 < node->num_keywords; i++)
        if (node->keywords[i].name->num_bytes == keyword->name->num_bytes &&
            memcmp(node->keywords[i].name->s, keyword->name->s, keyword->name->num_bytes) == 0)
            nano_parser_fail(p, nano_parser_peek(p, 0), "an argument is named twice");
    p->pos++;
    keyword->value = nano_parse_expression(p, true);
}

static void parse_arguments(struct nano_parser *p, struct nano_node *node)
{
    struct nano_nodes items = {0};
    size_t capacity = 0;
    bool first = true;
    nano_parser_expect(p, "(");
    while (!nano_parser_at(p, ")")) {
        if (!first)
            nano_parser_expect(p, ",");
        if (!first && nano_parser_at(p, ")"))
            break;
        first = false;
        const struct nano_token *next = nano_parser_peek(p, 1);
        if (nano_parser_skip(p, "*")) {
            if (node->star || node->star2)
                bad_call(p);
            node->star = nano_parse_expression(p, true);
        } else if (nano_parser_skip(p, "**")) {
            if (node->star2)
                bad_call(p);
            node->star2 = nano_parse_expression(p, true);
        } else if (nano_parser_peek(p, 0)->type == NANO_TOKEN_NAME &&
                   next->type == NANO_TOKEN_OPERATOR && next->op[0] == '=' && !next->op[1]) {
            if (node->star2)
                bad_call(p);
            add_keyword(p, node, &capacity);
        } else {
            if (node->star || node->star2 || node->num_keywords)
                bad_call(p);
            nano_parser_add(p, &items, nano_parse_expression(p, true));
        }
    }
    nano_parser_expect(p, ")");
    set_items(node, items);
}

static struct nano_node *parse_call(struct nano_parser *p, struct nano_node *callee)
{
    struct nano_node *node = binary(p, NANO_NODE_CALL, '\0', line_of(p), callee, NULL);
    parse_arguments(p, node);
    return node;
}

/* A name with dots, as filters and tests may have. */
static struct nano_str *parse_dotted(struct nano_parser *p)
{
    const struct nano_token *first = nano_parser_peek(p, 0), *last = first;
    struct nano_str *name = nano_parser_name(p);
    while (nano_parser_skip(p, ".")) {
        last = nano_parser_peek(p, 0);
        nano_parser_name(p);
    }
    return last == first
               ? name
               : nano_parser_text(p, first->s, (size_t)(last->s - first->s) + last->num_bytes);
}

struct nano_node *nano_parse_filters(struct nano_parser *p, struct nano_node *node, bool at_name)
{
    while (at_name || nano_parser_skip(p, "|")) {
        struct nano_node *filter = binary(p, NANO_NODE_FILTER, '\0', line_of(p), node, NULL);
        at_name = false;
        filter->name = parse_dotted(p);
        filter->function = nano_jinja_find_filter(filter->name->s, filter->name->num_bytes);
        if (nano_parser_at(p, "("))
            parse_arguments(p, filter);
        node = filter;
    }
    return node;
}

/* What a test may be followed by without parentheses begins with a value. */
static bool at_test_argument(struct nano_parser *p)
{
    const struct nano_token *token = nano_parser_peek(p, 0);
    if (token->type == NANO_TOKEN_NAME)
        return !nano_parser_at_name(p, "else") && !nano_parser_at_name(p, "or") &&
               !nano_parser_at_name(p, "and");
    return token->type == NANO_TOKEN_STRING || token->type == NANO_TOKEN_NUMBER ||
           nano_parser_at(p, "[") || nano_parser_at(p, "{");
}

static struct nano_node *parse_test(struct nano_parser *p, struct nano_node *value)
{
    uint32_t line = line_of(p);
    p->pos++;
    bool negated = nano_parser_skip_name(p, "not");
    struct nano_node *node = binary(p, NANO_NODE_TEST, '\0', line, value, NULL);
    node->name = parse_dotted(p);
    node->function = nano_jinja_find_test(node->name->s, node->name->num_bytes);
    if (nano_parser_at(p, "(")) {
        parse_arguments(p, node);
    } else if (at_test_argument(p)) {
        struct nano_nodes items = {0};
        if (nano_parser_at_name(p, "is"))
            nano_parser_fail(p, nano_parser_peek(p, 0), "tests cannot be chained");
        nano_parser_add(p, &items, parse_postfix(p, nano_parse_primary(p)));
        set_items(node, items);
    }
    return negated ? binary(p, NANO_NODE_NOT, '\0', line, node, NULL) : node;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static struct nano_node *parse_subscribed(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_node *parts[3] = {NULL};
    if (!nano_parser_at(p, ":")) {
        parts[0] = nano_parse_expression(p, true);
        if (!nano_parser_at(p, ":"))
            return parts[0];
    }
    for (int i = 1; i < 3 && nano_parser_skip(p, ":"); i++)
        if (!nano_parser_at(p, ":") && !nano_parser_at(p, "]") && !nano_parser_at(p, ","))
            parts[i] = nano_parse_expression(p, true);
    struct nano_node *node = binary(p, NANO_NODE_SLICE, '\0', line, parts[0], parts[1]);
    node->c = parts[2];
    return node;
}

static struct nano_node *parse_subscript(struct nano_parser *p, struct nano_node *value)
{
    uint32_t line = line_of(p);
    if (nano_parser_skip(p, ".")) {
        const struct nano_token *token = nano_parser_peek(p, 0);
        if (token->type == NANO_TOKEN_NAME) {
            struct nano_node *node = binary(p, NANO_NODE_ATTR, '\0', line, value, NULL);
            node->name = nano_parser_name(p);
            return node;
        }
        if (token->type != NANO_TOKEN_NUMBER || token->value.kind != NANO_INT)
            nano_parser_fail(p, token, "expected a name or a number");
        return binary(p, NANO_NODE_ITEM, '\0', line, value, nano_parse_primary(p));
    }
    struct nano_nodes items = {0};
    p->pos++;
    while (!nano_parser_at(p, "]")) {
        if (items.num)
            nano_parser_expect(p, ",");
        nano_parser_add(p, &items, parse_subscribed(p));
    }
    p->pos++;
    struct nano_node *key = items.num == 1 ? items.items[0] : NULL;
    if (!key) {
        key = nano_parser_node(p, NANO_NODE_TUPLE, line);
        set_items(key, items);
    }
    return binary(p, NANO_NODE_ITEM, '\0', line, value, key);
}

static struct nano_node *parse_postfix(struct nano_parser *p, struct nano_node *node)
{
    for (;;) {
        if (nano_parser_at(p, ".") || nano_parser_at(p, "["))
            node = parse_subscript(p, node);
        else if (nano_parser_at(p, "("))
            node = parse_call(p, node);
        else
            return node;
    }
}

static struct nano_node *parse_unary(struct nano_parser *p, bool with_filter)
{
    uint32_t line = line_of(p);
    struct nano_node *node;
    if (nano_parser_at(p, "-") || nano_parser_at(p, "+")) {
        char op = nano_parser_peek(p, 0)->op[0];
        p->pos++;
        enter(p);
        node = binary(p, NANO_NODE_SIGN, op, line, parse_unary(p, false), NULL);
        p->depth--;
    } else {
        node = nano_parse_primary(p);
    }
    node = parse_postfix(p, node);
    while (with_filter) {
        if (nano_parser_at(p, "|"))
            node = nano_parse_filters(p, node, false);
        else if (nano_parser_at_name(p, "is"))
            node = parse_test(p, node);
        else if (nano_parser_at(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

static struct nano_node *parse_list(struct nano_parser *p, uint32_t line)
{
    struct nano_nodes items = {0};
    while (!nano_parser_at(p, "]")) {
        if (items.num)
            nano_parser_expect(p, ",");
        if (nano_parser_at(p, "]"))
            break;
        nano_parser_add(p, &items, nano_parse_expression(p, true));
    }
    nano_parser_expect(p, "]");
    struct nano_node *node = nano_parser_node(p, NANO_NODE_LIST, line);
    set_items(node, items);
    return node;
}

static struct nano_node *parse_dict(struct nano_parser *p, uint32_t line)
{
    struct nano_nodes items = {0};
    while (!nano_parser_at(p, "}")) {
        if (items.num)
            nano_parser_expect(p, ",");
        if (nano_parser_at(p, "}"))
            break;
        nano_parser_add(p, &items, nano_parse_expression(p, true));
        nano_parser_expect(p, ":");
        nano_parser_add(p, &items, nano_parse_expression(p, true));
    }
    nano_parser_expect(p, "}");
    struct nano_node *node = nano_parser_node(p, NANO_NODE_DICT, line);
    set_items(node, items);
    return node;
}

static struct nano_node *constant(struct nano_parser *p, struct nano_value value, uint32_t line)
{
    struct nano_node *node = nano_parser_node(p, NANO_NODE_CONST, line);
    node->value = value;
    if (value.kind == NANO_STR)
        nano_str_chars(value.str);
    return node;
}

/* Strings that follow each other are one. */
static struct nano_node *parse_strings(struct nano_parser *p)
{
    uint32_t line = line_of(p);
    struct nano_value value = nano_parser_peek(p, 0)->value;
    p->pos++;
    if (nano_parser_peek(p, 0)->type == NANO_TOKEN_STRING) {
        size_t from = p->j->out_bytes;
        nano_value_print(p->j, value);
        for (; nano_parser_peek(p, 0)->type == NANO_TOKEN_STRING; p->pos++)
            nano_value_print(p->j, nano_parser_peek(p, 0)->value);
        value = nano_jinja_take(p->j, from);
    }
    return constant(p, value, line);
}

static struct nano_node *parse_name(struct nano_parser *p)
{
    const struct nano_token *token = nano_parser_peek(p, 0);
    struct nano_node *node;
    bool is_true = nano_parser_at_name(p, "true") || nano_parser_at_name(p, "True");
    bool is_false = nano_parser_at_name(p, "false") || nano_parser_at_name(p, "False");
    bool is_none = nano_parser_at_name(p, "none") || nano_parser_at_name(p, "None");
    p->pos++;
    if (is_true || is_false)
        return constant(p, nano_value_bool(is_true), token->line);
    if (is_none)
        return constant(p, nano_value_none(), token->line);
    node = nano_parser_node(p, NANO_NODE_NAME, token->line);
    node->id = nano_parser_id(p, token->s, token->num_bytes);
    const struct nano_program *program = p->program;
    p->uses |= node->id == program->id_caller    ? NANO_USES_CALLER
               : node->id == program->id_kwargs  ? NANO_USES_KWARGS
               : node->id == program->id_varargs ? NANO_USES_VARARGS
                                                 : 0;
    return node;
}

struct nano_node *nano_parse_primary(struct nano_parser *p)
{
    const struct nano_token *token = nano_parser_peek(p, 0);
    struct nano_node *node;
    if (token->type == NANO_TOKEN_NAME)
        return parse_name(p);
    if (token->type == NANO_TOKEN_STRING)
        return parse_strings(p);
    if (token->type == NANO_TOKEN_NUMBER) {
        p->pos++;
        return constant(p, token->value, token->line);
    }
    if (nano_parser_skip(p, "(")) {
        node = nano_parse_tuple(p, true, NULL, true);
        nano_parser_expect(p, ")");
        return node;
    }
    if (nano_parser_skip(p, "["))
        return parse_list(p, token->line);
    if (nano_parser_skip(p, "{"))
        return parse_dict(p, token->line);
    nano_parser_fail(p, token, "expected an expression");
}
