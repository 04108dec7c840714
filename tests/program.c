/* Runs the program under test. */
#include "tests/program.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *program_path(void)
{
    const char *path = getenv("NANOVLLM_PROGRAM");
    return path ? path : "./nanovllm";
}

static FILE *temporary(void)
{
    FILE *file = tmpfile();
    cr_assert_not_null(file, "tmpfile: %s", strerror(errno));
    return file;
}

static char *read_back(FILE *file, size_t *num_bytes)
{
    fseek(file, 0, SEEK_END);
    *num_bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*num_bytes + 1);
    cr_assert_not_null(text);
    cr_assert_eq(fread(text, 1, *num_bytes, file), *num_bytes);
    text[*num_bytes] = '\0';
    fclose(file);
    return text;
}

struct program_result program_run(const char *input, const char *const *args)
{
    struct program_result result = {0};
    const char *argv[64] = {program_path()};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    FILE *in = temporary(), *out = temporary(), *err = temporary();
    if (input)
        fputs(input, in);
    rewind(in);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        dup2(fileno(in), STDIN_FILENO);
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        execv(argv[0], (char *const *)argv);
        fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    size_t err_bytes;
    fclose(in);
    result.out = read_back(out, &result.out_bytes);
    result.err = read_back(err, &err_bytes);
    cr_assert_neq(result.status, 127, "%s", result.err);
    return result;
}

void program_free(struct program_result *result)
{
    free(result->out);
    free(result->err);
    *result = (struct program_result){0};
}

void program_expect_error(struct program_result *result, int status, const char *part)
{
    const char *newline = strchr(result->err, '\n');
    cr_assert_eq(result->status, status, "exit status %d, expected %d: %s%s", result->status,
                 status, result->out, result->err);
    cr_assert(newline && newline[1] == '\0', "expected one line on stderr: '%s'", result->err);
    cr_assert_eq(strncmp(result->err, "nanovllm: ", 10), 0, "%s", result->err);
    cr_assert(strstr(result->err, part), "'%s' does not contain '%s'", result->err, part);
    program_free(result);
}

json_t *program_json(const struct program_result *result, int line)
{
    const char *text = result->out;
    json_error_t error;
    for (int i = 0; i < line; i++) {
        text = strchr(text, '\n');
        cr_assert_not_null(text, "no line %d in '%s'", line, result->out);
        text++;
    }
    json_t *value = json_loadb(text, strcspn(text, "\n"), 0, &error);
    cr_assert_not_null(value, "exit status %d, line %d: %s in '%.300s' %s", result->status, line,
                       error.text, text, result->err);
    return value;
}

const char *program_model(void)
{
    static char path[4096];
    const char *folder = getenv("NANOVLLM_DATA_DIR");
    cr_assert_not_null(folder, "NANOVLLM_DATA_DIR is not set");
    snprintf(path, sizeof path, "%s/tinymodel.gguf", folder);
    return path;
}

static char folder[64];

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", folder);
}

const char *program_file(const char *name, const void *bytes, size_t num_bytes)
{
    static char path[4096];
    if (!*folder) {
        snprintf(folder, sizeof folder, "/tmp/nanovllm-test-XXXXXX");
        cr_assert_not_null(mkdtemp(folder));
        atexit(remove_folder);
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, num_bytes, file), num_bytes);
    cr_assert_eq(fclose(file), 0);
    return path;
}
