/* Output: messages, colours, human numbers, interrupts, whole files in. */
#ifndef NANO_CLI_OUTPUT_H
#define NANO_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

/* Exit status after Ctrl-C, as shells count it. */
#define NANO_CLI_INTERRUPTED 130

/* Prints "nanovllm: <message>" as one line on stderr; returns the exit status 1. */
int nano_cli_fail(const struct nano_error *err);

/* Flushes stdout; `status` if all of it was written, else a message and 1 (quietly when the reader
 * has gone). */
int nano_cli_finish(int status);

/* Escape sequences, all "" unless the stream is a terminal that takes colours. */
struct nano_cli_style {
    const char *bold, *dim, *reset;
    const char *color[6];
};
void nano_cli_style_init(struct nano_cli_style *style, FILE *file);

/* "12.3 MiB" */
struct nano_cli_text {
    char text[24];
};
struct nano_cli_text nano_cli_bytes(uint64_t num_bytes);
struct nano_cli_text nano_cli_count(uint64_t count); /* "1.24 B", "630 M", "260 K" */

/* From the call on Ctrl-C and SIGTERM only set a flag; a second one ends the program. */
void nano_cli_catch_interrupt(void);
bool nano_cli_interrupted(void);

/* The same for a program that goes on after Ctrl-C: every one sets the flag until it is cleared.
 * SIGTERM's stays. Of the calls that wait only select, poll and the like are interrupted. */
void nano_cli_hold_interrupts(void);
void nano_cli_clear_interrupt(void);

/* Reads a file, "-" or NULL for stdin, to its end; zero-terminated, released with nano_mem_free. */
enum nano_status nano_cli_read(const char *path, char **text, size_t *num_bytes,
                               struct nano_error *err);

/* Sends the library's log to stderr: everything with `verbose`, else warnings. */
void nano_cli_log_to_stderr(bool verbose);

#endif
