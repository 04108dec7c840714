/* Encoders: bert and nomic-bert with random weights against their formulas in plain loops, alone
 * and together, and what they refuse. */
#include "embedding_fixture.h"
#include "tests/grown_model.h"

enum { HIDDEN = 32, FFN = 48, VOCAB = 80, LAYERS = 2, MAX_LENGTH = 130 };

static const struct grown_spec *find_spec(const char *name)
{
    for (int i = 0; i < num_grown_specs; i++)
        if (strcmp(grown_specs[i].name, name) == 0)
            return &grown_specs[i];
    cr_assert_fail("no spec %s", name);
    return NULL;
}

/* ---- the formulas ---- */

struct encoder {
    const struct nano_weights *weights;
    bool is_nomic; /* rotary positions, gated feed-forward */
    int num_heads, layer;
};

/* Values of a tensor of the layer (-1: of none), NULL if there is none. */
static const float *data_of(const struct encoder *e, int layer, const char *name)
{
    char full[64];
    if (layer >= 0)
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    const struct nano_tensor *t = nano_weights_find(e->weights, full);
    return t ? t->data : NULL;
}

static void linear(const struct encoder *e, const char *name, const double *x, int cols, int rows,
                   double *out)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    const float *weight = data_of(e, e->layer, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const float *bias = data_of(e, e->layer, full);
    cr_assert_not_null(weight, "%s", name);
    for (int r = 0; r < rows; r++) {
        out[r] = bias ? (double)bias[r] : 0;
        for (int c = 0; c < cols; c++)
            out[r] += (double)weight[r * cols + c] * x[c];
    }
}

