/* Blocks and lanes. */
#include "runner/onnx/onnx_kv.h"

#include <string.h>

#include "base/memory.h"

/* Columns that a past with room has beyond what is needed, so that rows are not laid out anew in
 * every step. */
#define SPARE_COLUMNS 64

/* ---- memory ---- */

static bool appends_in_place(const struct nano_onnx_decoder *decoder)
{
    return decoder->graph->has_group_query_attention;
}

uint64_t nano_onnx_kv_block_bytes(const struct nano_onnx_decoder *decoder, int block_size)
{
    const uint64_t token_bytes =
        decoder->num_kv ? (uint64_t)decoder->token_bytes * (appends_in_place(decoder) ? 2 : 3)
                        : sizeof(int32_t);
    return (uint64_t)block_size * token_bytes + sizeof(uint64_t);
}

static int max_entries(const struct nano_runner_config *config)
{
    return (config->max_model_len + config->block_size - 1) / config->block_size;
}

uint64_t nano_onnx_kv_fixed_bytes(const struct nano_onnx_decoder *decoder,
                                  const struct nano_runner_config *config)
{
    const uint64_t row_bytes = sizeof(struct nano_onnx_row) +
                               (uint64_t)max_entries(config) * (sizeof(int32_t) + sizeof(uint64_t));
    return decoder->num_kv ? 2 * (uint64_t)config->max_num_seqs * row_bytes : 0;
}

static void *take(struct nano_onnx_kv_cache *kv, uint64_t num_bytes)
{
    kv->bytes += num_bytes;
    return num_bytes <= SIZE_MAX - NANO_CACHE_LINE ? nano_mem_alloc_aligned((size_t)num_bytes)
                                                   : NULL;
}

static bool alloc_rows(struct nano_onnx_kv_cache *kv, struct nano_onnx_row **out)
{
    struct nano_onnx_row *rows = *out = nano_mem_calloc((size_t)kv->max_rows, sizeof *rows);
    for (int i = 0; rows && i < kv->max_rows; i++) {
        rows[i].blocks = nano_mem_alloc((size_t)kv->max_entries, sizeof *rows[i].blocks);
        rows[i].versions = nano_mem_alloc((size_t)kv->max_entries, sizeof *rows[i].versions);
        if (!rows[i].blocks || !rows[i].versions)
            return false;
    }
    return rows;
}

static void free_rows(struct nano_onnx_row *rows, int count)
{
    for (int i = 0; rows && i < count; i++) {
        nano_mem_free(rows[i].blocks);
        nano_mem_free(rows[i].versions);
    }
    nano_mem_free(rows);
}

static uint64_t lane_bytes(const struct nano_onnx_kv_cache *kv, int tensor)
{
    return (uint64_t)kv->lane_columns * (uint64_t)kv->decoder->kv[tensor].token_bytes;
}

enum nano_status nano_onnx_kv_alloc(struct nano_onnx_kv_cache *kv,
                                    const struct nano_onnx_decoder *decoder,
                                    const struct nano_runner_config *config, int num_blocks,
                                    struct nano_error *err)
{
    const size_t num_kv = (size_t)decoder->num_kv;
    *kv = (struct nano_onnx_kv_cache){.decoder = decoder,
                                      .block_size = config->block_size,
                                      .num_blocks = num_blocks,
                                      .max_entries = max_entries(config),
                                      .max_rows = config->max_num_seqs,
                                      .in_place = appends_in_place(decoder),
                                      .lane_columns = (int64_t)num_blocks * config->block_size};
    bool ok = (kv->versions = nano_mem_calloc((size_t)num_blocks, sizeof *kv->versions)) != NULL;
    if (num_kv == 0) {
        kv->tokens = nano_mem_calloc((size_t)kv->lane_columns, sizeof *kv->tokens);
        kv->bytes = (uint64_t)kv->lane_columns * sizeof *kv->tokens;
        ok = ok && kv->tokens;
    } else {
        kv->blocks = nano_mem_calloc(num_kv, sizeof *kv->blocks);
        kv->lanes[0] = nano_mem_calloc(num_kv, sizeof *kv->lanes[0]);
        kv->lanes[1] = nano_mem_calloc(num_kv, sizeof *kv->lanes[1]);
        ok = ok && kv->blocks && kv->lanes[0] && kv->lanes[1] && alloc_rows(kv, &kv->rows) &&
             alloc_rows(kv, &kv->next);
        for (int k = 0; ok && k < decoder->num_kv; k++) {
            ok = (kv->blocks[k] = take(kv, lane_bytes(kv, k))) &&
                 (kv->lanes[0][k] = take(kv, lane_bytes(kv, k))) &&
                 (kv->in_place || (kv->lanes[1][k] = take(kv, lane_bytes(kv, k))));
        }
    }
    if (ok)
        return NANO_OK;
    nano_onnx_kv_free(kv);
    return nano_error_no_memory(err, "the KV cache",
                                (size_t)nano_onnx_kv_block_bytes(decoder, config->block_size) *
                                    (size_t)num_blocks);
}

