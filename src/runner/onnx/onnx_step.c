/* One run of the graph: what goes in, and the logits that come out. */
#include "base/os.h"
#include "runner/onnx/onnx_state.h"
#include "simd/half.h"

/* ---- inputs ---- */

static void put(void *array, int type, int64_t index, int64_t value)
{
    if (type == NANO_ONNX_INT64)
        ((int64_t *)array)[index] = value;
    else
        ((int32_t *)array)[index] = (int32_t)value;
}

static int type_of(const struct nano_onnx_runner *r, int input)
{
    return r->decoder.graph->inputs[input].type;
}

static enum nano_status feed(struct nano_onnx_runner *r, int input, void *data, int64_t rows,
                             int64_t columns, struct nano_error *err)
{
    const int64_t dims[2] = {rows, columns};
    return nano_onnx_session_input(&r->session, input, data, type_of(r, input), dims, 2, err);
}

/* Tokens [first, first + count) of a row, the rest is padding. */
static void put_tokens(struct nano_onnx_runner *r, const struct nano_onnx_step *step, int row,
                       int first, int count, int num_columns)
{
    const struct nano_batch_seq *seq = step->seqs[row];
    const int32_t *new_tokens = step->batch->tokens + seq->first_token;
    for (int c = 0; c < num_columns; c++) {
        const int position = first + c, i = position - seq->first_position;
        int32_t token = 0;
        if (c < count && i >= 0)
            token = new_tokens[i];
        else if (c < count)
            token = r->kv.tokens[(int64_t)seq->block_table[position / r->kv.block_size] *
                                     r->kv.block_size +
                                 position % r->kv.block_size];
        const int64_t index = (int64_t)row * num_columns + c;
        put(r->ids, type_of(r, r->decoder.input_ids), index, token);
        if (r->decoder.position_ids >= 0)
            put(r->positions, type_of(r, r->decoder.position_ids), index, c < count ? position : 0);
    }
}

/* The mask of a row: `count` columns that count from `first` on. */
static void put_mask(struct nano_onnx_runner *r, int row, int num_columns, int first, int count)
{
    if (r->decoder.attention_mask < 0)
        return;
    const int type = type_of(r, r->decoder.attention_mask);
    for (int c = 0; c < num_columns; c++)
        put(r->mask, type, (int64_t)row * num_columns + c, c >= first && c < first + count);
}

static enum nano_status feed_tokens(struct nano_onnx_runner *r, int num_seqs, int num_columns,
                                    int num_mask_columns, struct nano_error *err)
{
    enum nano_status status;
    const struct nano_onnx_decoder *d = &r->decoder;
    NANO_TRY(feed(r, d->input_ids, r->ids, num_seqs, num_columns, err));
    if (d->attention_mask >= 0)
        NANO_TRY(feed(r, d->attention_mask, r->mask, num_seqs, num_mask_columns, err));
    if (d->position_ids >= 0)
        NANO_TRY(feed(r, d->position_ids, r->positions, num_seqs, num_columns, err));
fail:
    return status;
}

/* ---- past and present ---- */

static int kv_dims(const struct nano_onnx_kv *t, const struct nano_onnx_region *region,
                   int64_t *dims)
{
    int n = 0;
    if (t->num_dims == 5)
        dims[n++] = t->num_planes;
    dims[n++] = region->num_rows;
    if (t->num_dims > 3)
        dims[n++] = t->num_heads;
    dims[n++] = region->num_columns;
    dims[n++] = t->head_dim;
    return n;
}

static enum nano_status feed_kv(struct nano_onnx_runner *r, const struct nano_onnx_region *past,
                                const struct nano_onnx_region *present, bool *use_cache,
                                struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const struct nano_onnx_decoder *d = &r->decoder;
    for (int k = 0; k < d->num_kv; k++) {
        const struct nano_onnx_kv *t = &d->kv[k];
        int64_t dims[NANO_ONNX_MAX_DIMS];
        int n = kv_dims(t, past, dims);
        NANO_TRY(nano_onnx_session_input(&r->session, t->input, nano_onnx_kv_lane(&r->kv, k, past),
                                         t->type, dims, n, err));
        n = kv_dims(t, present, dims);
        NANO_TRY(nano_onnx_session_output(
            &r->session, t->output, nano_onnx_kv_lane(&r->kv, k, present), t->type, dims, n, err));
    }
    if (d->use_cache_branch >= 0) {
        const int64_t one = 1;
        *use_cache = past->num_columns > 0;
        NANO_TRY(nano_onnx_session_input(&r->session, d->use_cache_branch, use_cache,
                                         NANO_ONNX_BOOL, &one, 1, err));
    }
fail:
    return status;
}

/* ---- logits ---- */

static enum nano_status bind_logits(struct nano_onnx_runner *r, int num_seqs, int num_columns,
                                    struct nano_error *err)
{
    const struct nano_onnx_value *value = &r->decoder.graph->outputs[r->decoder.logits];
    int64_t dims[3] = {num_seqs, r->decoder.last_logits_only ? 1 : num_columns,
                       r->decoder.vocab_size};
    if (value->num_dims == 2)
        dims[1] = dims[2];
    return nano_onnx_session_output(&r->session, r->decoder.logits, r->logits, value->type, dims,
                                    value->num_dims, err);
}

/* A row of logits as floats, which may be changed. */
static float *logits_row(struct nano_onnx_runner *r, int64_t index)
{
    const int64_t n = r->decoder.vocab_size;
    const int type = r->decoder.graph->outputs[r->decoder.logits].type;
    if (type == NANO_ONNX_FLOAT)
        return (float *)(void *)r->logits + index * n;
    const uint16_t *halves = (const uint16_t *)(const void *)r->logits + index * n;
    for (int64_t i = 0; i < n; i++) {
        r->row[i] =
            type == NANO_ONNX_FLOAT16 ? nano_f16_to_f32(halves[i]) : nano_bf16_to_f32(halves[i]);
    }
    return r->row;
}