static void layer_norm(const struct encoder *e, int layer, const char *name, double *x)
{
    char full[64];
    double mean = 0, variance = 0;
    snprintf(full, sizeof full, "%s.weight", name);
    const float *weight = data_of(e, layer, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const float *bias = data_of(e, layer, full);
    cr_assert(weight && bias, "%s", name);
    for (int i = 0; i < HIDDEN; i++)
        mean += x[i] / HIDDEN;
    for (int i = 0; i < HIDDEN; i++)
        variance += (x[i] - mean) * (x[i] - mean) / HIDDEN;
    for (int i = 0; i < HIDDEN; i++)
        x[i] = (x[i] - mean) / sqrt(variance + 1e-5) * (double)weight[i] + (double)bias[i];
}

/* Pairs are the halves of a head; base 1000. */
static void rotate(const struct encoder *e, double *x, int position)
{
    const int head_dim = HIDDEN / e->num_heads, pairs = head_dim / 2;
    for (int h = 0; h < e->num_heads; h++)
        for (int i = 0; i < pairs; i++) {
            double *a = x + h * head_dim + i, *b = a + pairs;
            const double angle = position * pow(1000, -(double)i / pairs), old = *a;
            *a = old * cos(angle) - *b * sin(angle);
            *b = old * sin(angle) + *b * cos(angle);
        }
}

static void attend(const struct encoder *e, double (*qkv)[3 * HIDDEN], int n, int token,
                   double *out)
{
    const int head_dim = HIDDEN / e->num_heads;
    double weights[MAX_LENGTH];
    for (int h = 0; h < e->num_heads; h++) {
        const double *q = qkv[token] + h * head_dim;
        double sum = 0;
        for (int p = 0; p < n; p++) {
            double score = 0;
            for (int i = 0; i < head_dim; i++)
                score += q[i] * qkv[p][HIDDEN + h * head_dim + i];
            sum += weights[p] = exp(score / sqrt(head_dim));
        }
        for (int i = 0; i < head_dim; i++) {
            out[h * head_dim + i] = 0;
            for (int p = 0; p < n; p++)
                out[h * head_dim + i] += weights[p] / sum * qkv[p][2 * HIDDEN + h * head_dim + i];
        }
    }
}

static void feed_forward(const struct encoder *e, const double *x, double *out)
{
    double up[FFN], gate[FFN];
    linear(e, "ffn_up", x, HIDDEN, FFN, up);
    if (e->is_nomic)
        linear(e, "ffn_gate", x, HIDDEN, FFN, gate);
    for (int i = 0; i < FFN; i++)
        up[i] =
            e->is_nomic
                ? gate[i] / (1 + exp(-gate[i])) * up[i]
                : up[i] / 2 *
                      (1 + tanh(sqrt(2 / acos(-1)) * (up[i] + 0.044715 * up[i] * up[i] * up[i])));
    linear(e, "ffn_down", up, FFN, HIDDEN, out);
}

static void run_layer(struct encoder *e, double (*x)[HIDDEN], int n)
{
    static double qkv[MAX_LENGTH][3 * HIDDEN];
    double heads[HIDDEN], delta[HIDDEN];
    for (int t = 0; t < n; t++) {
        if (data_of(e, e->layer, "attn_qkv.weight")) {
            linear(e, "attn_qkv", x[t], HIDDEN, 3 * HIDDEN, qkv[t]);
        } else {
            linear(e, "attn_q", x[t], HIDDEN, HIDDEN, qkv[t]);
            linear(e, "attn_k", x[t], HIDDEN, HIDDEN, qkv[t] + HIDDEN);
            linear(e, "attn_v", x[t], HIDDEN, HIDDEN, qkv[t] + 2 * HIDDEN);
        }
        if (e->is_nomic) {
            rotate(e, qkv[t], t);
            rotate(e, qkv[t] + HIDDEN, t);
        }
    }
    for (int t = 0; t < n; t++) {
        attend(e, qkv, n, t, heads);
        linear(e, "attn_output", heads, HIDDEN, HIDDEN, delta);
        for (int i = 0; i < HIDDEN; i++)
            x[t][i] += delta[i];
        layer_norm(e, e->layer, "attn_output_norm", x[t]);
        feed_forward(e, x[t], delta);
        for (int i = 0; i < HIDDEN; i++)
            x[t][i] += delta[i];
        layer_norm(e, e->layer, "layer_output_norm", x[t]);
    }
}

static void run_encoder(const struct nano_weights *weights, const int32_t *tokens, int n,
                        double (*x)[HIDDEN])
{
    struct encoder e = {.weights = weights};
    e.is_nomic = data_of(&e, -1, "position_embd.weight") == NULL;
    e.num_heads = e.is_nomic ? 2 : 4;
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < HIDDEN; i++) {
            x[t][i] = (double)data_of(&e, -1, "token_embd.weight")[tokens[t] * HIDDEN + i] +
                      (double)data_of(&e, -1, "token_types.weight")[i];
            if (!e.is_nomic)
                x[t][i] += (double)data_of(&e, -1, "position_embd.weight")[t * HIDDEN + i];
        }
        layer_norm(&e, -1, "token_embd_norm", x[t]);
    }
    for (e.layer = 0; e.layer < LAYERS; e.layer++)
        run_layer(&e, x, n);
}

/* ---- against them ---- */

static const char *const names[] = {"bert", "nomic-bert"};

static struct nano_engine_params manual_params(void)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.manual_step = true;
    params.kv_cache_dtype = NANO_KV_F32;
    params.block_size = 16;
    return params;
}

/* As converters write it: q, k and v in one. */
static const struct grown_spec fused_nomic = {
    "nomic-bert, fused", "nomic-bert",
    "context_length=512 embedding_length=32 block_count=2 attention.layer_norm_epsilon=1e-5 "
    "attention.head_count=2 attention.causal=false rope.freq_base=1e3 feed_forward_length=48",
    "token_embd.weight=32x80 token_types.weight=32x2 blk.0.attn_qkv.weight=32x96 "
    "blk.1.attn_qkv.weight=32x96"};

