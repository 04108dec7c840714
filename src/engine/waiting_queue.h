/* Waiting queue: sequences by (priority, arrival, index), first one on top.
 *
 * A pairing heap (Fredman, Sedgewick, Sleator, Tarjan, 1986) through pointers in the sequences: no
 * memory of its own, insertion in O(1), removal of any element in amortised O(log n). */
#ifndef NANO_ENGINE_WAITING_QUEUE_H
#define NANO_ENGINE_WAITING_QUEUE_H

#include "engine/sequence.h"

struct nano_waiting_queue {
    struct nano_sequence *first; /* NULL when empty */
    int num_sequences;
};

/* True if a is served before b. */
bool nano_sequence_before(const struct nano_sequence *a, const struct nano_sequence *b);

void nano_waiting_queue_push(struct nano_waiting_queue *queue, struct nano_sequence *sequence);

/* Removes a sequence that is in the queue. */
void nano_waiting_queue_remove(struct nano_waiting_queue *queue, struct nano_sequence *sequence);

#endif
