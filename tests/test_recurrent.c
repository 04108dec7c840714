/* Recurrent layers: states are taken up, copied and begun anew; the forms in which files have their
 * weights give the same bits; more threads than heads change none. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/grown_model.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

#define NUM_TOKENS 40

static const struct harness_config config = {.num_threads = 2,
                                             .block_size = 8,
                                             .max_num_batched_tokens = 3 * NUM_TOKENS,
                                             .max_num_seqs = 3,
                                             .kv_format = NANO_KV_FORMAT_F32};

#define SMALL "context_length=512 embedding_length=32 block_count=2 "
#define SHAPE \
    "attention.layer_norm_rms_epsilon=1e-5 attention.head_count=4 attention.head_count_kv=2 "
#define DELTA_NET                                                                 \
    "ssm.conv_kernel=4 ssm.inner_size=48 ssm.state_size=12 ssm.time_step_rank=4 " \
    "ssm.group_count=2 rope.dimension_count=4 full_attention_interval=2 "
#define EXPERTS "feed_forward_length=16 expert_count=5 expert_used_count=2 "

static const struct grown_spec qwen35 = {
    "qwen35", "qwen35", SMALL SHAPE DELTA_NET "feed_forward_length=48", "token_embd.weight=32x80"};
static const struct grown_spec qwen3next = {"qwen3next", "qwen3next", SMALL SHAPE DELTA_NET EXPERTS,
                                            "token_embd.weight=32x80"};
static const struct grown_spec mamba2 = {
    "mamba2", "mamba2",
    SMALL "attention.layer_norm_rms_epsilon=1e-5 ssm.conv_kernel=4 ssm.inner_size=96 "
          "ssm.state_size=9 ssm.time_step_rank=2 ssm.group_count=1",
    "token_embd.weight=32x80"};

struct model {
    struct nano_weights weights;
    struct nano_program *program;
    int32_t tokens[NUM_TOKENS];
    float *logits; /* of the tokens in one step, on two threads */
    size_t num_logits;
};

static void finish(struct model *m)
{
    struct nano_error err;
    uint64_t random = 3;
    cr_assert_eq(nano_weights_finish(&m->weights, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_program_create(&m->program, &m->weights, &err), NANO_OK, "%s", err.message);
    for (int i = 0; i < NUM_TOKENS; i++)
        m->tokens[i] = (int32_t)(tiny_random(&random) % 80);
    m->logits = harness_logits(m->program, &config, m->tokens, NUM_TOKENS, NUM_TOKENS);
    m->num_logits = (size_t)(NUM_TOKENS * m->program->config.vocab_size);
}

static void model_open(struct model *m, const struct grown_spec *spec)
{
    *m = (struct model){0};
    grown_model_make(&m->weights, spec);
    finish(m);
}

static void model_close(struct model *m)
{
    free(m->logits);
    nano_program_destroy(m->program);
    nano_weights_close(&m->weights);
}

/* ---- states ---- */

static void step_to(struct harness *h, struct harness_seq *seq, int end)
{
    harness_step(h, seq, &(int){end - seq->num_computed}, 1);
}

static void expect_rows(const struct model *m, const struct harness_seq *seq, int begin, int end,
                        const char *what)
{
    const size_t vocab = (size_t)m->program->config.vocab_size;
    cr_expect_eq(memcmp(seq->logits + (size_t)begin * vocab, m->logits + (size_t)begin * vocab,
                        (size_t)(end - begin) * vocab * sizeof(float)),
                 0, "%s: %s has other bits", m->program->config.architecture, what);
}

/* One sequence stops at 17; another one goes on from a copy of its state, after which the first
 * goes on as well; a third one begins in the first one's slot. */
static void check_states(const struct grown_spec *spec)
{
    struct model m;
    struct harness h;
    struct harness_seq first, copy, third;
    model_open(&m, spec);
    harness_open(&h, m.program, &config);
    harness_seq_begin(&h, &first, m.tokens, NUM_TOKENS);
    step_to(&h, &first, 17);
    harness_seq_begin(&h, &copy, m.tokens, NUM_TOKENS);
    memcpy(copy.block_table, first.block_table,
           (size_t)(h.num_kv_groups * first.table_stride) * sizeof *copy.block_table);
    h.runner->state_copy(h.state, first.state, copy.state);
    copy.num_computed = 17;
    step_to(&h, &copy, 20);
    step_to(&h, &copy, NUM_TOKENS);
    expect_rows(&m, &copy, 17, NUM_TOKENS, "a copied state");
    step_to(&h, &first, NUM_TOKENS);
    expect_rows(&m, &first, 0, NUM_TOKENS, "the state that was copied");
    harness_seq_begin(&h, &third, m.tokens, NUM_TOKENS);
    third.state = first.state;
    step_to(&h, &third, 1);
    step_to(&h, &third, NUM_TOKENS);
    expect_rows(&m, &third, 0, NUM_TOKENS, "a state that begins anew");
    harness_seq_end(&first);
    harness_seq_end(&copy);
    harness_seq_end(&third);
    harness_close(&h);
    model_close(&m);
}

Test(recurrent, states_are_copied_and_begin_anew)
{
    check_states(&mamba2);
    check_states(&qwen35);
    check_states(&qwen3next);
}

Test(recurrent, heads_are_cut_where_threads_are_many)
{
    const struct grown_spec *const specs[] = {&mamba2, &qwen35, &qwen3next};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct model m;
        model_open(&m, specs[i]);
        struct harness_config many = config;
        many.num_threads = 9;
        float *logits = harness_logits(m.program, &many, m.tokens, NUM_TOKENS, 7);
        cr_expect_eq(memcmp(logits, m.logits, m.num_logits * sizeof *logits), 0, "%s",
                     specs[i]->name);
        free(logits);
        model_close(&m);
    }
}

