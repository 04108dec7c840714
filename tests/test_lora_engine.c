/* LoRA in the engine: adapters by name, their place in the prefix cache and the memory plan, and
 * files that are not what they should be. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "engine_harness.h"
#include "lora_fixture.h"
#include "tests/leak_check.h"
#include "tests/tiny_model.h"

#define SHAPE (&tiny_shapes[0])

static struct nano_error err;

static const struct lora_spec one = {.rank = 4, .alpha = 4, .seed = 1};
static const struct lora_spec two = {.rank = 7, .alpha = 14, .seed = 2, .only = "ffn_"};

/* A tiny model in a file, as it is or with adapters merged in, and adapter files. */
struct rig {
    struct nano_weights weights;
    nano_model *model;
    char path[LORA_PATH_BYTES], paths[2][LORA_PATH_BYTES];
    struct nano_lora loras[2];
};

static nano_model *open_weights(const struct nano_weights *weights, char path[LORA_PATH_BYTES])
{
    struct gguf_builder builder;
    nano_model *model;
    gguf_builder_init(&builder);
    gguf_builder_weights(&builder, weights, NULL);
    lora_write_file(path, &builder);
    gguf_builder_deinit(&builder);
    cr_assert_eq(nano_model_open(&model, path, &err), NANO_OK, "%s", err.message);
    return model;
}

static void rig_open(struct rig *rig)
{
    tiny_model_make(&rig->weights, SHAPE, NULL);
    rig->model = open_weights(&rig->weights, rig->path);
    lora_write(rig->paths[0], &rig->weights, &one);
    lora_write(rig->paths[1], &rig->weights, &two);
    rig->loras[0] = (struct nano_lora){"one", rig->paths[0], 1};
    rig->loras[1] = (struct nano_lora){"two", rig->paths[1], 1};
}

static void rig_close(struct rig *rig)
{
    nano_model_close(rig->model);
    nano_weights_close(&rig->weights);
    unlink(rig->path);
    unlink(rig->paths[0]);
    unlink(rig->paths[1]);
}

static struct nano_engine_params params_of(const struct nano_lora *loras, int num_loras)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.manual_step = true;
    params.num_threads = 2;
    params.max_model_len = 64;
    params.block_size = 4;
    params.num_blocks = 64;
    params.kv_cache_dtype = NANO_KV_F32;
    params.loras = loras;
    params.num_loras = num_loras;
    return params;
}

static nano_engine *make_engine(nano_model *model, const struct nano_engine_params *params)
{
    nano_engine *engine;
    cr_assert_eq(nano_engine_create(&engine, model, params, &err), NANO_OK, "%s", err.message);
    return engine;
}

static void generate(struct client *client, nano_engine *engine, const char *lora)
{
    client_init(client, 30, SHAPE->vocab_size, 5, 6);
    client->request.lora = lora;
    client->request.sampling.max_tokens = 10;
    client->request.sampling.temperature = 0;
    client->request.sampling.logprobs = 3;
    cr_assert_eq(client_submit(client, engine, &err), NANO_OK, "%s", err.message);
    nano_engine_wait_idle(engine);
}

/* ---- values ---- */

static void expect_close(const struct client *got, const struct client *expected)
{
    const struct completion *g = &got->completions[0], *e = &expected->completions[0];
    cr_assert_eq(g->num_tokens, e->num_tokens);
    for (int i = 0; i < g->num_tokens; i++) {
        cr_expect_eq(g->tokens[i], e->tokens[i]);
        cr_expect_float_eq(g->logprobs[i * (1 + MAX_TOP)], e->logprobs[i * (1 + MAX_TOP)], 1e-4f);
    }
}

/* Files of one name count together, each with its scale. */
Test(lora_engine, several_files_are_one_adapter)
{
    struct rig rig;
    struct nano_weights merged;
    struct client got, base, expected;
    char path[LORA_PATH_BYTES];
    rig_open(&rig);
    tiny_model_make(&merged, SHAPE, NULL);
    lora_merge(&merged, &one, 0.5);
    lora_merge(&merged, &two, -1.5);
    rig.loras[0] = (struct nano_lora){"both", rig.paths[0], 0.5f};
    rig.loras[1] = (struct nano_lora){"both", rig.paths[1], -1.5f};
    nano_model *model = open_weights(&merged, path);
    const struct nano_engine_params with = params_of(rig.loras, 2), without = params_of(NULL, 0);
    nano_engine *engine = make_engine(rig.model, &with), *other = make_engine(model, &without);
    generate(&got, engine, "both");
    generate(&base, engine, NULL);
    generate(&expected, other, NULL);
    expect_close(&got, &expected);
    cr_expect_neq(memcmp(got.completions[0].tokens, base.completions[0].tokens,
                         10 * sizeof *got.completions[0].tokens),
                  0, "the adapters change nothing");
    client_deinit(&got);
    client_deinit(&base);
    client_deinit(&expected);
    nano_engine_destroy(engine);
    nano_engine_destroy(other);
    nano_model_close(model);
    nano_weights_close(&merged);
    unlink(path);
    rig_close(&rig);
}

