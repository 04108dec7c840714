/* Finds out what a graph can do that its shapes do not tell.
 *
 * Graphs that were traced with one new token leave out the mask among several; others ignore the
 * attention mask, or take a batch of one only. So a few tokens are computed one by one, which every
 * decoder can, and then in the other ways; what gives other logits, or fails, is not used. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "runner/onnx/onnx_state.h"

#define NUM_TOKENS NANO_ONNX_PROBE_TOKENS
#define SHORT 2 /* tokens of a second sequence */

/* Of the range of the logits. A graph of low precision rounds differently in another batch. */
#define TOLERANCE 1e-3f
#define LOW_PRECISION_TOLERANCE 3e-2f

struct probe {
    struct nano_onnx_runner *r;
    int32_t tokens[NUM_TOKENS];
    int32_t tables[2][NUM_TOKENS]; /* the same where only one sequence can run */
    int num_tables;
    float *expected, *got; /* [NUM_TOKENS, vocab_size] */
    float *out;            /* where a batch's outputs go, each at its row */
    int rows[2 * NUM_TOKENS];
};

static void on_logits(void *context, int output, float *logits)
{
    const struct probe *p = context;
    const size_t n = (size_t)p->r->decoder.vocab_size;
    memcpy(p->out + (size_t)p->rows[output] * n, logits, n * sizeof *logits);
}

/* A share of a batch: tokens [first, first + count) of sequence `table`. */
struct share {
    int table, first, count;
};

static enum nano_status run(struct probe *p, const struct share *shares, int num_shares,
                            float *logits, struct nano_error *err)
{
    int32_t tokens[2 * NUM_TOKENS];
    struct nano_batch_seq seqs[2];
    struct nano_batch_output outputs[2 * NUM_TOKENS] = {{0}};
    int num_tokens = 0, num_outputs = 0;
    for (int s = 0; s < num_shares; s++) {
        seqs[s] = (struct nano_batch_seq){.first_token = num_tokens,
                                          .num_tokens = shares[s].count,
                                          .first_position = shares[s].first,
                                          .block_table = p->tables[shares[s].table]};
        /* Where only the last token has logits, to want others would cut the share. */
        for (int t = 0; t < shares[s].count; t++, num_tokens++) {
            tokens[num_tokens] = p->tokens[shares[s].first + t];
            if (p->r->decoder.last_logits_only && t + 1 < shares[s].count)
                continue;
            p->rows[num_outputs] = num_tokens;
            outputs[num_outputs++].row = num_tokens;
        }
    }
    struct nano_batch batch = {.num_tokens = num_tokens,
                               .tokens = tokens,
                               .num_seqs = num_shares,
                               .seqs = seqs,
                               .num_outputs = num_outputs,
                               .outputs = outputs,
                               .on_logits = on_logits,
                               .context = p};
    p->out = logits;
    return nano_onnx_run_batch(p->r, &batch, err);
}

/* Whether `count` rows are the expected ones from `first` on; of graphs that give the last row
 * only, whether that one is. */
static bool is_close(const struct probe *p, const float *got, int first, int count)
{
    if (p->r->decoder.last_logits_only && count > 1)
        return is_close(p, got + (count - 1) * p->r->decoder.vocab_size, first + count - 1, 1);
    const int64_t n = p->r->decoder.vocab_size;
    const struct nano_onnx_graph *g = p->r->decoder.graph;
    const float *expected = p->expected + first * n;
    float low = INFINITY, high = -INFINITY, worst = 0;
    for (int64_t i = 0; i < count * n; i++) {
        if (isinf(expected[i]) && got[i] == expected[i]) /* a token that there is not */
            continue;
        const float difference = fabsf(got[i] - expected[i]);
        low = expected[i] < low ? expected[i] : low;
        high = expected[i] > high ? expected[i] : high;
        worst = difference > worst ? difference : worst;
        if (difference != difference)
            return false;
    }
    const bool precise = 2 * g->type_bytes[NANO_ONNX_FLOAT] > g->weight_bytes;
    return worst <= (precise ? TOLERANCE : LOW_PRECISION_TOLERANCE) * (high - low);
}

