/* A parsed template: tokens, nodes, and the program they become.
 *
 * A program never changes once it is made, so any number of threads may render it. */
#ifndef NANO_CHAT_AST_H
#define NANO_CHAT_AST_H

#include "chat/jinja.h"

/* ---- Tokens ---------------------------------------------------------------------------------- */

enum nano_token_type {
    NANO_TOKEN_DATA,
    NANO_TOKEN_PRINT, /* {{ */
    NANO_TOKEN_PRINT_END,
    NANO_TOKEN_BLOCK, /* {% */
    NANO_TOKEN_BLOCK_END,
    NANO_TOKEN_NAME,
    NANO_TOKEN_STRING,
    NANO_TOKEN_NUMBER,
    NANO_TOKEN_OPERATOR, /* op[0] and, of two characters, op[1] */
    NANO_TOKEN_END
};

struct nano_token {
    enum nano_token_type type;
    uint32_t line;
    char op[2];
    const char *s; /* DATA, NAME: the text */
    size_t num_bytes;
    struct nano_value value; /* STRING, NUMBER */
};

/* All tokens of the source; *tokens is released with nano_mem_free, also after a failure. */
void nano_jinja_lex(struct nano_jinja *j, const char *source, size_t num_bytes,
                    struct nano_token **tokens, size_t *num_tokens);

/* ---- Nodes ----------------------------------------------------------------------------------- */

enum nano_node_type {
    /* expressions */
    NANO_NODE_CONST, /* value */
    NANO_NODE_NAME,  /* id */
    NANO_NODE_LIST,
    NANO_NODE_TUPLE,
    NANO_NODE_DICT,   /* items: key, value, key, … */
    NANO_NODE_ATTR,   /* a.name */
    NANO_NODE_ITEM,   /* a[b]; flag: it is printed as it is */
    NANO_NODE_SLICE,  /* a:b:c, only as b of ITEM */
    NANO_NODE_CALL,   /* a(items, keywords, *star, **star2) */
    NANO_NODE_FILTER, /* a | function(…); a NULL: of a block */
    NANO_NODE_TEST,   /* a is function(…) */
    NANO_NODE_NOT,
    NANO_NODE_SIGN, /* op + - */
    NANO_NODE_AND,
    NANO_NODE_OR,
    NANO_NODE_BINARY,      /* a op b */
    NANO_NODE_CONCAT,      /* items */
    NANO_NODE_COMPARE,     /* a, then items with their op */
    NANO_NODE_OPERAND,     /* one of them: op a */
    NANO_NODE_COND,        /* a if b else c */
    NANO_NODE_ATTR_TARGET, /* id.name, where set may store */
    /* statements; lists of them are linked by `next` */
    NANO_NODE_TEXT,
    NANO_NODE_PRINT,     /* a */
    NANO_NODE_IF,        /* a, body; c: what follows elif or else */
    NANO_NODE_FOR,       /* target a, over b, if c; body, otherwise; flag: recursive */
    NANO_NODE_SET,       /* a = b */
    NANO_NODE_SET_BLOCK, /* a = body, through the filter b */
    NANO_NODE_MACRO,     /* id, items: parameters (id, default a); body; op: enum nano_macro_use */
    NANO_NODE_PARAM,
    NANO_NODE_CALL_BLOCK, /* call a; b: the MACRO that is its caller */
    NANO_NODE_FILTER_BLOCK,
    NANO_NODE_WITH, /* items: target, value, target, … */
    NANO_NODE_SCOPE,
    NANO_NODE_AUTOESCAPE, /* a */
    NANO_NODE_BLOCK,
    NANO_NODE_BREAK,
    NANO_NODE_CONTINUE,
    NANO_NODE_LOAD /* include, import, extends: there is nothing to load from */
};

/* Names that a macro's body uses, which lets it take what its parameters do not. */
enum nano_macro_use { NANO_USES_CALLER = 1, NANO_USES_KWARGS = 2, NANO_USES_VARARGS = 4 };

struct nano_named { /* name=value in a call */
    struct nano_str *name;
    struct nano_node *value;
};

struct nano_node {
    enum nano_node_type type;
    char op; /* of BINARY as nano_value_binary's; of OPERAND: < > l(e) g(e) = ! i(n) n(ot in) */
    bool flag;
    uint32_t line, id;
    struct nano_str *name;
    struct nano_value value;
    const struct nano_function *function; /* NULL: unknown, an error when it is reached */
    struct nano_node *a, *b, *c, *body, *otherwise, *next;
    struct nano_node **items;
    size_t num;
    struct nano_named *keywords;
    size_t num_keywords;
    struct nano_node *star, *star2;
};

struct nano_program {
    struct nano_node *body;
    struct nano_str **names; /* by id */
    size_t num_names;
    struct nano_node **blocks;
    size_t num_blocks;
    uint32_t id_loop, id_caller, id_varargs, id_kwargs;
};

/* Parses tokens, the last of which is NANO_TOKEN_END, into j's arena. */
struct nano_program *nano_jinja_parse(struct nano_jinja *j, const struct nano_token *tokens);

/* Refuses what parses but cannot run: unknown filters and tests outside of branches, break outside
 * of loops, what is nested too deeply. */
void nano_jinja_check(struct nano_jinja *j, const struct nano_program *program);

/* ---- Between the parser's files -------------------------------------------------------------- */

struct nano_parser {
    struct nano_jinja *j;
    struct nano_program *program;
    const struct nano_token *tokens;
    size_t pos;
    int depth;
    size_t names_capacity, blocks_capacity;
    const char *const *until; /* the tags that may end what is being parsed */
    char uses;                /* in the macro that is being parsed: enum nano_macro_use */
};

struct nano_nodes { /* a growing list of children */
    struct nano_node **items;
    size_t num, capacity;
};

const struct nano_token *nano_parser_peek(const struct nano_parser *p, size_t ahead);
_Noreturn void nano_parser_fail(struct nano_parser *p, const struct nano_token *token,
                                const char *what);
bool nano_parser_at(const struct nano_parser *p, const char *op);
bool nano_parser_skip(struct nano_parser *p, const char *op);
void nano_parser_expect(struct nano_parser *p, const char *op);
bool nano_parser_at_name(const struct nano_parser *p, const char *name);
bool nano_parser_skip_name(struct nano_parser *p, const char *name);
struct nano_node *nano_parser_node(struct nano_parser *p, enum nano_node_type type, uint32_t line);
void nano_parser_add(struct nano_parser *p, struct nano_nodes *nodes, struct nano_node *node);
struct nano_str *nano_parser_text(struct nano_parser *p, const char *s, size_t num_bytes);
struct nano_str *nano_parser_name(struct nano_parser *p); /* the next token, a name */
uint32_t nano_parser_id(struct nano_parser *p, const char *name, size_t num_bytes);

struct nano_node *nano_parse_expression(struct nano_parser *p, bool with_condition);

/* One expression or several with commas; `end` (NULL: none) is a name that ends it. */
struct nano_node *nano_parse_tuple(struct nano_parser *p, bool with_condition, const char *end,
                                   bool in_parentheses);
struct nano_node *nano_parse_primary(struct nano_parser *p);
struct nano_node *nano_parse_filters(struct nano_parser *p, struct nano_node *node, bool at_name);

#endif