/* ---- embeddings ---- */

struct embedding {
    float values[64];
    int size;
};

static void on_embedding(const struct nano_output *output, void *user_data)
{
    struct embedding *e = user_data;
    if (!output->embedding)
        return;
    e->size = output->embedding_size;
    memcpy(e->values, output->embedding, (size_t)e->size * sizeof *e->values);
}

static void submit_embedding(struct embedding *e, nano_engine *engine, const char *lora,
                             const int32_t *tokens, int num_tokens)
{
    struct nano_embedding_params params = nano_embedding_params_default();
    struct nano_request request = nano_request_default();
    params.pooling = NANO_POOLING_MEAN;
    request.prompt_token_ids = tokens;
    request.num_prompt_token_ids = (size_t)num_tokens;
    request.embedding = &params;
    request.lora = lora;
    request.on_output = on_embedding;
    request.user_data = e;
    e->size = 0;
    cr_assert_eq(nano_engine_submit(engine, &request, NULL, &err), NANO_OK, "%s", err.message);
}

/* Every row of the prompt is an output, in steps that have logits of others too. */
Test(lora_engine, embeddings_beside_completions)
{
    static const char *const names[] = {NULL, "one", "two"};
    struct rig rig;
    struct nano_weights merged;
    struct embedding alone[3], together[3], expected;
    struct client first[3], clients[3];
    int32_t tokens[50];
    char path[LORA_PATH_BYTES];
    uint64_t random = 3;
    for (int i = 0; i < 50; i++)
        tokens[i] = (int32_t)harness_random(&random, (uint32_t)SHAPE->vocab_size);
    rig_open(&rig);
    struct nano_engine_params params = params_of(rig.loras, 2);
    params.max_num_batched_tokens = 40;
    nano_engine *engine = make_engine(rig.model, &params);
    for (int i = 0; i < 3; i++) {
        submit_embedding(&alone[i], engine, names[i], tokens, 50);
        nano_engine_wait_idle(engine);
        generate(&first[i], engine, names[i]);
    }
    for (int i = 0; i < 3; i++) {
        client_init(&clients[i], 30, SHAPE->vocab_size, 5, 6);
        clients[i].request.lora = names[i];
        clients[i].request.sampling = first[i].request.sampling;
        cr_assert_eq(client_submit(&clients[i], engine, &err), NANO_OK, "%s", err.message);
        submit_embedding(&together[i], engine, names[(i + 1) % 3], tokens, 50);
    }
    nano_engine_wait_idle(engine);
    for (int i = 0; i < 3; i++) {
        client_compare(&clients[i], &first[i], false);
        cr_assert_eq(together[i].size, SHAPE->hidden_size);
        cr_expect_eq(memcmp(together[i].values, alone[(i + 1) % 3].values,
                            (size_t)SHAPE->hidden_size * sizeof(float)),
                     0, "%d", i);
        client_deinit(&clients[i]);
        client_deinit(&first[i]);
    }
    nano_engine_destroy(engine);

    tiny_model_make(&merged, SHAPE, NULL);
    lora_merge(&merged, &one, 1);
    nano_model *model = open_weights(&merged, path);
    params.num_loras = 0;
    engine = make_engine(model, &params);
    submit_embedding(&expected, engine, NULL, tokens, 50);
    nano_engine_wait_idle(engine);
    for (int i = 0; i < SHAPE->hidden_size; i++)
        cr_expect_float_eq(alone[1].values[i], expected.values[i], 1e-5f);
    cr_expect_neq(memcmp(alone[1].values, alone[0].values, sizeof(float)), 0);
    nano_engine_destroy(engine);
    nano_model_close(model);
    nano_weights_close(&merged);
    unlink(path);
    rig_close(&rig);
}

/* ---- prefix cache ---- */

