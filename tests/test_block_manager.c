/* Block manager: directed cases, and random operations against a model that is obviously right. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/block_manager.h"

#define BLOCK_SIZE 4
#define NUM_STATES 5

static void make(struct nano_block_manager *m, int num_blocks)
{
    struct nano_error err;
    cr_assert_eq(nano_block_manager_init(m, num_blocks, BLOCK_SIZE, NUM_STATES, &err), NANO_OK);
}

Test(block_manager, hands_out_every_block_once)
{
    struct nano_block_manager m;
    make(&m, 5);
    bool seen[5] = {false};
    for (int i = 0; i < 5; i++) {
        int32_t block = nano_block_allocate(&m);
        cr_assert(block >= 0 && block < 5 && !seen[block]);
        seen[block] = true;
    }
    cr_assert_eq(nano_block_allocate(&m), -1);
    cr_assert_eq(m.max_used, 5);
    nano_block_release(&m, 3);
    cr_assert_eq(nano_block_allocate(&m), 3);
    cr_assert(nano_block_manager_check(&m));
    nano_block_manager_deinit(&m);
}

Test(block_manager, content_is_found_until_the_block_is_reused)
{
    struct nano_block_manager m;
    make(&m, 3);
    const int32_t a[BLOCK_SIZE] = {1, 2, 3, 4}, b[BLOCK_SIZE] = {5, 6, 7, 8};
    uint64_t hash_a = nano_block_hash(9, a, BLOCK_SIZE),
             hash_b = nano_block_hash(hash_a, b, BLOCK_SIZE);
    int32_t first = nano_block_allocate(&m), second = nano_block_allocate(&m);
    nano_block_publish(&m, first, 0, hash_a, 9, a);
    nano_block_publish(&m, second, 0, hash_b, hash_a, b);
    cr_assert_eq(nano_block_find(&m, 0, hash_a, 9, a), first);
    cr_assert_eq(nano_block_find(&m, 0, hash_b, hash_a, b), second);
    cr_assert_eq(nano_block_find(&m, 0, hash_a, 8, a), -1, "another chain must not be found");
    cr_assert_eq(nano_block_find(&m, 0, hash_a, 9, b), -1,
                 "equal hashes of other tokens must not be found");
    nano_block_release(&m, second);
    nano_block_release(&m, first);
    cr_assert_eq(m.num_free_cached, 2);
    cr_assert_eq(nano_block_find(&m, 0, hash_b, hash_a, b), second, "free blocks are found too");
    nano_block_acquire(&m, first);
    nano_block_acquire(&m, first);
    cr_assert_eq(m.num_shared, 1);
    cr_assert_neq(nano_block_allocate(&m), second, "a block without content goes first");
    cr_assert_eq(nano_block_allocate(&m), second);
    cr_assert_eq(nano_block_find(&m, 0, hash_b, hash_a, b), -1);
    cr_assert_eq(nano_block_allocate(&m), -1);
    cr_assert(nano_block_manager_check(&m));
    nano_block_manager_forget(&m);
    cr_assert_eq(nano_block_find(&m, 0, hash_a, 9, a), -1);
    cr_assert(nano_block_manager_check(&m));
    nano_block_manager_deinit(&m);
}

Test(block_manager, least_recently_used_content_goes_first)
{
    struct nano_block_manager m;
    make(&m, 4);
    uint64_t hash[4];
    for (int32_t i = 0; i < 4; i++) {
        int32_t tokens[BLOCK_SIZE] = {i, i, i, i};
        int32_t block = nano_block_allocate(&m);
        hash[i] = nano_block_hash(0, tokens, BLOCK_SIZE);
        nano_block_publish(&m, block, 0, hash[i], 0, tokens);
    }
    const int32_t order[4] = {2, 0, 3, 1};
    for (int i = 0; i < 4; i++)
        nano_block_release(&m, order[i]);
    cr_assert_eq(m.num_free_cached, 4);
    nano_block_acquire(&m, 2); /* a hit makes it the most recent */
    nano_block_release(&m, 2);
    nano_block_acquire(&m, 3); /* and this one nobody will look for */
    nano_block_discard(&m, 3);
    const int32_t expected[4] = {3, 0, 1, 2};
    for (int i = 0; i < 4; i++)
        cr_assert_eq(nano_block_allocate(&m), expected[i]);
    nano_block_manager_deinit(&m);
}

Test(block_manager, groups_do_not_find_each_others_content)
{
    struct nano_block_manager m;
    make(&m, 4);
    const int32_t tokens[BLOCK_SIZE] = {1, 2, 3, 4};
    uint64_t hash = nano_block_hash(9, tokens, BLOCK_SIZE);
    int32_t first = nano_block_allocate(&m), second = nano_block_allocate(&m);
    nano_block_publish(&m, first, 0, hash, 9, tokens);
    cr_assert_eq(nano_block_find(&m, 1, hash, 9, tokens), -1);
    nano_block_publish(&m, second, 1, hash, 9, tokens);
    cr_assert_eq(nano_block_find(&m, 0, hash, 9, tokens), first);
    cr_assert_eq(nano_block_find(&m, 1, hash, 9, tokens), second);
    cr_assert(nano_block_manager_check(&m));
    nano_block_manager_deinit(&m);
}

