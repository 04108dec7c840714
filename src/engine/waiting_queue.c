/* Waiting queue. In a child list heap_prev of the first child is the parent. */
#include "engine/waiting_queue.h"

bool nano_sequence_before(const struct nano_sequence *a, const struct nano_sequence *b)
{
    if (a->request->priority != b->request->priority)
        return a->request->priority < b->request->priority;
    if (a->request->arrival != b->request->arrival)
        return a->request->arrival < b->request->arrival;
    return a->index < b->index;
}

/* Joins two heaps, either may be NULL; the roots' siblings are ignored. */
static struct nano_sequence *meld(struct nano_sequence *a, struct nano_sequence *b)
{
    if (!a || !b)
        return a ? a : b;
    if (nano_sequence_before(b, a)) {
        struct nano_sequence *swap = a;
        a = b;
        b = swap;
    }
    b->heap_next = a->heap_child;
    if (b->heap_next)
        b->heap_next->heap_prev = b;
    b->heap_prev = a;
    a->heap_child = b;
    return a;
}

/* Joins a list of siblings: pairs from left to right, then the pairs from right to left. */
static struct nano_sequence *meld_siblings(struct nano_sequence *first)
{
    struct nano_sequence *pairs = NULL;
    while (first) {
        struct nano_sequence *a = first, *b = a->heap_next;
        first = b ? b->heap_next : NULL;
        a->heap_next = a->heap_prev = NULL;
        if (b)
            b->heap_next = b->heap_prev = NULL;
        struct nano_sequence *pair = meld(a, b);
        pair->heap_next = pairs;
        pairs = pair;
    }
    struct nano_sequence *root = NULL;
    while (pairs) {
        struct nano_sequence *next = pairs->heap_next;
        pairs->heap_next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void nano_waiting_queue_push(struct nano_waiting_queue *queue, struct nano_sequence *sequence)
{
    sequence->heap_child = sequence->heap_next = sequence->heap_prev = NULL;
    queue->first = meld(queue->first, sequence);
    queue->num_sequences++;
}

void nano_waiting_queue_remove(struct nano_waiting_queue *queue, struct nano_sequence *sequence)
{
    struct nano_sequence *children = meld_siblings(sequence->heap_child);
    if (queue->first == sequence) {
        queue->first = children;
    } else {
        if (sequence->heap_prev->heap_child == sequence)
            sequence->heap_prev->heap_child = sequence->heap_next;
        else
            sequence->heap_prev->heap_next = sequence->heap_next;
        if (sequence->heap_next)
            sequence->heap_next->heap_prev = sequence->heap_prev;
        queue->first = meld(queue->first, children);
    }
    sequence->heap_child = sequence->heap_next = sequence->heap_prev = NULL;
    queue->num_sequences--;
}