void nano_onnx_kv_free(struct nano_onnx_kv_cache *kv)
{
    for (int k = 0; kv->decoder && k < kv->decoder->num_kv; k++) {
        const size_t num_bytes = (size_t)lane_bytes(kv, k);
        if (kv->blocks && kv->blocks[k])
            nano_mem_free_aligned(kv->blocks[k], num_bytes);
        for (int b = 0; b < 2; b++)
            if (kv->lanes[b] && kv->lanes[b][k])
                nano_mem_free_aligned(kv->lanes[b][k], num_bytes);
    }
    free_rows(kv->rows, kv->max_rows);
    free_rows(kv->next, kv->max_rows);
    nano_mem_free(kv->blocks);
    nano_mem_free(kv->lanes[0]);
    nano_mem_free(kv->lanes[1]);
    nano_mem_free(kv->tokens);
    nano_mem_free(kv->versions);
    *kv = (struct nano_onnx_kv_cache){0};
}

/* ---- addresses ---- */

/* Bytes of a head's column. */
static size_t column_bytes(const struct nano_onnx_kv *t)
{
    return (size_t)t->head_dim * (size_t)t->element_bytes;
}

/* The first column of a head in a block; `lane` counts planes and heads as one. */
static unsigned char *block_at(const struct nano_onnx_kv_cache *kv, int tensor, int32_t block,
                               int64_t lane)
{
    const struct nano_onnx_kv *t = &kv->decoder->kv[tensor];
    const size_t lanes = (size_t)(t->num_planes * t->num_heads);
    return kv->blocks[tensor] +
           ((size_t)block * lanes + (size_t)lane) * (size_t)kv->block_size * column_bytes(t);
}

void *nano_onnx_kv_lane(const struct nano_onnx_kv_cache *kv, int tensor,
                        const struct nano_onnx_region *region)
{
    return kv->lanes[region->buffer][tensor] +
           (size_t)region->offset * (size_t)kv->decoder->kv[tensor].token_bytes;
}

/* Column 0 of a row's head. */
static unsigned char *lane_at(const struct nano_onnx_kv_cache *kv, int tensor,
                              const struct nano_onnx_region *region, int row, int64_t lane)
{
    const struct nano_onnx_kv *t = &kv->decoder->kv[tensor];
    const int64_t plane = lane / t->num_heads, head = lane % t->num_heads;
    const int64_t index = (plane * region->num_rows + row) * t->num_heads + head;
    return (unsigned char *)nano_onnx_kv_lane(kv, tensor, region) +
           (size_t)index * (size_t)region->num_columns * column_bytes(t);
}

/* The column of a row's first token. */
static int first_column(const struct nano_onnx_kv_cache *kv, const struct nano_onnx_region *region,
                        int length)
{
    return kv->in_place ? 0 : region->num_columns - length;
}

/* ---- copies ---- */

void nano_onnx_kv_copy_block(struct nano_onnx_kv_cache *kv, int32_t src, int32_t dst)
{
    for (int k = 0; k < kv->decoder->num_kv; k++) {
        const size_t num_bytes = (size_t)kv->decoder->kv[k].token_bytes * (size_t)kv->block_size;
        memcpy(kv->blocks[k] + (size_t)dst * num_bytes, kv->blocks[k] + (size_t)src * num_bytes,
               num_bytes);
    }
    if (kv->tokens)
        memcpy(kv->tokens + (size_t)dst * (size_t)kv->block_size,
               kv->tokens + (size_t)src * (size_t)kv->block_size,
               (size_t)kv->block_size * sizeof *kv->tokens);
    kv->versions[dst] = ++kv->last_version;
}