Test(lora_engine, blocks_are_shared_within_an_adapter_only)
{
    static const char *const names[] = {NULL, "one", "two"};
    struct rig rig;
    struct client first[3], again[3];
    rig_open(&rig);
    const struct nano_engine_params params = params_of(rig.loras, 2);
    nano_engine *engine = make_engine(rig.model, &params);
    for (int i = 0; i < 3; i++) {
        generate(&first[i], engine, names[i]);
        cr_expect_eq(first[i].completions[0].num_cached_tokens, 0);
    }
    for (int i = 0; i < 3; i++) {
        generate(&again[i], engine, names[i]);
        cr_expect_eq(again[i].completions[0].num_cached_tokens, 28);
        client_compare(&again[i], &first[i], false);
    }
    for (int i = 0; i < 3; i++) {
        client_deinit(&first[i]);
        client_deinit(&again[i]);
    }
    nano_engine_destroy(engine);
    rig_close(&rig);
}

/* ---- memory ---- */

Test(lora_engine, the_plan_counts_them)
{
    struct rig rig;
    struct nano_memory_plan plan, without;
    rig_open(&rig);
    struct nano_engine_params params = params_of(rig.loras, 2);
    cr_assert_eq(nano_engine_plan(rig.model, &params, &plan, &err), NANO_OK, "%s", err.message);
    params.num_loras = 0;
    cr_assert_eq(nano_engine_plan(rig.model, &params, &without, &err), NANO_OK);
    uint64_t bytes = 0;
    for (size_t i = 0; i < rig.weights.num_tensors; i++) {
        const struct nano_tensor *t = &rig.weights.tensors[i];
        if (t->num_dims == 2 && strcmp(t->name.bytes, "token_embd.weight") != 0)
            bytes += (uint64_t)((t->dims[0] + t->dims[1]) * one.rank) * sizeof(float);
    }
    cr_expect_geq(plan.weight_bytes, without.weight_bytes + bytes);
    cr_expect_gt(plan.activation_bytes, without.activation_bytes);
    params.num_loras = 2;
    params.mem_budget_bytes = plan.total_bytes - 1;
    cr_expect_eq(nano_engine_plan(rig.model, &params, &plan, &err), NANO_ERR_NO_MEMORY);
    rig_close(&rig);
}

Test(lora_engine, every_allocation_may_fail)
{
    struct rig rig;
    rig_open(&rig);
    const struct nano_engine_params params = params_of(rig.loras, 2);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        nano_engine *engine;
        struct nano_memory_plan plan;
        nano_mem_fail_after(n);
        enum nano_status status = nano_engine_plan(rig.model, &params, &plan, &err);
        if (status == NANO_OK)
            status = nano_engine_create(&engine, rig.model, &params, &err);
        done = nano_mem_fail_after(0) < n;
        cr_expect_eq(status, done ? NANO_OK : NANO_ERR_NO_MEMORY, "allocation %d: %s", (int)n,
                     err.message);
        if (status == NANO_OK)
            nano_engine_destroy(engine);
    }
    rig_close(&rig);
    cr_expect_not(leak_check_found());
}

/* ---- what is refused ---- */

/* What stands before and behind the names of files in the message. */
static void expect_refused(struct rig *rig, const char *path, enum nano_status status,
                           const char *expected)
{
    const struct nano_lora lora = {"bad", path, 1};
    const struct nano_engine_params params = params_of(&lora, 1);
    struct nano_memory_plan plan;
    nano_engine *engine;
    char message[512];
    cr_expect_eq(nano_engine_plan(rig->model, &params, &plan, &err), status, "%s", err.message);
    memcpy(message, err.message, sizeof message);
    cr_expect_eq(nano_engine_create(&engine, rig->model, &params, &err), status);
    cr_expect_str_eq(err.message, message);
    cr_expect_eq(strncmp(message, path, strlen(path)), 0, "%s", message);
    cr_expect_not_null(strstr(message, expected), "%s: %s", message, expected);
    cr_expect_null(strchr(message, '\n'));
}

struct bad {
    const char *type, *architecture, *adapter_type; /* NULL: as it should be; "": no key */
    const char *a, *b, *more;                       /* names of tensors; NULL: none */
    int64_t a_dims[3], b_dims[3];
    float alpha;
    bool has_tokens;
    enum nano_status status;
    const char *expected;
};

static void put_string(struct gguf_builder *builder, const char *key, const char *value,
                       const char *normal)
{
    if (!value || *value)
        gguf_builder_string(builder, key, value ? value : normal);
}

