/* What is printed where. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "cli/chat.h"

void nano_chat_screen_init(struct nano_chat_screen *screen, bool is_terminal)
{
    screen->is_terminal = is_terminal;
    screen->raw = !isatty(STDOUT_FILENO);
    screen->notes = is_terminal ? stdout : stderr;
    nano_cli_style_init(&screen->style, screen->notes);
}

static bool is_control(uint32_t codepoint)
{
    return (codepoint < 32 && codepoint != '\n' && codepoint != '\t') ||
           (codepoint >= 127 && codepoint < 160);
}

static void print_harmless(FILE *file, const char *text, size_t num_bytes)
{
    for (const char *end = text + num_bytes; text < end;) {
        uint32_t codepoint;
        const int length = nano_utf8_decode(text, (size_t)(end - text), &codepoint);
        if (length > 0 && !is_control(codepoint))
            fwrite(text, 1, (size_t)length, file);
        else
            fputs(NANO_UTF8_REPLACEMENT, file);
        text += length > 0 ? length : 1;
    }
}

void nano_chat_note(const struct nano_chat *chat, const char *fmt, ...)
{
    const struct nano_chat_screen *screen = &chat->screen;
    va_list args;
    va_start(args, fmt);
    const int length = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = nano_mem_alloc((size_t)length + 1, 1);
    if (!text)
        return;
    va_start(args, fmt);
    vsnprintf(text, (size_t)length + 1, fmt, args);
    va_end(args);
    fflush(stdout);
    fputs(screen->style.dim, screen->notes);
    print_harmless(screen->notes, text, (size_t)length);
    fprintf(screen->notes, "%s\n", screen->style.reset);
    fflush(screen->notes);
    nano_mem_free(text);
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
    print_harmless(stdout, err.message, strlen(err.message));
    printf("%s\n", screen->style.reset);
    fflush(stdout);
}

void nano_chat_print(const struct nano_chat_screen *screen, const char *text, size_t num_bytes)
{
    if (screen->raw)
        fwrite(text, 1, num_bytes, stdout);
    else
        print_harmless(stdout, text, num_bytes);
}
