/* nanovllm chat: conversations through pipes, and on a pseudo terminal line editing and Ctrl-C. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "tests/program.h"

/* A conversation of lines, always the same one. */
#define CHAT(input, ...) \
    program_run(input, (const char *const[]){"chat", "--temp", "0", __VA_ARGS__, NULL})

static int count_lines(const char *text)
{
    int num = 0;
    for (; *text; text++)
        num += *text == '\n';
    return num;
}

/* The n-th number of the first line of `text` that contains `label`; -1: there is none. */
static int number_behind(const char *text, const char *label, int n)
{
    const char *at = strstr(text, label);
    const char *end = at ? at + strcspn(at, "\n") : NULL;
    for (at += at ? strlen(label) : 0; at && at < end; at++) {
        char *after;
        if (*at < '0' || *at > '9')
            continue;
        long number = strtol(at, &after, 10);
        if (n-- == 0)
            return (int)number;
        at = after;
    }
    return -1;
}

static json_t *load_messages(const char *path)
{
    json_error_t error;
    json_t *document = json_load_file(path, 0, &error);
    cr_assert_not_null(document, "%s: %s", path, error.text);
    json_t *messages = json_incref(json_object_get(document, "messages"));
    json_decref(document);
    cr_assert(json_is_array(messages));
    return messages;
}

static const char *member_of(const json_t *messages, size_t index, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(messages, index), key));
    return text ? text : "(none)";
}

static char *copy_path(const char *name)
{
    return strdup(program_file(name, "", 0));
}

/* ---- Lines ----------------------------------------------------------------------------------- */

Test(chat, answers_on_stdout_and_notes_on_stderr)
{
    char *path = copy_path("saved.json"), input[8192];
    snprintf(input, sizeof input, "Hello\n\n  \nHow are you?\n/save %s\n", path);
    struct program_result r = CHAT(input, "--system", "Be kind.");
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert_eq(count_lines(r.out), 2, "%s", r.out);
    cr_assert(strstr(r.err, "5 messages saved"), "%s", r.err);
    json_t *messages = load_messages(path);
    static const char *const roles[] = {"system", "user", "assistant", "user", "assistant"};
    cr_assert_eq(json_array_size(messages), 5);
    for (size_t i = 0; i < 5; i++)
        cr_expect_str_eq(member_of(messages, i, "role"), roles[i]);
    cr_expect_str_eq(member_of(messages, 0, "content"), "Be kind.");
    cr_expect_str_eq(member_of(messages, 3, "content"), "How are you?");
    char expected[4096];
    snprintf(expected, sizeof expected, "%s\n%s\n", member_of(messages, 2, "content"),
             member_of(messages, 4, "content"));
    cr_expect_str_eq(r.out, expected);
    json_decref(messages);
    program_free(&r);
    free(path);
}

Test(chat, later_turns_find_the_earlier_ones_in_the_cache)
{
    struct program_result r =
        CHAT("Tell me a story\n/stats\nWho are you?\n/stats\n", "--block-size", "4");
    cr_assert_eq(r.status, 0, "%s", r.err);
    const char *second = strstr(strstr(r.err, "last prompt") + 1, "last prompt");
    const int prompt = number_behind(r.err, "last prompt", 0);
    const int answer = number_behind(r.err, "last answer", 0);
    cr_assert_eq(number_behind(r.err, "last prompt", 1), 0, "%s", r.err);
    cr_assert_gt(answer, 50, "%s", r.err);
    cr_assert_geq(number_behind(second, "last prompt", 1), prompt + answer - 1 - 4, "%s", r.err);
    cr_assert_gt(number_behind(second, "last prompt", 0), prompt + answer, "%s", r.err);
    cr_assert_eq(number_behind(second, "context", 0),
                 number_behind(second, "last prompt", 0) + number_behind(second, "last answer", 0));
    cr_assert_gt(number_behind(second, "KV cache", 0), (prompt + answer) / 4);
    program_free(&r);
}

