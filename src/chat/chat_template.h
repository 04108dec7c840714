/* A chat template inside: what the files of src/chat share. */
#ifndef NANO_CHAT_CHAT_TEMPLATE_H
#define NANO_CHAT_CHAT_TEMPLATE_H

#include "chat/ast.h"

struct nano_chat_template {
    struct nano_arena arena; /* owns the programs */
    struct nano_program *program;
    struct nano_program *tool_use; /* for requests with tools; NULL: the same */
    struct nano_chat_template_info info;
};

/* Parses one more source into the template's arena. */
enum nano_status nano_chat_template_parse(struct nano_chat_template *chat_template,
                                          struct nano_program **out, const char *source,
                                          size_t num_bytes, struct nano_error *err);

/* Fills chat_template->info. */
enum nano_status nano_chat_template_probe(struct nano_chat_template *chat_template,
                                          const char *source, size_t num_bytes,
                                          struct nano_error *err);

/* Runs fn(j, arg), from where errors leave; false: j->err has one. */
bool nano_jinja_run(struct nano_jinja *j, void (*fn)(struct nano_jinja *j, void *arg), void *arg);

/* Messages as OpenAI's clients send them to messages as templates take them. */
struct nano_value nano_chat_normalize(struct nano_jinja *j, struct nano_value messages,
                                      bool takes_content_parts);

#endif