/* Columns before a row's first are masked, which leaves 0 times what is in them: it must be finite.
 */
static void fill_row(const struct nano_onnx_kv_cache *kv, const struct nano_onnx_region *region,
                     int row, const int32_t *table, int length)
{
    for (int k = 0; k < kv->decoder->num_kv; k++) {
        const struct nano_onnx_kv *t = &kv->decoder->kv[k];
        const size_t size = column_bytes(t);
        const int first = first_column(kv, region, length);
        for (int64_t lane = 0; lane < t->num_planes * t->num_heads; lane++) {
            unsigned char *out = lane_at(kv, k, region, row, lane);
            memset(out, 0, (size_t)first * size);
            for (int p = 0; p < length; p += kv->block_size) {
                const int count = length - p < kv->block_size ? length - p : kv->block_size;
                memcpy(out + (size_t)(first + p) * size,
                       block_at(kv, k, table[p / kv->block_size], lane), (size_t)count * size);
            }
        }
    }
}

/* The same from a kept row, which may be longer. */
static void move_row(const struct nano_onnx_kv_cache *kv, const struct nano_onnx_region *to,
                     int to_row, const struct nano_onnx_region *from, int from_row, int length)
{
    const int from_first = first_column(kv, from, kv->rows[from_row].length);
    const int to_first = first_column(kv, to, length);
    for (int k = 0; k < kv->decoder->num_kv; k++) {
        const struct nano_onnx_kv *t = &kv->decoder->kv[k];
        const size_t size = column_bytes(t);
        for (int64_t lane = 0; lane < t->num_planes * t->num_heads; lane++) {
            unsigned char *out = lane_at(kv, k, to, to_row, lane);
            memset(out, 0, (size_t)to_first * size);
            memcpy(out + (size_t)to_first * size,
                   lane_at(kv, k, from, from_row, lane) + (size_t)from_first * size,
                   (size_t)length * size);
        }
    }
}

void nano_onnx_kv_store(struct nano_onnx_kv_cache *kv, const struct nano_onnx_region *present,
                        int row, const struct nano_batch_seq *seq, int first_position, int num_new)
{
    const int block_size = kv->block_size, end = first_position + num_new;
    const int first = kv->in_place ? 0 : present->num_columns - end;
    for (int p = first_position, count; p < end; p += count) {
        const int32_t block = seq->block_table[p / block_size];
        const int slot = p % block_size;
        count = end - p < block_size - slot ? end - p : block_size - slot;
        for (int k = 0; k < kv->decoder->num_kv; k++) {
            const struct nano_onnx_kv *t = &kv->decoder->kv[k];
            const size_t size = column_bytes(t);
            for (int64_t lane = 0; lane < t->num_planes * t->num_heads; lane++)
                memcpy(block_at(kv, k, block, lane) + (size_t)slot * size,
                       lane_at(kv, k, present, row, lane) + (size_t)(first + p) * size,
                       (size_t)count * size);
        }
        kv->versions[block] = ++kv->last_version;
    }
}

/* ---- kept rows ---- */

int nano_onnx_kv_find_row(const struct nano_onnx_kv_cache *kv, const struct nano_batch_seq *seq)
{
    const int length = seq->first_position;
    const int num_entries = (length + kv->block_size - 1) / kv->block_size;
    for (int r = 0; length > 0 && r < kv->kept.num_rows; r++) {
        const struct nano_onnx_row *row = &kv->rows[r];
        int e = num_entries;
        if (row->length < length)
            continue;
        while (e > 0 && row->blocks[e - 1] == seq->block_table[e - 1] &&
               row->versions[e - 1] == kv->versions[row->blocks[e - 1]])
            e--;
        if (e == 0)
            return r;
    }
    return -1;
}

void nano_onnx_kv_drop(struct nano_onnx_kv_cache *kv)
{
    kv->kept.num_rows = 0;
}

/* What a row of a sequence's first `length` tokens holds. */
static void describe_row(const struct nano_onnx_kv_cache *kv, struct nano_onnx_row *row,
                         const struct nano_batch_seq *seq, int length)
{
    row->length = length;
    for (int e = 0; e * kv->block_size < length; e++) {
        row->blocks[e] = seq->block_table[e];
        row->versions[e] = kv->versions[row->blocks[e]];
    }
}