Test(chat, messages_of_several_lines)
{
    static const struct {
        const char *input, *message;
    } cases[] = {
        {"one\\\ntwo\n", "one\ntwo"},
        {"one\\\n\\\ntwo\n", "one\n\ntwo"},
        {"\"\"\"\none\n/two\\\n\"\"\"\n", "one\n/two\\"},
        {"\"\"\"one\ntwo\"\"\"\n", "one\ntwo"},
        {"\"\"\"one\"\"\"\n", "one"},
        {"one \"\"\" two\n", "one \"\"\" two"},
        {"//two slashes\n", "/two slashes"},
        {"carriage return\r\n", "carriage return"},
        {"not \xff\xc3 UTF-8\n", "not \xEF\xBF\xBD\xEF\xBF\xBD UTF-8"},
    };
    char *path = copy_path("lines.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char input[8192];
        snprintf(input, sizeof input, "%s/save %s\n", cases[i].input, path);
        struct program_result r = CHAT(input, "-n", "1");
        cr_assert_eq(r.status, 0, "%s: %s", cases[i].input, r.err);
        json_t *messages = load_messages(path);
        cr_expect_str_eq(member_of(messages, 0, "content"), cases[i].message);
        json_decref(messages);
        program_free(&r);
    }
    free(path);
}

Test(chat, a_message_that_the_input_s_end_cuts_is_sent)
{
    static const char *const inputs[] = {"Hello", "\"\"\"\nHello", "Hello\\\n"};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct program_result r = CHAT(inputs[i], "-n", "4");
        cr_expect_eq(r.status, 0, "%s", r.err);
        cr_expect_eq(count_lines(r.out), 1, "%s", r.out);
        program_free(&r);
    }
}

/* ---- Commands -------------------------------------------------------------------------------- */

