/* Output. */
#include "cli/cli_output.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"

/* File names and tensor names may hold anything; a message stays one harmless line. */
static void print_line(const char *label, const char *message)
{
    char line[sizeof((struct nano_error *)0)->message];
    snprintf(line, sizeof line, "%s", message);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
    fprintf(stderr, "nanovllm: %s%s\n", label, line);
}

int nano_cli_fail(const struct nano_error *err)
{
    fflush(stdout);
    print_line("", err->message);
    return 1;
}

int nano_cli_finish(int status)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    int error = errno;
    if (error != EPIPE) {
        struct nano_error err;
        nano_error_set(&err, NANO_ERR_IO, "standard output: %s",
                       error ? strerror(error) : "not everything could be written");
        nano_cli_fail(&err);
    }
    return 1;
}

void nano_cli_style_init(struct nano_cli_style *style, FILE *file)
{
    static const struct nano_cli_style plain = {"", "", "", {"", "", "", "", "", ""}};
    static const struct nano_cli_style colored = {
        "\x1b[1m",
        "\x1b[2m",
        "\x1b[0m",
        {"\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m", "\x1b[34m", "\x1b[31m"}};
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    bool colors =
        isatty(fileno(file)) && term && strcmp(term, "dumb") != 0 && !(no_color && *no_color);
    *style = colors ? colored : plain;
}

struct nano_cli_text nano_cli_bytes(uint64_t num_bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    struct nano_cli_text out;
    double value = (double)num_bytes;
    int unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(out.text, sizeof out.text, "%.*f %s", unit == 0 || value >= 100 ? 0 : 1, value,
             units[unit]);
    return out;
}

struct nano_cli_text nano_cli_count(uint64_t count)
{
    static const char *const units[] = {"", " K", " M", " B", " T"};
    struct nano_cli_text out;
    double value = (double)count;
    int unit = 0;
    for (; value >= 1000 && unit < 4; unit++)
        value /= 1000;
    snprintf(out.text, sizeof out.text, "%.*f%s",
             unit == 0 || value >= 100 ? 0
             : value >= 10             ? 1
                                       : 2,
             value, units[unit]);
    return out;
}

static volatile sig_atomic_t interrupted, terminated;

static void on_interrupt(int signal_number)
{
    if (signal_number == SIGINT)
        interrupted = 1;
    else
        terminated = 1;
}

static void catch_signal(int signal_number, unsigned flags)
{
    struct sigaction action = {0};
    action.sa_handler = on_interrupt;
    action.sa_flags = (int)flags;
    sigemptyset(&action.sa_mask);
    sigaction(signal_number, &action, NULL);
}

void nano_cli_catch_interrupt(void)
{
    catch_signal(SIGINT, SA_RESETHAND);
    catch_signal(SIGTERM, SA_RESETHAND);
}

bool nano_cli_interrupted(void)
{
    return interrupted || terminated;
}

void nano_cli_hold_interrupts(void)
{
    catch_signal(SIGINT, SA_RESTART); /* what is printed goes on */
    catch_signal(SIGTERM, SA_RESTART | SA_RESETHAND);
}

void nano_cli_clear_interrupt(void)
{
    interrupted = 0;
}

enum nano_status nano_cli_read(const char *path, char **text, size_t *num_bytes,
                               struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    bool is_stdin = !path || strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    void *buffer = NULL;
    size_t capacity = 0, length = 0;
    *text = NULL;
    if (!file)
        return nano_error_set(err, NANO_ERR_IO, "%s: cannot open: %s", name, strerror(errno));
    for (;;) {
        if (!nano_mem_grow(&buffer, &capacity, length + 65536, 1)) {
            status = nano_error_no_memory(err, name, length + 65536);
            goto fail;
        }
        size_t got = fread((char *)buffer + length, 1, capacity - length - 1, file);
        length += got;
        if (got == 0)
            break;
    }
    if (ferror(file)) {
        status = nano_error_set(err, NANO_ERR_IO, "%s: cannot read: %s", name, strerror(errno));
        goto fail;
    }
    ((char *)buffer)[length] = '\0';
    *text = buffer;
    *num_bytes = length;
    buffer = NULL;
fail:
    if (!is_stdin)
        fclose(file);
    nano_mem_free(buffer);
    return status;
}

static void on_log(enum nano_log_level level, const char *message, void *user_data)
{
    const bool *verbose = user_data;
    if (level == NANO_LOG_WARN)
        print_line("warning: ", message);
    else if (*verbose)
        print_line("", message);
}

void nano_cli_log_to_stderr(bool verbose)
{
    static bool verbose_copy;
    verbose_copy = verbose;
    nano_set_log(on_log, &verbose_copy);
    nano_log_to(on_log, &verbose_copy); /* the server's */
}
