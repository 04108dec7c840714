/* Demo: three requests as one continuous batch, told step by step.
 *
 * The engine says how many tokens of each sequence a step computes and how many blocks are in use
 * and shared; who holds how many follows from the lengths, since a running sequence has blocks for
 * all its tokens. */
#ifndef NANO_CLI_DEMO_H
#define NANO_CLI_DEMO_H

#include <stdbool.h>
#include <stdio.h>

#include "cli/cli_output.h"
#include "nanovllm.h"

#define NANO_DEMO_SEQS 3
#define NANO_DEMO_NOTES 6
#define NANO_DEMO_MAX_BLOCKS 24 /* that fit beside the rest in 80 columns */

enum nano_demo_state {
    NANO_DEMO_ABSENT,
    NANO_DEMO_WAITING,
    NANO_DEMO_RUNNING,
    NANO_DEMO_PREEMPTED,
    NANO_DEMO_DONE
};

struct nano_demo_seq {
    char letter;
    const char *prompt;
    uint64_t request_id;
    enum nano_demo_state state;
    bool finishing; /* its last output came in the current step */
    int num_prompt_tokens;
    int num_tokens,
        num_before; /* prompt and output: now, and when the current step was scheduled */
    int num_held;   /* blocks */
    int num_scheduled, num_computed;
    bool is_prefill;
    int num_cached, num_preemptions;
    struct nano_error error;
    char *text;
    size_t text_bytes, text_capacity;
};

/* A line of the table: one step, or several equal ones of decode. */
struct nano_demo_row {
    uint64_t first_step, last_step;
    int num_steps;
    char cells[NANO_DEMO_SEQS][8];
    char bar[NANO_DEMO_MAX_BLOCKS + 1];
    int num_used;
    bool plain; /* only decode, nothing to say: may be joined with the next */
    char notes[NANO_DEMO_NOTES][64];
    int num_notes;
};

struct nano_demo {
    struct nano_demo_seq seqs[NANO_DEMO_SEQS];
    int block_size, num_blocks;
    struct nano_demo_row pending; /* num_steps 0: none */
    bool said_mixed, said_pieces;
    int max_shared, num_mixed_steps;
    struct nano_cli_style style;
};

/* Called between steps: what arrived, and a note of every length before the step. */
void nano_demo_before_step(struct nano_demo *demo);

/* The engine's on_step; user_data is the demo. */
void nano_demo_on_step(const struct nano_step *step, void *user_data);

void nano_demo_print_header(const struct nano_demo *demo);
void nano_demo_flush(struct nano_demo *demo); /* prints the pending line */

#endif