Test(chat, help_lists_every_command)
{
    static const char *const names[] = {"/help", "/system", "/retry", "/reset", "/save",
                                        "/load", "/set",    "/stats", "/exit"};
    struct program_result r = CHAT("/help\n", "-n", "1");
    cr_assert_eq(r.status, 0);
    cr_assert_eq(r.out_bytes, 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_expect(strstr(r.err, names[i]), "%s", names[i]);
    program_free(&r);
}

Test(chat, system_is_shown_set_and_removed)
{
    char *path = copy_path("system.json"), input[8192];
    snprintf(input, sizeof input,
             "/system\n/system Be\\\nbrief.\n/system\n/system Be long.\n/save %s\n/reset\n/system "
             "\"\"\n/system\n",
             path);
    struct program_result r = CHAT(input, "-n", "1");
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_expect(strstr(r.err, "no system prompt"));
    cr_expect(strstr(r.err, "Be\nbrief.\n"), "%s", r.err);
    cr_expect(strstr(r.err, "1 messages saved"));
    cr_expect(strstr(r.err, "with the same system prompt"));
    cr_expect(strstr(r.err, "is gone.\n(there is no system prompt)"));
    json_t *messages = load_messages(path);
    cr_expect_str_eq(member_of(messages, 0, "content"), "Be long.");
    json_decref(messages);
    program_free(&r);
    free(path);
}

Test(chat, reset_begins_again)
{
    struct program_result r = CHAT("Hello\nHow are you?\n/reset\nHello\n/retry\n", "-n", "20");
    cr_assert_eq(r.status, 0, "%s", r.err);
    char *lines[4] = {strtok(r.out, "\n")};
    for (int i = 1; i < 4; i++)
        cr_assert_not_null(lines[i] = strtok(NULL, "\n"));
    cr_expect_str_eq(lines[0], lines[2]);
    cr_expect_str_eq(lines[0], lines[3]);
    cr_expect_str_neq(lines[0], lines[1]);
    program_free(&r);
}

Test(chat, settings_are_listed_changed_and_used)
{
    struct program_result r =
        CHAT("/set\n/set max_tokens 3\nTell me a story\n/stats\n/set max-tokens=5\n/retry\n/stats\n"
             "/set seed 7\n/set seed\n/set temperature 0.5\n/set top_p 0.25\n/set\n",
             "--ignore-eos");
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_expect_eq(number_behind(r.err, "last answer", 0), 3);
    cr_expect_eq(number_behind(strstr(r.err, "max_tokens = 5"), "last answer", 0), 5);
    cr_expect(strstr(r.err, "(cut after max_tokens = 3)"));
    cr_expect(strstr(r.err, "(cut after max_tokens = 5)"));
    cr_expect(strstr(r.err, "seed = 7\nseed = 7\n"));
    const char *last = strstr(r.err, "top_p = 0.25");
    cr_expect(strstr(last, "temperature         0.5\n"), "%s", last);
    cr_expect(strstr(last, "top_p               0.25\n"));
    cr_expect(strstr(last, "seed                7\n"));
    cr_expect(strstr(last, "max_tokens          5\n"));
    program_free(&r);
}

Test(chat, a_saved_conversation_goes_on)
{
    char *path = copy_path("first.json"), *again = copy_path("again.json"), input[8192];
    snprintf(input, sizeof input, "Hello\n/save %s\nTell me a story\n", path);
    struct program_result whole = CHAT(input, "-sys", "Be kind.");
    snprintf(input, sizeof input, "/load %s\n/save %s\nTell me a story\n", path, again);
    struct program_result loaded = CHAT(input, "-n", "-1");
    cr_assert_eq(loaded.status, 0, "%s", loaded.err);
    cr_assert(strstr(loaded.err, "3 messages loaded"), "%s", loaded.err);
    cr_expect_str_eq(loaded.out, strchr(whole.out, '\n') + 1);
    json_t *a = load_messages(path), *b = load_messages(again);
    cr_expect(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    program_free(&whole);
    program_free(&loaded);

    static const char list[] = "[{\"role\":\"user\",\"content\":\"Hello\"}]";
    snprintf(input, sizeof input, "/load %s\n/retry\n",
             program_file("list.json", list, sizeof list - 1));
    loaded = CHAT(input, "-n", "8");
    cr_expect_eq(loaded.status, 0, "%s", loaded.err);
    cr_expect_eq(count_lines(loaded.out), 1);
    program_free(&loaded);
    free(path);
    free(again);
}

Test(chat, what_cannot_be_loaded_changes_nothing)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "not JSON"},
        {"[{\"role\":\"user\"", "not JSON: line 1"},
        {"{\"messages\":7}", "expected a list of messages"},
        {"[{\"content\":\"x\"}]", "each with a role"},
        {"[3]", "each with a role"},
        {"{}", "expected a list of messages"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char input[8192];
        const char *path = program_file("bad.json", cases[i].text, strlen(cases[i].text));
        snprintf(input, sizeof input, "Hello\n/load %s\n/retry\n", path);
        struct program_result r = CHAT(input, "-n", "8");
        cr_expect_eq(r.status, 1);
        cr_expect(strstr(r.err, cases[i].part), "'%s' not in %s", cases[i].part, r.err);
        cr_expect(strstr(r.err, path));
        cr_expect_eq(count_lines(r.out), 2, "%s", r.out);
        program_free(&r);
    }
}

