/* The program's commands. */
#ifndef NANO_CLI_COMMANDS_H
#define NANO_CLI_COMMANDS_H

#include "cli/cli_options.h"

extern const struct nano_cli_command nano_cmd_run;
extern const struct nano_cli_command nano_cmd_chat;
extern const struct nano_cli_command nano_cmd_embed;
extern const struct nano_cli_command nano_cmd_serve; /* with NANO_HAVE_SERVER */
extern const struct nano_cli_command nano_cmd_bench;
extern const struct nano_cli_command nano_cmd_tokenize;
extern const struct nano_cli_command nano_cmd_apply_template;
extern const struct nano_cli_command nano_cmd_info;
extern const struct nano_cli_command nano_cmd_perplexity;
extern const struct nano_cli_command nano_cmd_imatrix;
extern const struct nano_cli_command nano_cmd_demo;
extern const struct nano_cli_command nano_cmd_quantize;

#endif