/* Tokens one by one: what the rest is compared with. */
static enum nano_status run_one_by_one(struct probe *p, int table, int count, float *logits,
                                       struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    for (int t = 0; t < count && status == NANO_OK; t++) {
        const struct share share = {table, t, 1};
        status = run(p, &share, 1, logits + t * p->r->decoder.vocab_size, err);
    }
    return status;
}

static bool prompts_work(struct probe *p)
{
    const struct share all = {1, 0, NUM_TOKENS};
    p->r->traits.prompts = true;
    return run(p, &all, 1, p->got, NULL) == NANO_OK && is_close(p, p->got, 0, NUM_TOKENS);
}

static bool chunks_work(struct probe *p)
{
    const struct share rest = {1, SHORT, NUM_TOKENS - SHORT};
    p->r->traits.chunks = true;
    return run_one_by_one(p, 1, SHORT, p->got, NULL) == NANO_OK &&
           run(p, &rest, 1, p->got, NULL) == NANO_OK &&
           is_close(p, p->got, SHORT, NUM_TOKENS - SHORT);
}

/* The last token of sequence 0 beside the last one of a shorter sequence 1. */
static bool batches_work(struct probe *p)
{
    const int64_t n = p->r->decoder.vocab_size;
    const struct share last[2] = {{0, NUM_TOKENS - 1, 1}, {1, SHORT - 1, 1}};
    p->r->traits.batches = true;
    return run_one_by_one(p, 1, SHORT - 1, p->got, NULL) == NANO_OK &&
           run(p, last, 2, p->got, NULL) == NANO_OK && is_close(p, p->got, NUM_TOKENS - 1, 1) &&
           is_close(p, p->got + n, SHORT - 1, 1);
}

static enum nano_status probe(struct probe *p, struct nano_error *err)
{
    struct nano_onnx_runner *r = p->r;
    const struct nano_onnx_decoder *d = &r->decoder;
    const char *path = d->graph->path;
    enum nano_status status = run_one_by_one(p, 0, NUM_TOKENS, p->expected, err);
    if (status != NANO_OK)
        return status;
    const bool prompts = d->max_tokens == 1 ? false : prompts_work(p);
    r->traits.prompts = false;
    const bool chunks = d->num_kv == 0 || d->max_tokens == 1 ? false : chunks_work(p);
    r->traits.chunks = false;
    const bool batches = d->max_batch == 1 || p->num_tables < 2 ? false : batches_work(p);
    r->traits = (struct nano_onnx_traits){prompts, chunks, batches};
    if (d->num_kv == 0)
        nano_log(NANO_LOG_WARN,
                 "%s: has no past: every token is computed with all before it, which is slow",
                 path);
    else if (!prompts || !chunks)
        nano_log(NANO_LOG_WARN,
                 "%s: cannot compute several tokens of a sequence at once%s: they go "
                 "one by one, which is slow",
                 path, prompts ? " behind others" : "");
    if (!batches && p->num_tables > 1)
        nano_log(NANO_LOG_WARN,
                 "%s: cannot compute sequences of different lengths together: they "
                 "go one by one",
                 path);
    return NANO_OK;
}

enum nano_status nano_onnx_probe(struct nano_onnx_runner *r, struct nano_error *err)
{
    struct probe p = {.r = r};
    const size_t num_floats = NUM_TOKENS * (size_t)r->decoder.vocab_size;
    const int per_table = (NUM_TOKENS + r->config.block_size - 1) / r->config.block_size;
    p.num_tables = r->kv.num_blocks < 2 * per_table || r->config.max_num_seqs < 2 ? 1 : 2;
    if (r->config.max_model_len < NUM_TOKENS) /* so few need no speed */
        return NANO_OK;
    for (int t = 0; t < NUM_TOKENS; t++) {
        p.tokens[t] = (int32_t)((t + 1) % r->decoder.vocab_size);
        p.tables[0][t] = t;
        p.tables[1][t] = p.num_tables > 1 ? per_table + t : t;
    }
    p.expected = nano_mem_alloc(num_floats, sizeof *p.expected);
    p.got = nano_mem_alloc(num_floats, sizeof *p.got);
    const enum nano_status status =
        p.expected && p.got ? probe(&p, err)
                            : nano_error_no_memory(err, "logits", num_floats * sizeof *p.got);
    nano_mem_free(p.expected);
    nano_mem_free(p.got);
    nano_onnx_kv_drop(&r->kv);
    return status;
}
