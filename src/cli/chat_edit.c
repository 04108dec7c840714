/* libedit. */
#include "cli/chat_edit.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/utf8.h"

#define MAX_HISTORY 1000

struct nano_chat_edit {
    EditLine *line;
    History *history;
    char history_path[4096]; /* "": nowhere to keep it */
    nano_chat_read_fn read;
    void *user_data;
    const char *prompt;
    const char *const *words;
};

static struct nano_chat_edit *edit_of(EditLine *line)
{
    void *edit = NULL;
    el_get(line, EL_CLIENTDATA, &edit);
    return edit;
}

static char *get_prompt(EditLine *line)
{
    return (char *)edit_of(line)->prompt;
}

/* One character, whatever the locale. Bytes that are not UTF-8 are dropped, and zeros: that is what
 * the system makes of a Ctrl-D from before the terminal was the editor's. */
static int read_character(EditLine *line, wchar_t *out)
{
    struct nano_chat_edit *edit = edit_of(line);
    char bytes[4];
    size_t length = 0;
    uint32_t codepoint;
    int got;
    while ((got = edit->read(edit->user_data, &bytes[length])) > 0) {
        length++;
        if (nano_utf8_decode(bytes, length, &codepoint) > 0 && codepoint != 0) {
            *out = (wchar_t)codepoint;
            return 1;
        }
        if (bytes[0] == '\0' || nano_utf8_incomplete_suffix(bytes, length) < length)
            length = 0;
    }
    if (got < 0)
        errno = EINTR;
    return got;
}

/* As much as all words agree on that begin like the line. */
static unsigned char complete(EditLine *line, int key)
{
    const LineInfo *info = el_line(line);
    const size_t typed = (size_t)(info->cursor - info->buffer);
    const char *const *words = edit_of(line)->words;
    const char *first = NULL;
    char text[64];
    size_t common = 0;
    int num = 0;
    (void)key;
    for (; words && *words; words++) {
        if (strncmp(*words, info->buffer, typed) != 0)
            continue;
        if (!first) {
            first = *words;
            common = strlen(first);
        }
        while (strncmp(first, *words, common) != 0)
            common--;
        num++;
    }
    if (typed == 0 || !first || common <= typed)
        return CC_REFRESH_BEEP;
    snprintf(text, sizeof text, "%.*s%s", (int)(common - typed), first + typed,
             num == 1 ? " " : "");
    return el_insertstr(line, text) == 0 ? CC_REFRESH : CC_REFRESH_BEEP;
}

/* Makes the folders on the way to a file. */
static void make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

static void open_history(struct nano_chat_edit *edit)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const size_t size = sizeof edit->history_path;
    HistEvent event;
    int length = size;
    edit->history = history_init();
    if (!edit->history)
        return;
    history(edit->history, &event, H_SETSIZE, MAX_HISTORY);
    history(edit->history, &event, H_SETUNIQUE, 1);
    el_set(edit->line, EL_HIST, history, edit->history);
    if (state && *state == '/')
        length = snprintf(edit->history_path, size, "%s/nanovllm/history", state);
    else if (home && *home == '/')
        length = snprintf(edit->history_path, size, "%s/.local/state/nanovllm/history", home);
    if (length >= (int)size) {
        edit->history_path[0] = '\0';
        return;
    }
    make_folders(edit->history_path);
    history(edit->history, &event, H_LOAD, edit->history_path);
}

enum nano_status nano_chat_edit_open(struct nano_chat_edit **out, nano_chat_read_fn read,
                                     void *user_data, const char *const *words,
                                     struct nano_error *err)
{
    struct nano_chat_edit *edit = nano_mem_calloc(1, sizeof *edit);
    *out = NULL;
    if (!edit)
        return nano_error_no_memory(err, "the line editor", sizeof *edit);
    /* libedit prints as the locale says; what is read is UTF-8 in any case. */
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
    edit->line = el_init("nanovllm", stdin, stdout, stderr);
    if (!edit->line) {
        nano_mem_free(edit);
        return nano_error_set(err, NANO_ERR_IO, "the terminal: libedit cannot use it");
    }
    edit->read = read;
    edit->user_data = user_data;
    edit->words = words;
    el_set(edit->line, EL_CLIENTDATA, edit);
    el_set(edit->line, EL_PROMPT, get_prompt);
    el_set(edit->line, EL_GETCFN, read_character);
    el_set(edit->line, EL_EDITOR, "emacs");
    /* the wide form borrows the strings; the other one loses copies of them */
    el_wset(edit->line, EL_ADDFN, L"nanovllm-complete", L"complete a command", complete);
    el_set(edit->line, EL_BIND, "^I", "nanovllm-complete", NULL);
    el_set(edit->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    open_history(edit);
    el_source(edit->line, NULL); /* the user's ~/.editrc */
    *out = edit;
    return NANO_OK;
}

void nano_chat_edit_close(struct nano_chat_edit *edit)
{
    if (!edit)
        return;
    if (edit->history)
        history_end(edit->history);
    el_end(edit->line);
    nano_mem_free(edit);
}

const char *nano_chat_edit_read(struct nano_chat_edit *edit, const char *prompt)
{
    int num_bytes = 0;
    edit->prompt = prompt;
    el_set(edit->line, EL_PREP_TERM, 1); /* before the prompt: from then on keys are the editor's */
    const char *line = el_gets(edit->line, &num_bytes);
    return num_bytes > 0 ? line : NULL;
}

/* The file is written with every line, since a terminal that is closed ends the program. */
void nano_chat_edit_remember(struct nano_chat_edit *edit, const char *line)
{
    HistEvent event;
    if (!edit->history || line[strspn(line, " \t\r\n")] == '\0')
        return;
    history(edit->history, &event, H_ENTER, line);
    if (edit->history_path[0])
        history(edit->history, &event, H_SAVE, edit->history_path);
}

void nano_chat_edit_resize(struct nano_chat_edit *edit)
{
    el_resize(edit->line);
}

void nano_chat_edit_continue(struct nano_chat_edit *edit)
{
    el_set(edit->line, EL_PREP_TERM, 1);
    el_set(edit->line, EL_REFRESH);
}
