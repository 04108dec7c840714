#include "cli/commands.h"
static int run(const struct nano_cli_command *command, int argc, char **argv)
{
    (void)command, (void)argc, (void)argv;
    return 1;
}
const struct nano_cli_command nano_cmd_demo = {"demo", "[options]", "Show what the engine does.", NULL, run};
