/* What is printed where. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "cli/chat.h"

void nano_chat_screen_init(struct nano_chat_screen *screen, bool is_terminal)
{
    screen->is_terminal = is_terminal;
    screen->notes = is_terminal ? stdout : stderr;
    nano_cli_style_init(&screen->style, screen->notes);
}

void nano_chat_note(const struct nano_chat *chat, const char *fmt, ...)
{
    const struct nano_chat_screen *screen = &chat->screen;
    va_list args;
    fflush(stdout);
    va_start(args, fmt);
    fputs(screen->style.dim, screen->notes);
    vfprintf(screen->notes, fmt, args);
    fprintf(screen->notes, "%s\n", screen->style.reset);
    fflush(screen->notes);
    va_end(args);
}

void nano_chat_complain(struct nano_chat *chat, const char *fmt, ...)
{
    const struct nano_chat_screen *screen = &chat->screen;
    struct nano_error err;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.message, sizeof err.message, fmt, args);
    va_end(args);
    chat->failed = true;
    if (!screen->is_terminal) {
        nano_cli_fail(&err);
        return;
    }
    fputs(screen->style.color[5], stdout);
    nano_chat_print(screen, err.message, strlen(err.message));
    printf("%s\n", screen->style.reset);
    fflush(stdout);
}

static bool is_control(uint32_t codepoint)
{
    return (codepoint < 32 && codepoint != '\n' && codepoint != '\t') ||
           (codepoint >= 127 && codepoint < 160);
}

void nano_chat_print(const struct nano_chat_screen *screen, const char *text, size_t num_bytes)
{
    const char *end = text + num_bytes;
    if (!screen->is_terminal) {
        fwrite(text, 1, num_bytes, stdout);
        return;
    }
    while (text < end) {
        uint32_t codepoint;
        int length = nano_utf8_decode(text, (size_t)(end - text), &codepoint);
        if (length > 0 && !is_control(codepoint))
            fwrite(text, 1, (size_t)length, stdout);
        else
            fputs(NANO_UTF8_REPLACEMENT, stdout);
        text += length > 0 ? length : 1;
    }
}