/* ---- the forms of files ---- */

static struct nano_tensor *tensor_of(struct nano_weights *weights, const char *name)
{
    for (size_t i = 0; i < weights->num_tensors; i++)
        if (strcmp(weights->tensors[i].name.bytes, name) == 0)
            return &weights->tensors[i];
    cr_assert_fail("no tensor %s", name);
    return NULL;
}

static void rename_tensor(struct nano_tensor *tensor, const char *name)
{
    tensor->name = (struct nano_string){name, strlen(name)};
}

/* Makes the tensor rows of the model's arena. */
static float *make_rows(struct nano_weights *weights, struct nano_tensor *tensor, int64_t rows)
{
    float *data = nano_arena_alloc(&weights->arena, (size_t)(rows * tensor->dims[0]), sizeof *data);
    cr_assert_not_null(data);
    tensor->data = data;
    tensor->dims[1] = rows;
    tensor->num_bytes = (size_t)(rows * tensor->dims[0]) * sizeof *data;
    return data;
}

static float *copy_rows(float *to, const struct nano_tensor *from, int64_t begin, int64_t count)
{
    const size_t n = (size_t)(count * from->dims[0]);
    memcpy(to, (const float *)from->data + begin * from->dims[0], n * sizeof *to);
    return to + n;
}

static void remove_tensor(struct nano_weights *weights, const char *name)
{
    *tensor_of(weights, name) = weights->tensors[--weights->num_tensors];
}

static void expect_equal(const struct model *a, const struct model *b, const char *what)
{
    cr_expect_eq(memcmp(a->logits, b->logits, a->num_logits * sizeof *a->logits), 0,
                 "%s has other bits", what);
}

/* Two key heads of 12, four value heads of 12: ssm_in is q, k, 2 v, 2 z of each key head. */
Test(recurrent, older_qwen3next_files)
{
    struct model now, old = {0};
    model_open(&now, &qwen3next);
    grown_model_make(&old.weights, &qwen3next);
    const struct nano_tensor qkv = *tensor_of(&old.weights, "blk.0.attn_qkv.weight");
    const struct nano_tensor *z = tensor_of(&old.weights, "blk.0.attn_gate.weight");
    struct nano_tensor *all = tensor_of(&old.weights, "blk.0.attn_qkv.weight");
    rename_tensor(all, "blk.0.ssm_in.weight");
    float *to = make_rows(&old.weights, all, 144);
    for (int head = 0; head < 2; head++) {
        to = copy_rows(to, &qkv, 12 * head, 12);
        to = copy_rows(to, &qkv, 24 + 12 * head, 12);
        to = copy_rows(to, &qkv, 48 + 24 * head, 24);
        to = copy_rows(to, z, 24 * head, 24);
    }
    remove_tensor(&old.weights, "blk.0.attn_gate.weight");
    finish(&old);
    expect_equal(&old, &now, "ssm_in");
    model_close(&now);
    model_close(&old);
}

Test(recurrent, attention_in_one_matrix)
{
    struct model apart, joined = {0};
    model_open(&apart, &qwen35);
    grown_model_make(&joined.weights, &qwen35);
    const struct nano_tensor q = *tensor_of(&joined.weights, "blk.1.attn_q.weight");
    const struct nano_tensor *k = tensor_of(&joined.weights, "blk.1.attn_k.weight"),
                             *v = tensor_of(&joined.weights, "blk.1.attn_v.weight");
    struct nano_tensor *all = tensor_of(&joined.weights, "blk.1.attn_q.weight");
    rename_tensor(all, "blk.1.attn_qkv.weight");
    float *to = make_rows(&joined.weights, all, q.dims[1] + k->dims[1] + v->dims[1]);
    to = copy_rows(to, &q, 0, q.dims[1]);
    to = copy_rows(to, k, 0, k->dims[1]);
    copy_rows(to, v, 0, v->dims[1]);
    remove_tensor(&joined.weights, "blk.1.attn_k.weight");
    remove_tensor(&joined.weights, "blk.1.attn_v.weight");
    finish(&joined);
    expect_equal(&joined, &apart, "attn_qkv");
    model_close(&apart);
    model_close(&joined);
}

/* Layers that predict further tokens are neither computed nor in the way. */
Test(recurrent, layers_of_further_tokens_are_left_out)
{
    static const struct grown_spec with_nextn = {
        "nextn", "qwen35",
        "context_length=512 embedding_length=32 block_count=3 nextn_predict_layers=1 " SHAPE
            DELTA_NET "feed_forward_length=48",
        "token_embd.weight=32x80"};
    struct model without, with = {0};
    model_open(&without, &qwen35);
    grown_model_make(&with.weights, &with_nextn);
    with.weights.tensors[with.weights.num_tensors] = *tensor_of(&with.weights, "blk.0.ssm_a");
    rename_tensor(&with.weights.tensors[with.weights.num_tensors++], "blk.2.nextn.enorm.weight");
    finish(&with);
    cr_expect_eq(with.program->config.num_layers, 2);
    expect_equal(&with, &without, "a model with nextn layers");
    model_close(&with);
    model_close(&without);
}
