/* Demo: from what the engine reports to lines of the table. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "cli/demo.h"

#define SHARED '#'
#define FREE '.'

static void add_note(struct nano_demo_row *row, const char *fmt, ...) NANO_PRINTF(2, 3);

static void add_note(struct nano_demo_row *row, const char *fmt, ...)
{
    if (row->num_notes == NANO_DEMO_NOTES)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(row->notes[row->num_notes], sizeof row->notes[0], fmt, args);
    va_end(args);
    row->num_notes++;
}

void nano_demo_before_step(struct nano_demo *demo)
{
    for (int i = 0; i < NANO_DEMO_SEQS; i++) {
        demo->seqs[i].num_before = demo->seqs[i].num_tokens;
        demo->seqs[i].num_scheduled = 0;
    }
}

static int blocks_for(const struct nano_demo *demo, int num_tokens)
{
    return (num_tokens + demo->block_size - 1) / demo->block_size;
}

static void note_admission(struct nano_demo *demo, struct nano_demo_row *row,
                           struct nano_demo_seq *seq, const struct nano_step *step)
{
    int num_found = seq->num_computed / demo->block_size;
    if (seq->state == NANO_DEMO_PREEMPTED && num_found)
        add_note(row, "%c is back, %d of %d tokens cached", seq->letter, seq->num_computed,
                 seq->num_before);
    else if (seq->state == NANO_DEMO_PREEMPTED)
        add_note(row, "%c is back and is recomputed", seq->letter);
    else if (num_found && step->num_blocks_shared)
        add_note(row, "%c shares %d blocks of its prompt", seq->letter, num_found);
    else if (num_found)
        add_note(row, "%c finds %d blocks of its prompt", seq->letter, num_found);
    seq->state = NANO_DEMO_RUNNING;
}

/* A sequence that is preempted has no entry; it is the last one that has none. */
static void note_preemptions(struct nano_demo *demo, struct nano_demo_row *row, int num_preempted)
{
    for (int i = NANO_DEMO_SEQS - 1; i >= 0 && num_preempted > 0; i--) {
        struct nano_demo_seq *seq = &demo->seqs[i];
        if (seq->state != NANO_DEMO_RUNNING || seq->num_scheduled > 0)
            continue;
        seq->state = NANO_DEMO_PREEMPTED;
        seq->num_preemptions++;
        seq->num_held = 0;
        num_preempted--;
        add_note(row, "no free block: %c is preempted", seq->letter);
    }
}

/* One cell per block, grouped by owner; blocks with two owners stand first. */
static void draw_bar(const struct nano_demo *demo, const struct nano_step *step, char *bar)
{
    int num_held = 0, num = 0, num_sharers = 0;
    for (int i = 0; i < NANO_DEMO_SEQS; i++)
        num_held += demo->seqs[i].num_held;
    bool explained =
        num_held - step->num_blocks_used == step->num_blocks_shared; /* two owners each */
    if (explained)
        while (num < step->num_blocks_shared)
            bar[num++] = SHARED;
    for (int i = 0; i < NANO_DEMO_SEQS && explained; i++) {
        int own = demo->seqs[i].num_held;
        if (own >= step->num_blocks_shared && num_sharers < 2 &&
            own > 0) { /* A and B, by design of the prompts */
            own -= step->num_blocks_shared;
            num_sharers++;
        }
        for (int k = 0; k < own && num < step->num_blocks; k++)
            bar[num++] = demo->seqs[i].letter;
    }
    while (num < step->num_blocks_used)
        bar[num++] = SHARED;
    while (num < step->num_blocks)
        bar[num++] = FREE;
    bar[num] = '\0';
}

static void fill_cells(const struct nano_demo *demo, struct nano_demo_row *row)
{
    for (int i = 0; i < NANO_DEMO_SEQS; i++) {
        const struct nano_demo_seq *seq = &demo->seqs[i];
        const char *cell = "";
        if (seq->num_scheduled && seq->is_prefill)
            snprintf(row->cells[i], sizeof row->cells[i], "P%d", seq->num_scheduled);
        else if (seq->num_scheduled)
            cell = "d";
        else if (seq->state == NANO_DEMO_WAITING || seq->state == NANO_DEMO_PREEMPTED)
            cell = "wait";
        if (*cell)
            snprintf(row->cells[i], sizeof row->cells[i], "%s", cell);
    }
}

