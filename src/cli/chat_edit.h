/* A line edited on the terminal with libedit, and the history of lines, kept in a file. In builds
 * with libedit only; chat_line.h is what to use. */
#ifndef NANO_CLI_CHAT_EDIT_H
#define NANO_CLI_CHAT_EDIT_H

#include "base/error.h"

struct nano_chat_edit;

/* The next byte of the input: 1, 0 at its end, -1 when interrupted. */
typedef int (*nano_chat_read_fn)(void *user_data, char *out);

/* `words`: what Tab completes at the beginning of a line, a list that ends with NULL. */
enum nano_status nano_chat_edit_open(struct nano_chat_edit **out, nano_chat_read_fn read,
                                     void *user_data, const char *const *words,
                                     struct nano_error *err);
void nano_chat_edit_close(struct nano_chat_edit *edit);

/* The line, with its newline, until the next call; NULL when reading has ended or was interrupted.
 */
const char *nano_chat_edit_read(struct nano_chat_edit *edit, const char *prompt);

/* Adds a line to the history and its file. */
void nano_chat_edit_remember(struct nano_chat_edit *edit, const char *line);

/* While a line is read: the window has another size, or the program goes on after a stop. */
void nano_chat_edit_resize(struct nano_chat_edit *edit);
void nano_chat_edit_continue(struct nano_chat_edit *edit);

#endif
