/* The evaluator's files among each other. */
#ifndef NANO_CHAT_EVAL_H
#define NANO_CHAT_EVAL_H

#include "chat/ast.h"

enum nano_flow { NANO_FLOW_NEXT, NANO_FLOW_BREAK, NANO_FLOW_CONTINUE };

struct nano_value nano_jinja_eval(struct nano_jinja *j, const struct nano_node *node);

/* The value through the filter that `node` is (and those before it), as blocks use them. */
struct nano_value nano_jinja_filter(struct nano_jinja *j, const struct nano_node *node,
                                    struct nano_value value);
void nano_jinja_eval_args(struct nano_jinja *j, const struct nano_node *node,
                          struct nano_args *args);

enum nano_flow nano_jinja_exec(struct nano_jinja *j, const struct nano_node *body);
struct nano_value nano_jinja_exec_block(struct nano_jinja *j, const struct nano_node *block);
struct nano_value nano_jinja_loop_again(struct nano_jinja *j, const struct nano_loop *loop,
                                        struct nano_value items);

/* A new innermost scope; the caller puts j->scope back. */
struct nano_scope *nano_scope_push(struct nano_jinja *j, struct nano_scope *parent);
void nano_scope_set(struct nano_jinja *j, struct nano_scope *scope, uint32_t id,
                    struct nano_value value);
struct nano_value nano_scope_get(struct nano_jinja *j, uint32_t id);

#endif
