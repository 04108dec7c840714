/* Messages of one line or several: a line that ends in a backslash goes on in the next, and so does
 * everything between two """. */
#ifndef NANO_CLI_CHAT_MESSAGE_H
#define NANO_CLI_CHAT_MESSAGE_H

#include "cli/chat_line.h"

/* As nano_chat_lines_read; the end of the input ends a message that has begun. */
enum nano_chat_line nano_chat_message_read(struct nano_chat_lines *lines, char **message);

#endif
