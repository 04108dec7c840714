/* nanovllm: finds the command and hands over. */
#include <stdio.h>
#include <string.h>

#include "config.h"

#include "cli/cli_output.h"
#include "cli/commands.h"

static const struct nano_cli_command *const commands[] = {
    &nano_cmd_run,
    &nano_cmd_chat,
    &nano_cmd_embed,
#ifdef NANO_HAVE_SERVER
    &nano_cmd_serve,
#endif
    &nano_cmd_bench,
    &nano_cmd_tokenize,
    &nano_cmd_apply_template,
    &nano_cmd_info,
    &nano_cmd_perplexity,
    &nano_cmd_imatrix,
    &nano_cmd_demo,
    &nano_cmd_quantize,
};
#define NUM_COMMANDS (sizeof commands / sizeof *commands)

static int print_help(void)
{
    printf("Usage: nanovllm COMMAND [options]\n\n"
           "Runs large language models on CPUs.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        printf("  %-14s %s\n", commands[i]->name, commands[i]->summary);
    printf("\n"
           "nanovllm COMMAND --help lists its options; nanovllm --version prints the version.\n"
           "Without -m the built-in model is used:\n\n"
           "  nanovllm run -p \"Once upon a time\"\n"
           "  nanovllm chat\n"
           "  nanovllm demo\n");
    return 0;
}

static int unknown_command(const char *name)
{
    const char *names[NUM_COMMANDS];
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        names[i] = commands[i]->name;
    const char *nearest = nano_cli_nearest(name, names, NUM_COMMANDS);
    if (nearest)
        return nano_cli_usage_error(NULL, "%s: unknown command, did you mean %s?", name, nearest);
    return nano_cli_usage_error(NULL, "%s: unknown command", name);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        nano_cli_usage_error(NULL, "no command given");
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return nano_cli_finish(print_help());
    if (strcmp(name, "--version") == 0) {
        printf("nanovllm %s\n", nano_version());
        return nano_cli_finish(0);
    }
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        if (strcmp(name, commands[i]->name) == 0)
            return nano_cli_finish(commands[i]->run(commands[i], argc - 2, argv + 2));
    return unknown_command(name);
}
