/* Options: the walk over argv, messages for what is wrong in it, and --help. */
#include "cli/cli_options.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define HELP_COLUMN 32 /* where the explanations begin */
#define HELP_WIDTH 80
#define MAX_WORD_BYTES 64
#define MAX_CANDIDATES 256

int nano_cli_usage_error(const struct nano_cli_command *command, const char *fmt, ...)
{
    char message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
    fprintf(stderr, "nanovllm: %s (see nanovllm %s%s--help)\n", message,
            command ? command->name : "", command ? " " : "");
    return 2;
}

/* Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
 */
static int edit_distance(const char *a, const char *b)
{
    unsigned char cost[MAX_WORD_BYTES + 1][MAX_WORD_BYTES + 1];
    size_t la = strlen(a), lb = strlen(b);
    if (la > MAX_WORD_BYTES || lb > MAX_WORD_BYTES)
        return MAX_WORD_BYTES;
    for (size_t i = 0; i <= la; i++) {
        for (size_t j = 0; j <= lb; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = (unsigned char)(i + j);
                continue;
            }
            int best = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (cost[i - 1][j] + 1 < best)
                best = cost[i - 1][j] + 1;
            if (cost[i][j - 1] + 1 < best)
                best = cost[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                cost[i - 2][j - 2] + 1 < best)
                best = cost[i - 2][j - 2] + 1;
            cost[i][j] = (unsigned char)best;
        }
    }
    return cost[la][lb];
}

const char *nano_cli_nearest(const char *word, const char *const *candidates, size_t num_candidates)
{
    const char *nearest = NULL;
    size_t length = strlen(word);
    int limit = length <= 3 ? 1 : length <= 6 ? 2 : 3;
    int best = limit + 1;
    for (size_t i = 0; i < num_candidates; i++) {
        int distance = edit_distance(word, candidates[i]);
        if (distance < best) {
            best = distance;
            nearest = candidates[i];
        }
    }
    for (size_t i = 0; i < num_candidates && !nearest && length >= 5; i++)
        if (strncmp(candidates[i], word, length) == 0)
            nearest = candidates[i];
    return nearest;
}

/* Copies the next spelling out of a list separated by spaces; NULL at its end. */
static const char *next_name(const char *names, char *out)
{
    size_t length = strcspn(names, " ");
    if (length == 0 || length > MAX_WORD_BYTES)
        return NULL;
    memcpy(out, names, length);
    out[length] = '\0';
    return names[length] ? names + length + 1 : names + length;
}

static bool has_name(const struct nano_cli_option *option, const char *name, size_t num_bytes)
{
    char word[MAX_WORD_BYTES + 1];
    for (const char *rest = option->names; (rest = next_name(rest, word)) != NULL;)
        if (strlen(word) == num_bytes && memcmp(word, name, num_bytes) == 0)
            return true;
    return false;
}

bool nano_cli_option_is(const struct nano_cli_option *option, const char *name)
{
    return has_name(option, name, strlen(name));
}

static const struct nano_cli_option *find_option(const struct nano_cli_group *groups,
                                                 size_t num_groups, const char *name,
                                                 size_t num_bytes, void **base)
{
    for (size_t g = 0; g < num_groups; g++) {
        for (size_t i = 0; i < groups[g].num_options; i++) {
            if (has_name(&groups[g].options[i], name, num_bytes)) {
                *base = groups[g].base;
                return &groups[g].options[i];
            }
        }
    }
    return NULL;
}

static int unknown_option(const struct nano_cli_command *command,
                          const struct nano_cli_group *groups, size_t num_groups, const char *name)
{
    static char words[MAX_CANDIDATES][MAX_WORD_BYTES + 1];
    const char *candidates[MAX_CANDIDATES];
    size_t num = 0;
    for (size_t g = 0; g < num_groups; g++) {
        for (size_t i = 0; i < groups[g].num_options; i++) {
            const char *rest = groups[g].options[i].names;
            while (num < MAX_CANDIDATES && (rest = next_name(rest, words[num])) != NULL) {
                candidates[num] = words[num];
                num++;
            }
        }
    }
    const char *nearest =
        strncmp(name, "--", 2) == 0 ? nano_cli_nearest(name, candidates, num) : NULL;
    if (nearest)
        return nano_cli_usage_error(command, "%s: unknown option, did you mean %s?", name, nearest);
    return nano_cli_usage_error(command, "%s: unknown option", name);
}

/* "-n, --max-tokens N" with every spelling that no earlier group took; returns its length. */
static size_t print_names(const struct nano_cli_option *option, const struct nano_cli_group *groups,
                          size_t num_groups)
{
    char word[MAX_WORD_BYTES + 1];
    size_t column = 2;
    bool first = true;
    void *base;
    fputs("  ", stdout);
    for (const char *rest = option->names; (rest = next_name(rest, word)) != NULL;) {
        if (find_option(groups, num_groups, word, strlen(word), &base) != option)
            continue;
        column += (size_t)printf("%s%s", first ? "" : ", ", word);
        first = false;
    }
    if (option->metavar)
        column += (size_t)printf(" %s", option->metavar);
    return column;
}