static void check_values(const struct grown_spec *spec)
{
    static const int lengths[] = {1, 2, 15, 16, 64, 65, 129};
    static double rows[MAX_LENGTH][HIDDEN];
    enum { NUM = 21 };
    struct nano_weights weights;
    struct embedded together[NUM];
    grown_model_make(&weights, spec);
    nano_model *model = open_weights(&weights);
    struct nano_engine_params params = manual_params();
    params.max_num_batched_tokens = 300; /* some steps have many texts */
    nano_engine *engine = open_engine(model, &params);
    for (int i = 0; i < NUM; i++) {
        embedded_init(&together[i], lengths[i % 7], VOCAB, (uint64_t)i,
                      (enum nano_pooling)(1 + i / 7));
        cr_assert_eq(embedded_submit(&together[i], engine), NANO_OK, "%s", err.message);
    }
    nano_engine_wait_idle(engine);
    for (int i = 0; i < NUM; i++) {
        struct embedded alone = together[i];
        double expected[HIDDEN];
        embedded_run(&alone, engine);
        embedded_compare(&together[i], &alone);
        run_encoder(&weights, alone.prompt, alone.num_tokens, rows);
        plain_embedding(&rows[0][0], alone.num_tokens, HIDDEN, &alone.params, expected);
        cr_expect_eq(alone.size, HIDDEN);
        cr_expect_lt(embedded_difference(&alone, expected), 2e-5, "%s: %d tokens, pooling %d: %g",
                     spec->name, alone.num_tokens, (int)alone.params.pooling,
                     embedded_difference(&alone, expected));
        free(alone.prompt);
    }
    nano_engine_destroy(engine);
    nano_model_close(model);
    nano_weights_close(&weights);
}

Test(encoder, equals_the_formulas)
{
    for (int i = 0; i < 2; i++)
        check_values(find_spec(names[i]));
    check_values(&fused_nomic);
}

Test(encoder, same_bits_whatever_the_engine)
{
    static const struct {
        int num_threads, block_size, max_num_batched_tokens, max_num_seqs, num_blocks;
    } configs[] = {
        {1, 16, 512, 256, 0}, {2, 5, 130, 4, 0}, {3, 1, 140, 2, 200}, {1, 64, 129, 1, 3}};
    enum { NUM = 12 };
    for (int k = 0; k < 2; k++) {
        struct nano_weights weights;
        struct embedded first[NUM], other[NUM];
        grown_model_make(&weights, find_spec(names[k]));
        nano_model *model = open_weights(&weights);
        for (int c = 0; c < 4; c++) {
            struct nano_engine_params params = manual_params();
            params.num_threads = configs[c].num_threads;
            params.block_size = configs[c].block_size;
            params.max_num_batched_tokens = configs[c].max_num_batched_tokens;
            params.max_num_seqs = configs[c].max_num_seqs;
            params.num_blocks = configs[c].num_blocks;
            nano_engine *engine = open_engine(model, &params);
            struct embedded *e = c ? other : first;
            for (int i = 0; i < NUM; i++) {
                embedded_init(&e[i], 1 + i * 11, VOCAB, (uint64_t)i, NANO_POOLING_DEFAULT);
                cr_assert_eq(embedded_submit(&e[i], engine), NANO_OK, "%s", err.message);
            }
            nano_engine_wait_idle(engine);
            cr_assert(nano_scheduler_check(&engine->scheduler));
            nano_engine_destroy(engine);
            for (int i = 0; c && i < NUM; i++) {
                embedded_compare(&other[i], &first[i]);
                free(other[i].prompt);
            }
        }
        for (int i = 0; i < NUM; i++)
            free(first[i].prompt);
        nano_model_close(model);
        nano_weights_close(&weights);
    }
}

Test(encoder, nothing_of_an_earlier_text_is_used_again)
{
    struct nano_weights weights;
    grown_model_make(&weights, find_spec("bert"));
    nano_model *model = open_weights(&weights);
    struct nano_engine_params params = manual_params();
    nano_engine *engine = open_engine(model, &params);
    struct embedded whole, beginning, alone;
    embedded_init(&whole, 60, VOCAB, 1, NANO_POOLING_LAST);
    embedded_init(&beginning, 40, VOCAB, 1, NANO_POOLING_LAST); /* two whole blocks are equal */
    embedded_init(&alone, 40, VOCAB, 1, NANO_POOLING_LAST);
    embedded_run(&alone, engine);
    nano_engine_destroy(engine);
    engine = open_engine(model, &params);
    embedded_run(&whole, engine);
    embedded_run(&beginning, engine);
    cr_assert_eq(beginning.num_cached_tokens, 0);
    embedded_compare(&beginning, &alone);
    free(whole.prompt);
    free(beginning.prompt);
    free(alone.prompt);
    nano_engine_destroy(engine);
    nano_model_close(model);
    nano_weights_close(&weights);
}