Test(block_manager, kept_states_go_with_their_block_or_when_slots_run_out)
{
    struct nano_block_manager m;
    make(&m, 4);
    for (int32_t i = 0; i < 4; i++) {
        const int32_t tokens[BLOCK_SIZE] = {i, i, i, i};
        int32_t block = nano_block_allocate(&m);
        nano_block_publish(&m, block, 0, nano_block_hash(0, tokens, BLOCK_SIZE), 0, tokens);
        cr_assert_geq(nano_block_keep_state(&m, block), 0);
    }
    cr_assert_eq(m.states.num_free, NUM_STATES - 4);
    nano_state_slots_touch(&m.states, m.blocks[0].state);
    int32_t live[NUM_STATES];
    for (int i = 0; i < 3; i++)
        live[i] = nano_block_take_state(&m);
    cr_assert(m.blocks[1].state < 0 && m.blocks[2].state < 0, "the oldest ones make room");
    cr_assert(m.blocks[0].state >= 0 && m.blocks[3].state >= 0);
    cr_assert(nano_block_manager_check(&m));
    nano_block_release(&m, 3);
    cr_assert_eq(nano_block_allocate(&m), 3);
    cr_assert_lt(m.blocks[3].state, 0, "its content is gone, and the state with it");
    live[3] = nano_block_take_state(&m);
    live[4] = nano_block_take_state(&m);
    cr_assert_lt(m.blocks[0].state, 0);
    cr_assert_eq(nano_block_take_state(&m), -1);
    cr_assert_eq(nano_block_keep_state(&m, 0), -1);
    for (int i = 0; i < NUM_STATES; i++)
        for (int k = 0; k < i; k++)
            cr_assert(live[i] >= 0 && live[i] != live[k]);
    for (int i = 0; i < NUM_STATES; i++)
        nano_state_slots_release(&m.states, live[i]);
    cr_assert_geq(nano_block_keep_state(&m, 0), 0);
    nano_block_manager_forget(&m);
    cr_assert_eq(m.states.num_free, NUM_STATES);
    cr_assert(nano_block_manager_check(&m));
    nano_block_manager_deinit(&m);
}

/* Random operations: a model keeps references and contents in plain arrays. */
Test(block_manager, random_operations_keep_the_invariants)
{
    enum { NUM_BLOCKS = 17, NUM_STEPS = 20000 };
    srand(7);
    struct nano_block_manager m;
    make(&m, NUM_BLOCKS);
    int references[NUM_BLOCKS] = {0};
    int32_t content[NUM_BLOCKS]; /* -1: unknown */
    memset(content, 0xFF, sizeof content);
    int32_t live[NUM_STATES];
    int num_live = 0;
    for (int step = 0; step < NUM_STEPS; step++) {
        int32_t block = rand() % NUM_BLOCKS, value = rand() % 30;
        const int32_t tokens[BLOCK_SIZE] = {value, value + 1, value, value};
        uint64_t hash = nano_block_hash(0, tokens, BLOCK_SIZE);
        int32_t holder = -1;
        for (int i = 0; i < NUM_BLOCKS; i++)
            holder = content[i] == value ? i : holder;
        switch (rand() % 7) {
        case 0:
            block = nano_block_allocate(&m);
            if (block < 0) {
                for (int i = 0; i < NUM_BLOCKS; i++)
                    cr_assert_gt(references[i], 0);
                break;
            }
            cr_assert_eq(references[block], 0);
            references[block] = 1;
            content[block] = -1;
            break;
        case 1:
            if (references[block] > 0) {
                if (value % 4 == 0)
                    nano_block_discard(&m, block);
                else
                    nano_block_release(&m, block);
                references[block]--;
            }
            break;
        case 2:
            cr_assert_eq(nano_block_find(&m, 0, hash, 0, tokens), holder);
            if (holder >= 0) {
                nano_block_acquire(&m, holder);
                references[holder]++;
            }
            break;
        case 3:
            if (references[block] > 0 && content[block] < 0) {
                nano_block_publish(&m, block, 0, hash, 0, tokens);
                if (holder < 0)
                    content[block] = value;
            }
            break;
        case 4:
            if (content[block] >= 0 && m.blocks[block].state < 0) {
                int32_t slot = nano_block_keep_state(&m, block);
                cr_assert_eq(slot, m.blocks[block].state);
                cr_assert_eq(slot < 0, num_live == NUM_STATES);
            }
            break;
        case 5: {
            int32_t slot = nano_block_take_state(&m);
            cr_assert_eq(slot < 0, num_live == NUM_STATES);
            if (slot >= 0)
                live[num_live++] = slot;
            break;
        }
        case 6:
            if (rand() % 2)
                nano_block_drop_state(&m, block);
            else if (num_live > 0)
                nano_state_slots_release(&m.states, live[--num_live]);
            break;
        }
        for (int i = 0; i < NUM_BLOCKS; i++)
            cr_assert_eq(m.blocks[i].ref_count, references[i]);
        cr_assert(nano_block_manager_check(&m), "step %d", step);
    }
    nano_block_manager_deinit(&m);
}

Test(block_manager, failed_allocation)
{
    struct nano_error err;
    for (uint64_t n = 1; n <= 4; n++) {
        struct nano_block_manager m;
        nano_mem_fail_after(n);
        cr_assert_eq(nano_block_manager_init(&m, 8, BLOCK_SIZE, NUM_STATES, &err),
                     NANO_ERR_NO_MEMORY);
        nano_mem_fail_after(0);
    }
}