static void put_tensor(struct gguf_builder *builder, const char *name, const int64_t *dims)
{
    const int num_dims = dims[2] ? 3 : 2;
    if (name)
        gguf_builder_tensor(builder, name, 0, num_dims, dims, NULL,
                            (size_t)(dims[0] * dims[1] * (dims[2] ? dims[2] : 1)) * sizeof(float));
}

#define Q "blk.0.attn_q.weight"

/* attn_q is [36, 36], token_embd [36, 61]. */
static const struct bad bad_files[] = {
    {.type = "model",
     .status = NANO_ERR_FORMAT,
     .expected = ": metadata key 'general.type' is 'model', expected 'adapter': not a LoRA"},
    {.type = "",
     .status = NANO_ERR_FORMAT,
     .expected = ": no metadata key 'general.type', expected 'adapter': not a LoRA adapter"},
    {.adapter_type = "ia3",
     .status = NANO_ERR_FORMAT,
     .expected = ": metadata key 'adapter.type' is 'ia3', expected 'lora'"},
    {.architecture = "qwen2",
     .a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {36, 2},
     .b_dims = {2, 36},
     .status = NANO_ERR_FORMAT,
     .expected = ": is an adapter for 'qwen2' models, expected 'llama' as in "},
    {.status = NANO_ERR_FORMAT, .expected = ": has no tensors of a LoRA adapter"},
    {.a = Q ".lora_a",
     .a_dims = {36, 2},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor '" Q ".lora_a' has no '" Q ".lora_b' beside it"},
    {.b = Q ".lora_b",
     .b_dims = {2, 36},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor '" Q ".lora_b' has no '" Q ".lora_a' beside it"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {36, 2},
     .b_dims = {3, 36},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor '" Q ".lora_a' is [36, 2], expected [columns, rank] beside '" Q
                 ".lora_b' [3, 36]"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {35, 2},
     .b_dims = {2, 36},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor '" Q ".lora_a' is [35, 2], expected [36, 2] for the model's [36, 36]"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {36, 2},
     .b_dims = {2, 37},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor '" Q ".lora_b' is [2, 37], expected [2, 36] for the model's [36, 36]"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {36, 0},
     .b_dims = {0, 36},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor '" Q ".lora_a': dimension 1 is 0, expected 1 to"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {36, 5000},
     .b_dims = {5000, 36},
     .status = NANO_ERR_UNSUPPORTED,
     .expected = ": tensor '" Q ".lora_b' has rank 5000, expected at most 4096"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {36, 2, 4},
     .b_dims = {2, 36, 4},
     .status = NANO_ERR_UNSUPPORTED,
     .expected = ": tensor '" Q ".lora_a' has 3 dimensions"},
    {.a = "blk.7.attn_q.weight.lora_a",
     .b = "blk.7.attn_q.weight.lora_b",
     .a_dims = {36, 2},
     .b_dims = {2, 36},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor 'blk.7.attn_q.weight.lora_a': the model "},
    {.a = "blk.0.attn_norm.weight.lora_a",
     .b = "blk.0.attn_norm.weight.lora_b",
     .a_dims = {36, 2},
     .b_dims = {2, 1},
     .status = NANO_ERR_UNSUPPORTED,
     .expected = ": tensor 'blk.0.attn_norm.weight.lora_a': 'blk.0.attn_norm.weight' is not what a "
                 "linear layer"},
    {.a = "token_embd.weight.lora_a",
     .b = "token_embd.weight.lora_b",
     .a_dims = {36, 2},
     .b_dims = {2, 61},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor 'token_embd.weight.lora_a' is [36, 2], expected the same rank"},
    {.a = "token_embd.weight.lora_a",
     .b = "token_embd.weight.lora_b",
     .a_dims = {2, 60},
     .b_dims = {2, 36},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor 'token_embd.weight.lora_a' is [2, 60], expected [2, 61] for the"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .more = Q,
     .a_dims = {36, 2},
     .b_dims = {2, 36},
     .status = NANO_ERR_FORMAT,
     .expected = ": tensor '" Q "', expected names that end in .lora_a or .lora_b"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {36, 2},
     .b_dims = {2, 36},
     .alpha = INFINITY,
     .status = NANO_ERR_FORMAT,
     .expected = ": metadata key 'adapter.lora.alpha' is inf"},
    {.a = Q ".lora_a",
     .b = Q ".lora_b",
     .a_dims = {36, 2},
     .b_dims = {2, 36},
     .has_tokens = true,
     .status = NANO_ERR_UNSUPPORTED,
     .expected = ": is an adapter that certain tokens switch on"},
};

Test(lora_engine, bad_files)
{
    struct rig rig;
    rig_open(&rig);
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        const struct bad *bad = &bad_files[i];
        struct gguf_builder builder;
        char path[LORA_PATH_BYTES];
        gguf_builder_init(&builder);
        put_string(&builder, "general.type", bad->type, "adapter");
        put_string(&builder, "general.architecture", bad->architecture, "llama");
        put_string(&builder, "adapter.type", bad->adapter_type, "lora");
        gguf_builder_f32(&builder, "adapter.lora.alpha", bad->alpha);
        if (bad->has_tokens)
            gguf_builder_array(&builder, "adapter.alora.invocation_tokens", NANO_META_U32,
                               &(uint32_t){1}, 1);
        put_tensor(&builder, bad->a, bad->a_dims);
        put_tensor(&builder, bad->b, bad->b_dims);
        put_tensor(&builder, bad->more, (const int64_t[]){36, 36, 0});
        lora_write_file(path, &builder);
        gguf_builder_deinit(&builder);
        expect_refused(&rig, path, bad->status, bad->expected);
        unlink(path);
    }
    rig_close(&rig);
}

Test(lora_engine, files_of_other_kinds)
{
    struct rig rig;
    struct nano_engine_params params = params_of(NULL, 0);
    nano_engine *engine;
    nano_model *adapter;
    rig_open(&rig);
    expect_refused(&rig, "/nowhere/adapter.gguf", NANO_ERR_IO, ": ");
    expect_refused(&rig, rig.path, NANO_ERR_FORMAT, ": no metadata key 'general.type'");
    cr_assert_eq(nano_model_open(&adapter, rig.paths[0], &err), NANO_OK, "%s", err.message);
    cr_expect_not(nano_model_get_info(adapter)->runnable);
    cr_expect_eq(nano_engine_create(&engine, adapter, &params, &err), NANO_ERR_UNSUPPORTED);
    cr_expect_eq(strncmp(err.message, rig.paths[0], strlen(rig.paths[0])), 0);
    cr_expect_not_null(strstr(err.message, ": is an adapter, expected the model"));
    nano_model_close(adapter);
    rig_close(&rig);
}

Test(lora_engine, truncated_at_any_byte)
{
    struct rig rig;
    static unsigned char bytes[1 << 20];
    rig_open(&rig);
    FILE *file = fopen(rig.paths[1], "rb");
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    cr_assert(size > 1000 && size < sizeof bytes);
    const struct nano_engine_params params = params_of(&rig.loras[1], 1);
    struct nano_memory_plan plan;
    for (size_t kept = 0; kept < size; kept += 1 + kept / 16) {
        file = fopen(rig.paths[1], "wb");
        cr_assert_eq(fwrite(bytes, 1, kept, file), kept);
        fclose(file);
        cr_expect_neq(nano_engine_plan(rig.model, &params, &plan, &err), NANO_OK, "%zu", kept);
        cr_expect_eq(strncmp(err.message, rig.paths[1], strlen(rig.paths[1])), 0, "%s",
                     err.message);
    }
    rig_close(&rig);
}

Test(lora_engine, parameters)
{
    struct rig rig;
    nano_engine *engine;
    struct client client;
    rig_open(&rig);
    struct nano_engine_params params = params_of(rig.loras, 2);
    const struct nano_lora bad[] = {
        {NULL, rig.paths[0], 1}, {"", rig.paths[0], 1}, {"x", NULL, 1}, {"x", rig.paths[0], NAN}};
    for (int i = 0; i < 4; i++) {
        params.loras = &bad[i];
        params.num_loras = 1;
        cr_expect_eq(nano_engine_create(&engine, rig.model, &params, &err),
                     NANO_ERR_INVALID_ARGUMENT);
        cr_expect_eq(strncmp(err.message, "loras[0] has name '", 19), 0, "%s", err.message);
    }
    params = params_of(rig.loras, 2);
    params.runner = "mock";
    cr_expect_eq(nano_engine_create(&engine, NULL, &params, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_expect_str_eq(err.message, "LoRA adapters need a model that they belong to");
    params = params_of(rig.loras, 2);
    engine = make_engine(rig.model, &params);
    client_init(&client, 5, SHAPE->vocab_size, 1, 1);
    client.request.lora = "three";
    cr_expect_eq(client_submit(&client, engine, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_expect_str_eq(err.message, "lora 'three' is none of this engine's 2 adapters");
    client_deinit(&client);
    nano_engine_destroy(engine);
    rig_close(&rig);
}