/* ---- what it refuses, and its plan ---- */

static void never(const struct nano_output *output, void *user_data)
{
    (void)output, (void)user_data;
    cr_assert_fail("nothing was accepted");
}

Test(encoder, generation_and_long_texts_are_refused)
{
    struct nano_weights weights;
    grown_model_make(&weights, find_spec("nomic-bert"));
    nano_model *model = open_weights(&weights);
    struct nano_engine_params params = manual_params();
    params.max_num_batched_tokens = 100;
    nano_engine *engine = open_engine(model, &params);
    struct nano_request request = nano_request_default();
    struct embedded e;
    embedded_init(&e, 101, VOCAB, 1, NANO_POOLING_MEAN);
    request.prompt_token_ids = e.prompt;
    request.num_prompt_token_ids = 5;
    request.sampling.detokenize = false;
    request.on_output = never;
    cr_assert_eq(nano_engine_submit(engine, &request, NULL, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_assert(strstr(err.message, "is an encoder: it only makes embeddings"), "%s", err.message);
    cr_assert_eq(embedded_submit(&e, engine), NANO_ERR_INVALID_ARGUMENT);
    cr_assert(strstr(err.message, "101 tokens, expected at most 100"), "%s", err.message);
    nano_engine_destroy(engine);
    params.max_model_len = 101; /* asks for steps of as many */
    engine = open_engine(model, &params);
    embedded_run(&e, engine);
    struct nano_memory_plan plan;
    nano_engine_get_plan(engine, &plan);
    cr_assert_eq(plan.max_num_batched_tokens, 101);
    cr_assert_leq(plan.num_blocks, 101 / 16 + 2 * plan.max_num_seqs, "what a step can use");
    free(e.prompt);
    nano_engine_destroy(engine);
    nano_model_close(model);
    nano_weights_close(&weights);
}

Test(encoder, a_model_that_says_it_is_not_causal_is_one)
{
    struct nano_weights weights;
    const struct grown_spec spec = {
        "llama, both ways", "llama",
        "context_length=512 embedding_length=32 block_count=2 attention.causal=false "
        "attention.layer_norm_rms_epsilon=1e-5 attention.head_count=4 feed_forward_length=48",
        "token_embd.weight=32x80"};
    grown_model_make(&weights, &spec);
    nano_model *model = open_weights(&weights);
    struct nano_engine_params params = manual_params();
    nano_engine *engine = open_engine(model, &params);
    struct embedded e, changed;
    embedded_init(&e, 20, VOCAB, 1, NANO_POOLING_CLS);
    embedded_init(&changed, 20, VOCAB, 1, NANO_POOLING_CLS);
    changed.prompt[19] = (changed.prompt[19] + 1) % VOCAB;
    embedded_run(&e, engine);
    embedded_run(&changed, engine);
    cr_assert_neq(memcmp(e.values, changed.values, (size_t)e.size * sizeof(float)), 0,
                  "the first token sees the last one");
    free(e.prompt);
    free(changed.prompt);
    nano_engine_destroy(engine);
    nano_model_close(model);
    nano_weights_close(&weights);
}

Test(encoder, a_reranker_is_refused)
{
    struct nano_weights weights;
    struct nano_program *program;
    grown_model_make(&weights, find_spec("bert"));
    for (size_t i = 0; i < weights.num_metadata; i++) /* a key that no encoder needs */
        if (strcmp(weights.metadata[i].key.bytes, "bert.attention.causal") == 0) {
            weights.metadata[i].key = (struct nano_string){"bert.pooling_type", 17};
            weights.metadata[i].type = NANO_META_U32;
            weights.metadata[i].value.u = 4;
        }
    cr_assert_eq(nano_weights_finish(&weights, &err), NANO_OK);
    cr_assert_eq(nano_program_create(&program, &weights, &err), NANO_ERR_UNSUPPORTED);
    cr_assert(strstr(err.message, "is a reranker (pooling_type 4)"), "%s", err.message);
    nano_weights_close(&weights);
}