/* Whether the kept rows are the sequences' past as they are. */
static bool are_kept(const struct nano_onnx_kv_cache *kv, const struct nano_batch_seq *const *seqs,
                     const int *found, int num_seqs, int num_columns, int num_new)
{
    if (kv->kept.num_rows != num_seqs)
        return false;
    for (int i = 0; i < num_seqs; i++)
        if (found[i] != i || (!kv->in_place && kv->rows[i].length != seqs[i]->first_position))
            return false;
    return kv->in_place ? num_columns + num_new <= kv->kept.num_columns
                        : num_columns == kv->kept.num_columns;
}

void nano_onnx_kv_keep(struct nano_onnx_kv_cache *kv, const struct nano_batch_seq *const *seqs,
                       const int *found, int num_seqs, int num_new)
{
    int num_columns = 0;
    for (int i = 0; i < num_seqs; i++)
        if (seqs[i]->first_position > num_columns)
            num_columns = seqs[i]->first_position;
    if (are_kept(kv, seqs, found, num_seqs, num_columns, num_new)) {
        for (int i = 0; i < num_seqs; i++)
            kv->rows[i].length = seqs[i]->first_position;
        return;
    }
    struct nano_onnx_region to = {.num_rows = num_seqs, .num_columns = num_columns};
    if (kv->in_place) {
        const int64_t most = kv->lane_columns / num_seqs;
        const int64_t wanted = (int64_t)num_columns + num_new + SPARE_COLUMNS;
        to.num_columns = (int)(wanted < most ? wanted : most);
    } else {
        to.buffer = kv->kept.num_rows > 0 ? !kv->kept.buffer : 0;
    }
    for (int i = 0; i < num_seqs; i++) {
        if (found[i] >= 0 && !kv->in_place)
            move_row(kv, &to, i, &kv->kept, found[i], seqs[i]->first_position);
        else
            fill_row(kv, &to, i, seqs[i]->block_table, seqs[i]->first_position);
    }
    for (int i = 0; i < num_seqs; i++)
        describe_row(kv, &kv->next[i], seqs[i], seqs[i]->first_position);
    struct nano_onnx_row *rows = kv->rows;
    kv->rows = kv->next;
    kv->next = rows;
    kv->kept = to;
}

void nano_onnx_kv_advance(struct nano_onnx_kv_cache *kv, const struct nano_onnx_region *present,
                          const struct nano_batch_seq *const *seqs, int num_new)
{
    kv->kept = *present;
    for (int i = 0; i < present->num_rows; i++) {
        const int begin = seqs[i]->first_position, end = begin + num_new;
        struct nano_onnx_row *row = &kv->rows[i];
        row->length = end;
        for (int e = begin / kv->block_size; e * kv->block_size < end; e++) {
            row->blocks[e] = seqs[i]->block_table[e];
            row->versions[e] = kv->versions[row->blocks[e]];
        }
    }
}

/* ---- one sequence beside them ---- */

void nano_onnx_kv_gather(struct nano_onnx_kv_cache *kv, const struct nano_batch_seq *seq,
                         int first_position, int num_new, struct nano_onnx_region *past)
{
    const int64_t kept_columns = (int64_t)kv->kept.num_rows * kv->kept.num_columns;
    const int num_columns = kv->in_place ? first_position + num_new : first_position;
    if (kept_columns + num_columns > kv->lane_columns)
        nano_onnx_kv_drop(kv);
    *past = (struct nano_onnx_region){.num_rows = 1, .num_columns = num_columns};
    if (kv->kept.num_rows > 0) {
        past->buffer = kv->kept.buffer;
        past->offset = kept_columns;
    }
    fill_row(kv, past, 0, seq->block_table, first_position);
}

struct nano_onnx_region nano_onnx_kv_present(const struct nano_onnx_kv_cache *kv,
                                             const struct nano_onnx_region *past, int num_new)
{
    struct nano_onnx_region present = *past;
    if (!kv->in_place) {
        present.buffer = !past->buffer;
        present.offset = 0;
        present.num_columns += num_new;
    }
    return present;
}