static void note_prefill(struct nano_demo *demo, struct nano_demo_row *row,
                         const struct nano_step *step)
{
    bool mixed = step->num_prefill_tokens > 0 && step->num_decode_tokens > 0;
    demo->num_mixed_steps += mixed;
    for (int i = 0; i < NANO_DEMO_SEQS && !demo->said_pieces; i++) {
        const struct nano_demo_seq *seq = &demo->seqs[i];
        if (seq->num_scheduled && seq->is_prefill &&
            seq->num_computed + seq->num_scheduled < seq->num_before) {
            add_note(row, "%c's prompt is computed in pieces", seq->letter);
            demo->said_pieces = true;
        }
    }
    if (mixed && !demo->said_mixed) {
        add_note(row, "prefill and decode in one step");
        demo->said_mixed = true;
    }
}

/* Joins lines of decode that differ in the pool only. */
static void emit_row(struct nano_demo *demo, const struct nano_demo_row *row)
{
    struct nano_demo_row *pending = &demo->pending;
    bool joins = pending->num_steps > 0 && pending->plain && row->plain &&
                 memcmp(pending->cells, row->cells, sizeof row->cells) == 0;
    if (joins) {
        pending->last_step = row->last_step;
        pending->num_steps++;
        memcpy(pending->bar, row->bar, sizeof row->bar);
        pending->num_used = row->num_used;
        return;
    }
    nano_demo_flush(demo);
    *pending = *row;
}

void nano_demo_on_step(const struct nano_step *step, void *user_data)
{
    struct nano_demo *demo = user_data;
    struct nano_demo_row row = {
        .first_step = step->step + 1, .last_step = step->step + 1, .num_steps = 1};
    for (int e = 0; e < step->num_entries; e++) {
        for (int i = 0; i < NANO_DEMO_SEQS; i++) {
            struct nano_demo_seq *seq = &demo->seqs[i];
            if (seq->request_id != step->entries[e].request_id || seq->state == NANO_DEMO_ABSENT)
                continue;
            seq->num_scheduled = step->entries[e].num_scheduled_tokens;
            seq->num_computed = step->entries[e].num_computed_tokens;
            seq->is_prefill = step->entries[e].is_prefill;
            seq->num_held = blocks_for(demo, seq->num_before);
            if (seq->state != NANO_DEMO_RUNNING)
                note_admission(demo, &row, seq, step);
        }
    }
    note_preemptions(demo, &row, step->num_preempted);
    note_prefill(demo, &row, step);
    draw_bar(demo, step, row.bar);
    fill_cells(demo, &row);
    row.num_used = step->num_blocks_used;
    if (step->num_blocks_shared > demo->max_shared)
        demo->max_shared = step->num_blocks_shared;
    for (int i = 0; i < NANO_DEMO_SEQS; i++) {
        struct nano_demo_seq *seq = &demo->seqs[i];
        if (!seq->finishing)
            continue;
        add_note(&row, "%c is finished, its blocks are free", seq->letter);
        seq->finishing = false;
        seq->state = NANO_DEMO_DONE;
        seq->num_held = 0;
    }
    row.plain = step->num_prefill_tokens == 0 && row.num_notes == 0;
    emit_row(demo, &row);
}

static void print_bar(const struct nano_demo *demo, const char *bar)
{
    const char *color = "";
    char previous = '\0';
    for (; *bar; bar++) {
        if (*bar != previous) {
            color = *bar == SHARED ? demo->style.color[3]
                    : *bar == FREE ? demo->style.dim
                                   : demo->style.color[*bar - 'A'];
            printf("%s%s", demo->style.reset, color);
        }
        putchar(*bar);
        previous = *bar;
    }
    fputs(demo->style.reset, stdout);
}

void nano_demo_print_header(const struct nano_demo *demo)
{
    printf("%s%6s  %-5s%-5s%-5s %-*s used%s\n", demo->style.bold, "step", "A", "B", "C",
           demo->num_blocks + 2, "KV blocks", demo->style.reset);
}

void nano_demo_flush(struct nano_demo *demo)
{
    struct nano_demo_row *row = &demo->pending;
    char steps[48];
    if (row->num_steps == 0)
        return;
    if (row->num_steps > 1)
        snprintf(steps, sizeof steps, "%" PRIu64 "-%" PRIu64, row->first_step, row->last_step);
    else
        snprintf(steps, sizeof steps, "%" PRIu64, row->first_step);
    printf("%6s  %-5s%-5s%-5s [", steps, row->cells[0], row->cells[1], row->cells[2]);
    print_bar(demo, row->bar);
    printf("] %3d", row->num_used);
    for (int i = 0; i < row->num_notes; i++) {
        if (i > 0)
            printf("\n%*s", 6 + 2 + 15 + 1 + demo->num_blocks + 2 + 4, "");
        printf("  %s", row->notes[i]);
    }
    putchar('\n');
    fflush(stdout);
    row->num_steps = 0;
}