Test(chat, bad_commands_are_told_and_the_conversation_goes_on)
{
    static const struct {
        const char *command, *part;
    } cases[] = {
        {"/sats", "/sats: unknown command, did you mean /stats?"},
        {"/", "/: unknown command"},
        {"/x/y/z/w/v/u", "/help lists them"},
        {"/retry", "there is no question yet"},
        {"/reset everything", "/reset: takes nothing"},
        {"/save", "/save: expected a file's name"},
        {"/load", "/load: expected a file's name"},
        {"/save /nonexistent/x", "/nonexistent/x: cannot be written"},
        {"/load /nonexistent/x", "/nonexistent/x: cannot open"},
        {"/set temprature 1", "did you mean temperature?"},
        {"/set qqqqqqqq 1", "/set alone lists"},
        {"/set top_p 2", "/set top_p: 2 is not from 0 to 1"},
        {"/set seed x", "/set seed: 'x'"},
        {"/set max_tokens many", "/set max_tokens: 'many'"},
        {"/set reasoning maybe", "'maybe' is not on or off"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char input[256];
        snprintf(input, sizeof input, "%s\nHello\n", cases[i].command);
        struct program_result r = CHAT(input, "-n", "4");
        cr_expect_eq(r.status, 1, "%s", cases[i].command);
        cr_expect(strncmp(r.err, "nanovllm: ", 10) == 0, "%s", r.err);
        cr_expect(strstr(r.err, cases[i].part), "'%s' not in %s", cases[i].part, r.err);
        cr_expect_eq(count_lines(r.out), 1, "%s", r.out);
        program_free(&r);
    }
}

Test(chat, exit_leaves_at_once)
{
    struct program_result r = CHAT("Hello\n/exit\nHello\n", "-n", "4");
    cr_assert_eq(r.status, 0);
    cr_assert_eq(count_lines(r.out), 1);
    program_free(&r);
}

Test(chat, a_full_context_is_told)
{
    char *path = copy_path("full.json"), input[8192];
    snprintf(input, sizeof input, "Tell me a story\nAnd another one\n/save %s\n/reset\nHello\n",
             path);
    struct program_result r = CHAT(input, "-c", "64", "--ignore-eos");
    cr_assert_eq(r.status, 1, "%s", r.err);
    cr_expect(strstr(r.err, "(cut: the context of 64 tokens is full; /reset begins a new "
                            "conversation, -c N makes it longer)"),
              "%s", r.err);
    const char *refused = strstr(r.err, "nanovllm: the context is full: the conversation has ");
    cr_assert(refused && strstr(refused, "/reset begins"), "%s", r.err);
    cr_expect_gt(number_behind(refused, "has", 0), 64);
    cr_expect(strstr(refused, "your message is taken back"));
    json_t *messages = load_messages(path);
    cr_expect_eq(json_array_size(messages), 2);
    json_decref(messages);
    program_free(&r);
    free(path);

    r = CHAT("Tell me a story\n", "--ignore-eos");
    cr_expect(strstr(r.err, "/reset begins a new conversation)"), "%s", r.err);
    program_free(&r);
}

/* ---- Options --------------------------------------------------------------------------------- */

Test(chat, bad_options_are_refused)
{
    static const struct {
        const char *args[6];
        int status;
        const char *part;
    } cases[] = {
        {{"chat", "-N", "2"}, 2, "one answer"},
        {{"chat", "--system", "x", "--system-prompt-file", "y"}, 2, "--system: not with"},
        {{"chat", "-sysf", "/nonexistent/x"}, 1, "/nonexistent/x: cannot open"},
        {{"chat", "--chat-template-kwargs", "{"}, 1, "--chat-template-kwargs: not JSON"},
        {{"chat", "--chat-template-kwargs", "[]"}, 1, "expected a JSON object"},
        {{"chat", "--chat-template", "{% if %}"}, 1, "--chat-template: "},
        {{"chat", "--chat-template-file", "/nonexistent/x"}, 1, "/nonexistent/x: cannot open"},
        {{"chat", "-m", "/nonexistent/x"}, 1, "/nonexistent/x: "},
        {{"chat", "hello"}, 2, "unexpected argument"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct program_result r = program_run("Hello\n", cases[i].args);
        cr_expect_eq(r.out_bytes, 0);
        program_expect_error(&r, cases[i].status, cases[i].part);
    }
}

Test(chat, another_template_and_its_variables)
{
    static const char text[] =
        "{% for m in messages %}{{ m.content }}{% endfor %}{{ suffix }}, there was a";
    char *path = strdup(program_file("template.jinja", text, sizeof text - 1));
    static const char *const names[] = {"--chat-template", "--chat-template-file"};
    struct program_result expected = RUN("run", "-p", "Once upon a time, there was a", "-n", "8",
                                         "--temp", "0", "--no-display-prompt", "--no-add-special");
    for (size_t i = 0; i < 2; i++) {
        struct program_result r = CHAT("Once\n", names[i], path, "--chat-template-kwargs",
                                       "{\"suffix\":\" upon a time\"}", "-n", "8");
        cr_expect_eq(r.status, 0, "%s", r.err);
        cr_expect_str_eq(r.out, expected.out);
        program_free(&r);
    }
    program_free(&expected);
    free(path);
}

/* The template opens reasoning, and the model knows nothing of ending it. */
Test(chat, reasoning_is_kept_and_shown_where_wanted)
{
    static const char text[] =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
    char *template = strdup(program_file("thinking.jinja", text, sizeof text - 1));
    char *path = copy_path("thoughts.json"), input[8192];
    snprintf(input, sizeof input, "Hello\n/save %s\n", path);
    struct program_result hidden = CHAT(input, "-n", "8", "--chat-template", template);
    struct program_result shown =
        CHAT(input, "-n", "8", "--chat-template", template, "--reasoning");
    struct program_result set =
        CHAT("/set reasoning on\nHello\n", "-n", "8", "--chat-template", template);
    json_t *messages = load_messages(path);
    char expected[4096];
    snprintf(expected, sizeof expected, "%s\n", member_of(messages, 1, "reasoning_content"));
    cr_expect_str_eq(member_of(messages, 1, "content"), "");
    cr_expect_gt(strlen(expected), 8);
    cr_expect_str_eq(hidden.out, "");
    cr_expect_str_eq(shown.out, expected);
    cr_expect_str_eq(set.out, expected);
    json_decref(messages);
    program_free(&hidden);
    program_free(&shown);
    program_free(&set);
    free(path);
    free(template);
}

/* ---- Terminal -------------------------------------------------------------------------------- */

struct terminal {
    pid_t pid;
    int fd;
    char seen[1 << 16]; /* since the last expect */
    size_t num_bytes;
};

static void terminal_open(struct terminal *t, const char *state, const char *const *args)
{
    const char *argv[16] = {getenv("NANOVLLM_PROGRAM"), "chat", "-t", "1"};
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    for (int i = 0; args[i]; i++)
        argv[i + 4] = args[i];
    *t = (struct terminal){.fd = posix_openpt(O_RDWR | O_NOCTTY)};
    cr_assert_geq(t->fd, 0);
    cr_assert(grantpt(t->fd) == 0 && unlockpt(t->fd) == 0);
    cr_assert_eq(ioctl(t->fd, TIOCSWINSZ, &size), 0);
    t->pid = fork();
    cr_assert_geq(t->pid, 0);
    if (t->pid > 0)
        return;
    const char *name = ptsname(t->fd);
    close(t->fd);
    setsid();
    int fd = open(name, O_RDWR); /* becomes the controlling terminal */
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    setenv("XDG_STATE_HOME", state, 1);
    setenv("TERM", "xterm", 1);
    setenv("NANOVLLM_CPU", "ref", 1); /* an answer that lasts */
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

static void terminal_send(struct terminal *t, const char *keys)
{
    cr_assert_eq(write(t->fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* Waits until the program has printed `text`; what it had printed up to there is forgotten. */
static void terminal_expect(struct terminal *t, const char *text)
{
    for (;;) {
        struct pollfd event = {.fd = t->fd, .events = POLLIN};
        t->seen[t->num_bytes] = '\0';
        char *found = strstr(t->seen, text);
        if (found) {
            found += strlen(text);
            t->num_bytes -= (size_t)(found - t->seen);
            memmove(t->seen, found, t->num_bytes);
            return;
        }
        cr_assert_lt(t->num_bytes, sizeof t->seen - 1);
        cr_assert_eq(poll(&event, 1, 30000), 1, "no '%s' in '%s'", text, t->seen);
        ssize_t got = read(t->fd, t->seen + t->num_bytes, sizeof t->seen - 1 - t->num_bytes);
        cr_assert_gt(got, 0, "the program has ended: no '%s' in '%s'", text, t->seen);
        t->num_bytes += (size_t)got;
    }
}

static int terminal_close(struct terminal *t)
{
    int status;
    char rest[4096];
    struct pollfd event = {.fd = t->fd, .events = POLLIN};
    ssize_t got;
    do { /* until the program closes its side */
        if (poll(&event, 1, 30000) != 1) {
            kill(t->pid, SIGKILL);
            cr_assert_fail("the program does not end");
        }
        got = read(t->fd, rest, sizeof rest);
    } while (got > 0);
    cr_assert_eq(waitpid(t->pid, &status, 0), t->pid);
    close(t->fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define TERMINAL(t, state, ...) terminal_open(t, state, (const char *const[]){__VA_ARGS__, NULL})

/* A folder for the history. */
static char *state_folder(void)
{
    char *path = copy_path("x");
    *strrchr(path, '/') = '\0';
    return path;
}

Test(chat_terminal, ctrl_c_stops_the_answer_and_the_conversation_goes_on)
{
    char *state = state_folder(), *path = copy_path("stopped.json"), command[4200];
    struct terminal t;
    TERMINAL(&t, state, "--temp", "0", "--ignore-eos");
    terminal_expect(&t, "/help lists commands");
    terminal_expect(&t, "> ");
    terminal_send(&t, "Tell me a story\r");
    terminal_expect(&t, "Once upon a time");
    terminal_send(&t, "\x03");
    terminal_expect(&t, "(stopped)");
    terminal_expect(&t, "> ");
    snprintf(command, sizeof command, "/save %s\r", path);
    terminal_send(&t, command);
    terminal_expect(&t, "2 messages saved");
    terminal_send(&t, "/set max_tokens 5\r");
    terminal_expect(&t, "max_tokens = 5");
    terminal_send(&t, "Hello\r");
    terminal_expect(&t, "(cut after max_tokens = 5)");
    terminal_send(&t, "/exit\r");
    cr_expect_eq(terminal_close(&t), 0);
    json_t *messages = load_messages(path);
    const char *partial = member_of(messages, 1, "content");
    cr_expect_eq(strncmp(partial, "Once upon a time", 16), 0, "%s", partial);
    json_decref(messages);
    free(path);
    free(state);
}

Test(chat_terminal, ctrl_c_clears_the_line_and_ctrl_d_ends)
{
    char *state = state_folder();
    struct terminal t;
    TERMINAL(&t, state, "-n", "4");
    terminal_expect(&t, "> ");
    terminal_send(&t, "\"\"\"\r");
    terminal_expect(&t, ". ");
    terminal_send(&t, "nothing");
    terminal_expect(&t, "nothing");
    terminal_send(&t, "\x03");
    terminal_expect(&t, "> ");
    terminal_send(&t, "/sys\x03");
    terminal_expect(&t, "(Ctrl-D or /exit ends)");
    terminal_expect(&t, "> ");
    terminal_send(&t, "/system\r");
    terminal_expect(&t, "(there is no system prompt)");
    terminal_expect(&t, "> ");
    terminal_send(&t, "\x04");
    cr_expect_eq(terminal_close(&t), 0);
    free(state);
}

Test(chat_terminal, sigterm_ends)
{
    char *state = state_folder();
    struct terminal t;
    TERMINAL(&t, state, "-n", "4");
    terminal_expect(&t, "> ");
    kill(t.pid, SIGTERM);
    cr_expect_eq(terminal_close(&t), 130);
    free(state);
}

#ifdef NANO_HAVE_LIBEDIT
Test(chat_terminal, lines_are_edited_completed_and_remembered)
{
    char *state = state_folder();
    struct terminal t;
    TERMINAL(&t, state, "-n", "4");
    terminal_expect(&t, "> ");
    terminal_send(&t, "/sy\tB kind \xc3\xa4\xe6\xbc\xa2."); /* Tab; home, nine to the right … */
    terminal_send(&t, "\x01\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C");
    terminal_send(&t, "x\x7f");
    terminal_send(&t, "e\r"); /* … and a letter where a wrong one was removed again */
    terminal_expect(&t, "The system prompt is set.");
    terminal_send(&t, "/system\r");
    terminal_expect(&t, "Be kind \xc3\xa4\xe6\xbc\xa2.");
    terminal_send(&t, "/system \"\"\r");
    terminal_expect(&t, "is gone");
    terminal_expect(&t, "> "); /* before it Ctrl-D would be the driver's, not the editor's */
    terminal_send(&t, "\x04");
    cr_expect_eq(terminal_close(&t), 0);

    TERMINAL(&t, state, "-n", "4");
    terminal_expect(&t, "> ");
    terminal_send(&t, "\x1b[A\x1b[A\x1b[A\r"); /* three lines back: that of the other run */
    terminal_expect(&t, "The system prompt is set.");
    terminal_send(&t, "/exit\r");
    cr_expect_eq(terminal_close(&t), 0);
    free(state);
}
#endif