/* Prints text wrapped at HELP_WIDTH; the cursor stands in `column`, further lines begin at
 * `indent`. */
static void print_wrapped(const char *text, size_t column, size_t indent)
{
    while (*text) {
        size_t length = strcspn(text, " \n");
        if (column > indent && column + 1 + length > HELP_WIDTH) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)length, text);
        column += length;
        text += length;
        if (*text == '\n') {
            printf("\n%*s", (int)indent, "");
            column = indent;
        }
        text += *text != '\0';
    }
    putchar('\n');
}

/* Copies the explanation with "{}" replaced by the value that the option has without being given.
 */
static void expand_default(const struct nano_cli_option *option, const void *base, char *out,
                           size_t out_bytes)
{
    const char *mark = strstr(option->help, "{}");
    const void *target = (const char *)base + option->offset;
    char value[64] = "";
    if (option->parse == nano_cli_parse_int)
        snprintf(value, sizeof value, "%d", *(const int *)target);
    else if (option->parse == nano_cli_parse_float)
        snprintf(value, sizeof value, "%g", (double)*(const float *)target);
    else if (option->parse == nano_cli_parse_string)
        snprintf(value, sizeof value, "%s", *(const char *const *)target);
    if (mark)
        snprintf(out, out_bytes, "%.*s%s%s", (int)(mark - option->help), option->help, value,
                 mark + 2);
    else
        snprintf(out, out_bytes, "%s", option->help);
}

static void print_help(const struct nano_cli_command *command, const struct nano_cli_group *groups,
                       size_t num_groups)
{
    printf("Usage: nanovllm %s %s\n\n", command->name, command->usage);
    print_wrapped(command->summary, 0, 0);
    if (command->details) {
        putchar('\n');
        print_wrapped(command->details, 0, 0);
    }
    for (size_t g = 0; g < num_groups; g++) {
        printf("\n%s:\n", groups[g].title);
        for (size_t i = 0; i < groups[g].num_options; i++) {
            char help[512];
            expand_default(&groups[g].options[i], groups[g].base, help, sizeof help);
            size_t column = print_names(&groups[g].options[i], groups, num_groups);
            if (column + 2 > HELP_COLUMN) {
                putchar('\n');
                column = 0;
            }
            printf("%*s", (int)(HELP_COLUMN - column), "");
            print_wrapped(help, HELP_COLUMN, HELP_COLUMN);
        }
    }
}

/* The option at argv[*index] with its value, which may be the next argument. Returns as
 * nano_cli_parse. */
static int parse_one(const struct nano_cli_command *command, const struct nano_cli_group *groups,
                     size_t num_groups, int argc, char **argv, int *index)
{
    const char *arg = argv[*index], *value = NULL;
    bool is_long = arg[1] == '-';
    size_t name_bytes = is_long ? strcspn(arg, "=") : 2;
    void *base = NULL;
    const struct nano_cli_option *option =
        find_option(groups, num_groups, arg, strlen(arg), &base); /* "-sys" is not "-s ys" */
    if (option)
        name_bytes = strlen(arg);
    else
        option = find_option(groups, num_groups, arg, name_bytes, &base);
    if (!option)
        return unknown_option(command, groups, num_groups, arg);
    if (arg[name_bytes]) {
        value = arg + name_bytes + (is_long ? 1 : 0);
        if (!option->metavar)
            return nano_cli_usage_error(command, "%.*s: takes no value", (int)name_bytes, arg);
    } else if (option->metavar) {
        if (*index + 1 >= argc)
            return nano_cli_usage_error(command, "%s: expected %s after it", arg, option->metavar);
        value = argv[++*index];
    }
    struct nano_error err = {0};
    if (option->parse(option, value, (char *)base + option->offset, &err) != NANO_OK)
        return nano_cli_usage_error(command, "%.*s: %s", (int)name_bytes, arg, err.message);
    return -1;
}

int nano_cli_parse(const struct nano_cli_command *command, const struct nano_cli_group *groups,
                   size_t num_groups, struct nano_cli_strings *positional, int argc, char **argv)
{
    bool options = true; /* until "--" */
    for (int i = 0; i < argc; i++) {
        if (options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            print_help(command, groups, num_groups);
            return 0;
        }
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            int result = parse_one(command, groups, num_groups, argc, argv, &i);
            if (result >= 0)
                return result;
        } else if (!positional) {
            return nano_cli_usage_error(command, "%s: unexpected argument", argv[i]);
        } else {
            struct nano_error err = {0};
            if (nano_cli_parse_strings(NULL, argv[i], positional, &err) != NANO_OK)
                return nano_cli_usage_error(command, "%s: %s", argv[i], err.message);
        }
    }
    return -1;
}
