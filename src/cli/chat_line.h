/* Lines from the user: edited on a terminal (where the build has libedit) with a history that is
 * kept, or as they come from a pipe or file.
 *
 * Needs the interrupts of nano_cli_hold_interrupts. */
#ifndef NANO_CLI_CHAT_LINE_H
#define NANO_CLI_CHAT_LINE_H

#include <stdbool.h>

#include "base/error.h"

enum nano_chat_line {
    NANO_CHAT_LINE_TEXT,
    NANO_CHAT_LINE_INTERRUPTED, /* Ctrl-C: what was typed is dropped */
    NANO_CHAT_LINE_END,         /* Ctrl-D, the end of the file, or it cannot be read */
    NANO_CHAT_LINE_NO_MEMORY
};

struct nano_chat_lines;

/* `is_terminal`: standard input and output are one. `words`, a list that ends with NULL, are what
 * Tab completes at the beginning of a line. */
enum nano_status nano_chat_lines_open(struct nano_chat_lines **out, bool is_terminal,
                                      const char *const *words, struct nano_error *err);
void nano_chat_lines_close(struct nano_chat_lines *lines);

/* *line, without its newline, is released with nano_mem_free. The prompt is printed on terminals
 * only. */
enum nano_chat_line nano_chat_lines_read(struct nano_chat_lines *lines, const char *prompt,
                                         char **line);

#endif
