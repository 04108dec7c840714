/* Waiting queue against a plain list. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "engine/waiting_queue.h"

Test(waiting_queue, random_pushes_and_removals_come_out_in_order)
{
    enum { NUM = 300, NUM_STEPS = 30000 };
    static struct nano_request_state requests[NUM];
    static struct nano_sequence sequences[NUM];
    bool queued[NUM] = {false};
    struct nano_waiting_queue queue = {0};
    srand(3);
    for (int i = 0; i < NUM; i++) {
        requests[i].priority = rand() % 4;
        requests[i].arrival = (uint64_t)(i / 2); /* pairs: siblings that differ in index only */
        sequences[i].request = &requests[i];
        sequences[i].index = i % 2;
        if (i % 2)
            requests[i].priority = requests[i - 1].priority;
    }
    for (int step = 0, count = 0; step < NUM_STEPS; step++) {
        int i = rand() % NUM;
        if (rand() % 5 == 0 && queue.first)
            i = (int)(queue.first - sequences);
        if (queued[i]) {
            nano_waiting_queue_remove(&queue, &sequences[i]);
            count--;
        } else {
            nano_waiting_queue_push(&queue, &sequences[i]);
            count++;
        }
        queued[i] = !queued[i];
        const struct nano_sequence *first = NULL;
        for (int k = 0; k < NUM; k++)
            if (queued[k] && (!first || nano_sequence_before(&sequences[k], first)))
                first = &sequences[k];
        cr_assert_eq(queue.first, first);
        cr_assert_eq(queue.num_sequences, count);
    }
}