static void hand_out(struct nano_onnx_runner *r, struct nano_batch *batch, int output,
                     int64_t index)
{
    struct nano_batch_output *out = &batch->outputs[output];
    float *logits = logits_row(r, index);
    if (out->greedy)
        out->token = (int32_t)r->kernels.argmax(logits, r->decoder.vocab_size);
    else
        batch->on_logits(batch->context, output, logits);
}

static int num_tokens_of(const struct nano_onnx_step *step, int i)
{
    return step->num_tokens > 0 ? step->num_tokens : step->seqs[i]->num_tokens;
}

/* What is wanted of the step's tokens; row i's first new token has logits i * num_columns + shift.
 */
static void hand_out_all(struct nano_onnx_runner *r, const struct nano_onnx_step *step,
                         int num_columns, bool whole)
{
    for (int i = 0; i < step->num_seqs; i++) {
        const int s = step->indices[i];
        const int begin = step->seqs[i]->first_token + step->first_token;
        const int shift = whole ? step->seqs[i]->first_position : 0;
        for (int o = r->first_output[s]; o < r->first_output[s + 1]; o++) {
            const int t = step->batch->outputs[o].row - begin;
            if (t >= 0 && t < num_tokens_of(step, i))
                hand_out(r, step->batch, o,
                         r->decoder.last_logits_only ? i : (int64_t)i * num_columns + shift + t);
        }
    }
}

/* ---- a step ---- */

void nano_onnx_count(struct nano_onnx_runner *r, enum nano_onnx_phase phase, uint64_t start_ns)
{
    r->profile[phase].total_ns += nano_os_clock_ns() - start_ns;
    r->profile[phase].count++;
}

/* As if every weight were read once, and multiplied with every row. */
static enum nano_status run_graph(struct nano_onnx_runner *r, int64_t num_rows,
                                  struct nano_error *err)
{
    const uint64_t start_ns = nano_os_clock_ns();
    const enum nano_status status = nano_onnx_session_run(&r->session, err);
    nano_onnx_count(r, NANO_ONNX_PHASE_GRAPH, start_ns);
    r->profile[NANO_ONNX_PHASE_GRAPH].weight_bytes += r->decoder.graph->weight_bytes;
    r->profile[NANO_ONNX_PHASE_GRAPH].num_macs += r->decoder.graph->num_params * (uint64_t)num_rows;
    return status;
}

static enum nano_status run_with_past(struct nano_onnx_runner *r, const struct nano_onnx_step *step,
                                      const struct nano_onnx_region *past,
                                      const struct nano_onnx_region *present,
                                      struct nano_error *err)
{
    enum nano_status status;
    const int num_new = step->num_tokens;
    bool use_cache;
    int longest = 0;
    for (int i = 0; i < step->num_seqs; i++) {
        const int length = step->seqs[i]->first_position + step->first_token;
        longest = length > longest ? length : longest;
    }
    const int num_columns = longest + num_new;
    for (int i = 0; i < step->num_seqs; i++) {
        const int length = step->seqs[i]->first_position + step->first_token;
        put_tokens(r, step, i, length, num_new, num_new);
        put_mask(r, i, num_columns, r->kv.in_place ? 0 : longest - length, length + num_new);
    }
    NANO_TRY(feed_tokens(r, step->num_seqs, num_new, num_columns, err));
    NANO_TRY(feed_kv(r, past, present, &use_cache, err));
    NANO_TRY(bind_logits(r, step->num_seqs, num_new, err));
    NANO_TRY(run_graph(r, (int64_t)step->num_seqs * num_new, err));
    const uint64_t start_ns = nano_os_clock_ns();
    for (int i = 0; i < step->num_seqs; i++)
        nano_onnx_kv_store(&r->kv, present, i, step->seqs[i],
                           step->seqs[i]->first_position + step->first_token, num_new);
    nano_onnx_count(r, NANO_ONNX_PHASE_STORE, start_ns);
    hand_out_all(r, step, num_new, false);
    return NANO_OK;
fail:
    nano_onnx_session_forget(&r->session);
    return status;
}

static enum nano_status run_whole(struct nano_onnx_runner *r, const struct nano_onnx_step *step,
                                  struct nano_error *err)
{
    enum nano_status status;
    int longest = 0;
    for (int i = 0; i < step->num_seqs; i++) {
        const int length = step->seqs[i]->first_position + num_tokens_of(step, i);
        longest = length > longest ? length : longest;
    }
    for (int i = 0; i < step->num_seqs; i++) {
        const int length = step->seqs[i]->first_position + num_tokens_of(step, i);
        put_tokens(r, step, i, 0, length, longest);
        put_mask(r, i, longest, 0, length);
    }
    NANO_TRY(feed_tokens(r, step->num_seqs, longest, longest, err));
    NANO_TRY(bind_logits(r, step->num_seqs, longest, err));
    NANO_TRY(run_graph(r, (int64_t)step->num_seqs * longest, err));
    hand_out_all(r, step, longest, true);
    return NANO_OK;
fail:
    nano_onnx_session_forget(&r->session);
    return status;
}

enum nano_status nano_onnx_run_step(struct nano_onnx_runner *r, const struct nano_onnx_step *step,
                                    const struct nano_onnx_region *past,
                                    const struct nano_onnx_region *present, struct nano_error *err)
{
    return past ? run_with_past(r, step, past, present, err) : run_whole(r, step, err);
}
