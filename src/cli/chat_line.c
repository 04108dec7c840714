/* Lines. Waiting for input is ours with and without libedit, so that a signal that comes just
 * before it is not missed. */
#include "cli/chat_line.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/cli_output.h"
#include "config.h"
#ifdef NANO_HAVE_LIBEDIT
#include "cli/chat_edit.h"
#endif

struct nano_chat_lines {
    bool is_terminal;
    struct nano_chat_edit *edit; /* NULL: lines are not edited here */
    char buffer[4096];           /* read and not yet used */
    size_t next, num_bytes;
};

static volatile sig_atomic_t resized, continued;

static void on_terminal_signal(int signal_number)
{
    if (signal_number == SIGCONT)
        continued = 1;
    else
        resized = 1;
}

static void follow_terminal(struct nano_chat_lines *lines)
{
#ifdef NANO_HAVE_LIBEDIT
    if (lines->edit && resized)
        nano_chat_edit_resize(lines->edit);
    if (lines->edit && continued)
        nano_chat_edit_continue(lines->edit);
#endif
    (void)lines;
    resized = continued = 0;
}

/* False when interrupted. */
static bool wait_for_input(struct nano_chat_lines *lines)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGCONT, SIGWINCH};
    sigset_t held, before;
    int ready = 0;
    sigemptyset(&held);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&held, signals[i]);
    pthread_sigmask(SIG_BLOCK, &held, &before);
    while (ready == 0 && !nano_cli_interrupted()) {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(STDIN_FILENO, &set);
        if (resized || continued)
            follow_terminal(lines);
        ready = pselect(STDIN_FILENO + 1, &set, NULL, NULL, NULL, &before);
        if (ready < 0)
            ready = errno == EINTR ? 0 : 1; /* read() will tell what else it is */
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ready > 0;
}

static int read_byte(void *user_data, char *out)
{
    struct nano_chat_lines *lines = user_data;
    if (lines->next == lines->num_bytes) {
        if (!wait_for_input(lines))
            return -1;
        ssize_t got = read(STDIN_FILENO, lines->buffer, sizeof lines->buffer);
        lines->next = 0;
        lines->num_bytes = got > 0 ? (size_t)got : 0;
        if (got <= 0)
            return 0;
    }
    *out = lines->buffer[lines->next++];
    return 1;
}

static enum nano_chat_line read_plain(struct nano_chat_lines *lines, const char *prompt, char **out)
{
    void *line = NULL;
    size_t length = 0, capacity = 0;
    char byte = '\0';
    int got;
    if (lines->is_terminal) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    while ((got = read_byte(lines, &byte)) > 0 && byte != '\n') {
        if (!nano_mem_grow(&line, &capacity, length + 2, 1)) {
            nano_mem_free(line);
            return NANO_CHAT_LINE_NO_MEMORY;
        }
        if (byte != '\0')
            ((char *)line)[length++] = byte;
        ((char *)line)[length] = '\0';
    }
    if (got < 0 || (got == 0 && length == 0)) {
        nano_mem_free(line);
        return got < 0 ? NANO_CHAT_LINE_INTERRUPTED : NANO_CHAT_LINE_END;
    }
    if (length > 0 && ((char *)line)[length - 1] == '\r')
        ((char *)line)[length - 1] = '\0';
    *out = line ? line : nano_mem_strdup("", 0);
    return *out ? NANO_CHAT_LINE_TEXT : NANO_CHAT_LINE_NO_MEMORY;
}

#ifdef NANO_HAVE_LIBEDIT
static enum nano_chat_line read_edited(struct nano_chat_lines *lines, const char *prompt,
                                       char **out)
{
    const char *line = nano_chat_edit_read(lines->edit, prompt);
    if (!line)
        return nano_cli_interrupted() ? NANO_CHAT_LINE_INTERRUPTED : NANO_CHAT_LINE_END;
    *out = nano_mem_strdup(line, strcspn(line, "\n"));
    if (!*out)
        return NANO_CHAT_LINE_NO_MEMORY;
    nano_chat_edit_remember(lines->edit, *out);
    return NANO_CHAT_LINE_TEXT;
}
#endif

enum nano_status nano_chat_lines_open(struct nano_chat_lines **out, bool is_terminal,
                                      const char *const *words, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct nano_chat_lines *lines = nano_mem_calloc(1, sizeof *lines);
    *out = NULL;
    if (!lines)
        return nano_error_no_memory(err, "the input", sizeof *lines);
    lines->is_terminal = is_terminal;
    if (is_terminal) {
        struct sigaction action = {0};
        action.sa_handler = on_terminal_signal;
        action.sa_flags = SA_RESTART; /* an answer's output goes on */
        sigemptyset(&action.sa_mask);
        sigaction(SIGWINCH, &action, NULL);
        sigaction(SIGCONT, &action, NULL);
#ifdef NANO_HAVE_LIBEDIT
        status = nano_chat_edit_open(&lines->edit, read_byte, lines, words, err);
#endif
    }
    (void)words;
    if (status != NANO_OK) {
        nano_mem_free(lines);
        return status;
    }
    *out = lines;
    return NANO_OK;
}

void nano_chat_lines_close(struct nano_chat_lines *lines)
{
#ifdef NANO_HAVE_LIBEDIT
    if (lines)
        nano_chat_edit_close(lines->edit);
#endif
    nano_mem_free(lines);
}

enum nano_chat_line nano_chat_lines_read(struct nano_chat_lines *lines, const char *prompt,
                                         char **line)
{
    enum nano_chat_line result;
    *line = NULL;
#ifdef NANO_HAVE_LIBEDIT
    result = lines->edit ? read_edited(lines, prompt, line) : read_plain(lines, prompt, line);
#else
    result = read_plain(lines, prompt, line);
#endif
    if (lines->is_terminal &&
        (result == NANO_CHAT_LINE_INTERRUPTED || result == NANO_CHAT_LINE_END))
        putchar('\n');
    return result;
}
