/* KV of an ONNX decoder: blocks that the engine names, and lanes that the graph reads and writes.
 *
 *   blocks   one KV block each: what is cached, shared and copied, as with every runner
 *   lanes    the tensors of past and present: [planes, rows, heads, columns, head_dim], a row for
 *            each sequence that is computed together
 *
 *            columns           row of 5 tokens   . . . 0 1 2 3 4    ends at the right, or, with
 *                              row of 8 tokens   0 1 2 3 4 5 6 7    GroupQueryAttention, begins at
 *                                                └─┴── masked        the left
 *
 * The blocks are the truth: every new column is copied to its block when a run is over. The lanes
 * of the sequences that decode are left as they are, so that the next step's past is this step's
 * present, without a copy. A row is known by its blocks: as long as a sequence has the same blocks
 * and nobody else wrote to them, the row holds what they hold. Anything else is gathered from the
 * blocks again: a sequence that joins, or came back, a prefix that others computed.
 *
 * A graph that makes present by appending to past needs both: there are two buffers, and they
 * change places. GroupQueryAttention appends in place, to a past that has room. */
#ifndef NANO_RUNNER_ONNX_KV_H
#define NANO_RUNNER_ONNX_KV_H

#include "format/onnx_decoder.h"
#include "runner/runner.h"

/* Columns of a group of rows in the lanes; they begin `offset` columns (of one row) into a buffer.
 */
struct nano_onnx_region {
    int buffer;
    int64_t offset;
    int num_rows, num_columns;
};

/* A row that is kept. */
struct nano_onnx_row {
    int length;         /* tokens */
    int32_t *blocks;    /* [max_entries] */
    uint64_t *versions; /* of them when the row was written */
};

struct nano_onnx_kv_cache {
    const struct nano_onnx_decoder *decoder;
    int block_size, num_blocks, max_entries, max_rows;
    bool in_place;            /* one buffer, rows begin at the left */
    int64_t lane_columns;     /* of one row that a buffer holds: rows times columns at most */
    unsigned char **blocks;   /* [num_kv] -> [num_blocks, planes, heads, block_size, head_dim] */
    unsigned char **lanes[2]; /* [num_kv] */
    int32_t *tokens;          /* [num_blocks, block_size]; of decoders without a past */
    uint64_t *versions;       /* [num_blocks] */
    uint64_t last_version;

    struct nano_onnx_region kept; /* num_rows 0: nothing is */
    struct nano_onnx_row *rows;   /* [max_rows] */
    struct nano_onnx_row *next;   /* [max_rows] while they are put in another order */
    uint64_t bytes;
};

/* Bytes that a block takes: its own, and its share of the lanes. */
uint64_t nano_onnx_kv_block_bytes(const struct nano_onnx_decoder *decoder, int block_size);

/* Bytes beside the blocks. */
uint64_t nano_onnx_kv_fixed_bytes(const struct nano_onnx_decoder *decoder,
                                  const struct nano_runner_config *config);

enum nano_status nano_onnx_kv_alloc(struct nano_onnx_kv_cache *kv,
                                    const struct nano_onnx_decoder *decoder,
                                    const struct nano_runner_config *config, int num_blocks,
                                    struct nano_error *err);
void nano_onnx_kv_free(struct nano_onnx_kv_cache *kv);

void nano_onnx_kv_copy_block(struct nano_onnx_kv_cache *kv, int32_t src, int32_t dst);

/* Where a tensor's region begins. */
void *nano_onnx_kv_lane(const struct nano_onnx_kv_cache *kv, int tensor,
                        const struct nano_onnx_region *region);

/* The kept row that holds the tokens before the sequence's first, or -1. */
int nano_onnx_kv_find_row(const struct nano_onnx_kv_cache *kv, const struct nano_batch_seq *seq);

/* Makes the kept rows those of `seqs`, each with its tokens so far as past, in the given order, and
 * with room for num_new more. found[i] is what nano_onnx_kv_find_row said of seqs[i].
 * The caller has seen to it that rows times columns fit. */
void nano_onnx_kv_keep(struct nano_onnx_kv_cache *kv, const struct nano_batch_seq *const *seqs,
                       const int *found, int num_seqs, int num_new);

/* The past of one sequence, gathered beside the kept rows, which go if there is no room for both.
 */
void nano_onnx_kv_gather(struct nano_onnx_kv_cache *kv, const struct nano_batch_seq *seq,
                         int first_position, int num_new, struct nano_onnx_region *past);

/* Where a run's present goes: num_new columns more than the past. */
struct nano_onnx_region nano_onnx_kv_present(const struct nano_onnx_kv_cache *kv,
                                             const struct nano_onnx_region *past, int num_new);

/* Copies positions [first, first + num_new) of a row of a present to the sequence's blocks. */
void nano_onnx_kv_store(struct nano_onnx_kv_cache *kv, const struct nano_onnx_region *present,
                        int row, const struct nano_batch_seq *seq, int first_position, int num_new);

/* After a run of the kept rows: its present is their past from now on. */
void nano_onnx_kv_advance(struct nano_onnx_kv_cache *kv, const struct nano_onnx_region *present,
                          const struct nano_batch_seq *const *seqs, int num_new);

/* Forgets the kept rows. */
void nano_onnx_kv_drop(struct nano_onnx_kv_cache *kv);

#endif
