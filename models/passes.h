/* Passes: what happens to a program between its architecture's build function and its first use.
 *
 *   build ─▶ group kv layers ─▶ fuse ─▶ hoist the gather ─▶ reuse dead inputs ─▶ check ─▶ live
 * ranges
 *
 * Each pass keeps every value that the program computes, bit by bit. nano_program_create runs them
 * all; tests run them one by one. */
#ifndef NANO_MODELS_PASSES_H
#define NANO_MODELS_PASSES_H

#include "models/program.h"

/* The architecture's own list of ops, checked and with live ranges, but otherwise as it was
 * written. */
enum nano_status nano_program_build(struct nano_program **out, const struct nano_weights *weights,
                                    struct nano_error *err);

/* Fills kv_groups, num_kv_slots and each kv layer's group and slot. */
enum nano_status nano_program_group_kv(struct nano_program *program, struct nano_error *err);

/* Neighbouring linears of one input become one with several segments (q, k, v; gate, up); a linear
 * whose output is only added to something accumulates there. */
enum nano_status nano_program_fuse(struct nano_program *program, struct nano_error *err);

/* Moves the gather to just after the last attention: everything later runs on output rows only. */
enum nano_status nano_program_hoist_gather(struct nano_program *program, struct nano_error *err);

/* Norms whose input is not needed again work in place. */
void nano_program_reuse_dead_inputs(struct nano_program *program);

/* The invariant that program.h states; NANO_ERR_INTERNAL names the op that breaks it. */
enum nano_status nano_program_check(const struct nano_program *program, struct nano_error *err);

/* Fills first_op and last_op of every buffer (both -1 when no op uses it). */
void nano_program_find_live_ranges(struct nano_program *program);

/* For the builder and the passes: zeroed room for one more; NULL without memory. */
struct nano_op *nano_program_add_op(struct nano_program *program);
struct nano_buffer *nano_program_add_buffer(struct nano_program *program);

/* True if both views name a common column of one buffer. */
bool nano_view_overlaps(struct nano_view a, struct nano_view b);

#endif
