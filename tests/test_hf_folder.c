/* Model folders: the logits that the same weights give as GGUF, and what is refused. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "format/gguf.h"
#include "format/hf_folder.h"
#include "format/requantize.h"
#include "tests/grown_model.h"
#include "tests/hf_writer.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

#define NUM_TOKENS 20

static const struct harness_config config = {.num_threads = 2,
                                             .block_size = 16,
                                             .max_num_batched_tokens = 64,
                                             .max_num_seqs = 1,
                                             .kv_format = NANO_KV_FORMAT_F32};

static void open_folder(struct nano_weights *out, const char *folder)
{
    struct nano_error err = {0};
    cr_assert_eq(nano_hf_folder_open(out, folder, &err), NANO_OK, "%s", err.message);
}

static float *logits_of(const struct nano_weights *weights, const int32_t *tokens, int num_tokens,
                        int64_t *vocab_size)
{
    struct nano_program *program;
    struct nano_error err = {0};
    cr_assert_eq(nano_program_create(&program, weights, &err), NANO_OK, "%s", err.message);
    float *logits = harness_logits(program, &config, tokens, num_tokens, num_tokens);
    *vocab_size = program->config.vocab_size;
    nano_program_destroy(program);
    return logits;
}

static void make_tokens(int32_t tokens[NUM_TOKENS], int vocab_size)
{
    uint64_t random = 1;
    for (int i = 0; i < NUM_TOKENS; i++)
        tokens[i] = (int32_t)(tiny_random(&random) % (uint64_t)vocab_size);
}

static void expect_equal(const struct nano_weights *a, const struct nano_weights *b, int vocab_size,
                         const char *what)
{
    int32_t tokens[NUM_TOKENS];
    int64_t vocab;
    make_tokens(tokens, vocab_size);
    float *x = logits_of(a, tokens, NUM_TOKENS, &vocab),
          *y = logits_of(b, tokens, NUM_TOKENS, &vocab);
    cr_expect_eq(memcmp(x, y, (size_t)(NUM_TOKENS * vocab) * sizeof *x), 0, "%s: other bits", what);
    free(x);
    free(y);
}

/* Scaling that a folder can say exactly. Made factors are tested by numbers below. */
static bool can_be_written(const struct tiny_shape *shape)
{
    return !shape->rope_factors && !shape->rope_dims;
}

static const char *rope_of(const struct tiny_shape *shape, char out[256])
{
    if (!shape->scaling)
        return NULL;
    snprintf(out, 256,
             "\"rope_scaling\":{\"type\":\"%s\",\"factor\":%g,"
             "\"original_max_position_embeddings\":32},",
             shape->scaling, shape->scaling_factor);
    return out;
}

Test(hf_folder, tiny_models_are_equal_to_the_bit)
{
    static const struct hf_writer ways[] = {{"F32", 1, NULL}, {"F32", 3, NULL}};
    int num_tested = 0;
    for (int i = 0; i < num_tiny_shapes; i++) {
        const struct tiny_shape *shape = &tiny_shapes[i];
        if (!can_be_written(shape))
            continue;
        struct nano_weights made;
        tiny_model_make(&made, shape, NULL);
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            char folder[64], rope[256];
            struct hf_writer writer = ways[k];
            struct nano_weights weights;
            hf_make_folder(folder);
            writer.config = rope_of(shape, rope);
            hf_write(&writer, &made, folder);
            open_folder(&weights, folder);
            expect_equal(&made, &weights, shape->vocab_size, shape->architecture);
            nano_weights_close(&weights);
            hf_remove_folder(folder);
        }
        nano_weights_close(&made);
        num_tested++;
    }
    cr_assert_geq(num_tested, 5);
}

/* ---- classes with fields of their own ---- */

/* What their configurations say beyond what hf_write does, to match the spec of that name. */
static const struct {
    const char *spec, *config;
} class_fields[] = {
    {"llama", NULL},
    {"gemma", NULL},
    {"gemma2", "\"sliding_window\":8,\"query_pre_attn_scalar\":16,\"attn_logit_softcapping\":5,"
               "\"final_logit_softcapping\":10,\"hidden_activation\":\"gelu_pytorch_tanh\","},
    {"gemma3", "\"sliding_window\":8,\"query_pre_attn_scalar\":16,\"sliding_window_pattern\":2,"
               "\"rope_local_base_freq\":100,\"final_logit_softcapping\":null,"},
    {"gemma3", "\"sliding_window\":8,\"query_pre_attn_scalar\":16,\"layer_types\":"
               "[\"sliding_attention\",\"full_attention\"],"
               "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"},"
               "\"sliding_attention\":{\"rope_theta\":100}},"},
    {"phi3", NULL},
    {"phi3, longrope", "\"original_max_position_embeddings\":64,\"partial_rotary_factor\":0.5,"},
    {"mistral3", "\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":8,\"mscale\":1,"
                 "\"mscale_all_dim\":1,\"original_max_position_embeddings\":8,"
                 "\"llama_4_scaling_beta\":0.1},"},
    {"olmo3", "\"sliding_window\":8,\"layer_types\":[\"full_attention\",\"sliding_attention\"],"
              "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,"
              "\"original_max_position_embeddings\":16},"},
    {"granite", "\"embedding_multiplier\":6,\"residual_multiplier\":0.6,"
                "\"attention_multiplier\":0.11,\"logits_scaling\":1.6,"},
    {"starcoder2, all biases", NULL},
    {"smollm3", "\"no_rope_layers\":[1,1,1,0,1],"},
};

static const struct grown_spec *find_spec(const char *name)
{
    for (int i = 0; i < num_grown_specs; i++)
        if (strcmp(grown_specs[i].name, name) == 0)
            return &grown_specs[i];
    cr_assert_fail("no spec %s", name);
    return NULL;
}

static size_t append_factors(char *out, size_t bytes, const char *field,
                             const struct nano_tensor *tensor)
{
    size_t length = (size_t)snprintf(out, bytes, "\"%s\":[", field);
    for (int64_t i = 0; i < tensor->dims[0]; i++)
        length += (size_t)snprintf(out + length, bytes - length, "%s%.9g", i ? "," : "",
                                   (double)((const float *)tensor->data)[i]);
    return length + (size_t)snprintf(out + length, bytes - length, "]");
}

/* The fields, and the arrays of LongRoPE if the model has them. */
static void make_config(char *out, size_t bytes, const char *fields,
                        const struct nano_weights *made)
{
    const struct nano_tensor *far = nano_weights_find(made, "rope_factors_long.weight"),
                             *near = nano_weights_find(made, "rope_factors_short.weight");
    size_t length = (size_t)snprintf(out, bytes, "%s", fields ? fields : "");
    if (!far)
        return;
    length += (size_t)snprintf(out + length, bytes - length,
                               "\"rope_scaling\":{\"type\":\"longrope\","
                               "\"attention_factor\":1.2,");
    length += append_factors(out + length, bytes - length, "long_factor", far);
    length += (size_t)snprintf(out + length, bytes - length, ",");
    length += append_factors(out + length, bytes - length, "short_factor", near);
    snprintf(out + length, bytes - length, "},");
}

Test(hf_folder, every_class_is_equal_to_the_bit)
{
    for (size_t i = 0; i < sizeof class_fields / sizeof *class_fields; i++) {
        const struct grown_spec *spec = find_spec(class_fields[i].spec);
        struct nano_weights made, weights;
        char folder[64], fields[1024];
        grown_model_make(&made, spec);
        make_config(fields, sizeof fields, class_fields[i].config, &made);
        hf_make_folder(folder);
        hf_write(&(struct hf_writer){"F32", 1, fields}, &made, folder);
        open_folder(&weights, folder);
        expect_equal(&made, &weights, 80, spec->name);
        nano_weights_close(&weights);
        nano_weights_close(&made);
        hf_remove_folder(folder);
    }
}

/* A folder that is saved is a GGUF of the same tensors; so is one that is quantised on load. */
Test(hf_folder, saved_as_gguf)
{
    static const char *const formats[] = {NULL, "q8_0"};
    const struct tiny_shape *shape = &tiny_shapes[6], *pairs = &tiny_shapes[3];
    for (int i = 0; i < 4; i++) {
        const struct tiny_shape *s = i < 2 ? shape : pairs;
        struct nano_weights made, weights, again;
        struct nano_error err = {0};
        char folder[64], rope[256], path[128];
        hf_make_folder(folder);
        tiny_model_make(&made, s, NULL);
        hf_write(&(struct hf_writer){"BF16", 2, rope_of(s, rope)}, &made, folder);
        open_folder(&weights, folder);
        if (formats[i % 2]) {
            cr_assert_eq(nano_weights_quantize(&weights, formats[i % 2], &err), NANO_OK);
            cr_assert_eq(nano_weights_find(&weights, "blk.0.attn_q.weight")->format,
                         NANO_FORMAT_Q8_0);
            cr_assert_eq(nano_weights_find(&weights, "blk.0.attn_norm.weight")->format,
                         NANO_FORMAT_F32);
        }
        snprintf(path, sizeof path, "%s/saved.gguf", folder);
        cr_assert_eq(nano_gguf_save(&weights, path, &err), NANO_OK, "%s", err.message);
        cr_assert_eq(nano_gguf_open(&again, path, &err), NANO_OK, "%s", err.message);
        expect_equal(&weights, &again, s->vocab_size, "saved");
        nano_weights_close(&again);
        nano_weights_close(&weights);
        nano_weights_close(&made);
        hf_remove_folder(folder);
    }
}

static void same_float(float a, double b)
{
    cr_expect_float_eq(a, (float)b, 0, "%.9g, expected %.9g", (double)a, b);
}

/* 300 x 200 in blocks of 128 x 128; weight [r, c] is stored as (r + c) % 3, the scale of block
 * [i, j] is 1 + 3 i + j, which bf16 holds exactly in all products. */
Test(hf_folder, f8_in_blocks_by_hand)
{
    enum { ROWS = 300, COLS = 200 };
    static unsigned char stored[ROWS * COLS];
    static float out[ROWS * COLS];
    static const unsigned char bits[3] = {0x00, 0x38, 0xC4}; /* 0, 1, -3 */
    static const double values[3] = {0, 1, -3};
    const float scales[6] = {1, 2, 4, 5, 7, 8};
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++)
            stored[r * COLS + c] = bits[(r + c) % 3];
    const struct nano_tensor_source source = {.type = NANO_STORED_F8_E4M3,
                                              .data = stored,
                                              .num_bytes = sizeof stored,
                                              .scales = scales,
                                              .scale_cols = 2,
                                              .block_rows = 128,
                                              .block_cols = 128};
    const struct nano_tensor tensor = {.format = NANO_FORMAT_BF16,
                                       .num_dims = 2,
                                       .dims = {COLS, ROWS, 1, 1},
                                       .num_bytes = sizeof stored * 2,
                                       .source = &source};
    nano_tensor_read_rows_f32(&tensor, 0, ROWS, out);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++)
            same_float(out[r * COLS + c],
                       values[(r + c) % 3] * (double)scales[r / 128 * 2 + c / 128]);
    uint16_t row[COLS];
    nano_tensor_read_rows(&tensor, 299, 300, row);
    cr_assert_eq(row[0], 0xC1A8); /* -3 * 7 = -21 */
}

/* Every class of bit pattern, with one scale and rows in pairs. */
Test(hf_folder, f8_values_and_rows_by_hand)
{
    static const unsigned char stored[4 * 2] = {0x01, 0x07, 0x08, 0x77, 0x7E, 0xFE, 0x40, 0xB8};
    static const double values[4][2] = {
        {0x1p-9, 7 * 0x1p-9}, {448, -448}, {0x1p-6, 240}, {2, -1}}; /* rows 0 2 1 3 as stored */
    const float scale = 0.5f;
    const struct nano_tensor_source source = {.type = NANO_STORED_F8_E4M3,
                                              .data = stored,
                                              .num_bytes = sizeof stored,
                                              .pair_rows = 4,
                                              .scales = &scale,
                                              .scale_cols = 1,
                                              .block_rows = 4,
                                              .block_cols = 2};
    const struct nano_tensor tensor = {.format = NANO_FORMAT_BF16,
                                       .num_dims = 2,
                                       .dims = {2, 4, 1, 1},
                                       .num_bytes = 16,
                                       .source = &source};
    float out[8];
    nano_tensor_read_rows_f32(&tensor, 0, 4, out);
    for (int i = 0; i < 8; i++)
        same_float(out[i], values[i / 2][i % 2] / 2);
}

/* Weights that F8 holds exactly give the logits of the BF16 folder. */
Test(hf_folder, f8_folder)
{
    struct nano_weights made, f8, bf16;
    char folder[2][64];
    tiny_model_make(&made, &tiny_shapes[5], NULL);
    for (size_t i = 0; i < made.num_tensors; i++) {
        float *values = (float *)(uintptr_t)made.tensors[i].data;
        for (size_t k = 0; k < made.tensors[i].num_bytes / sizeof *values; k++)
            values[k] = copysignf((float)(1 + k % 5) / 16, values[k]);
    }
    for (int i = 0; i < 2; i++)
        hf_make_folder(folder[i]);
    hf_write(
        &(struct hf_writer){"F8_E4M3", 2, "\"quantization_config\":{\"quant_method\":\"fp8\"},"},
        &made, folder[0]);
    hf_write(&(struct hf_writer){"BF16", 1, NULL}, &made, folder[1]);
    open_folder(&f8, folder[0]);
    open_folder(&bf16, folder[1]);
    cr_assert_not_null(nano_weights_find(&f8, "blk.0.ffn_up.weight")->source);
    expect_equal(&f8, &bf16, tiny_shapes[5].vocab_size, "f8");
    nano_weights_close(&f8);
    nano_weights_close(&bf16);
    nano_weights_close(&made);
    for (int i = 0; i < 2; i++)
        hf_remove_folder(folder[i]);
}

static void write_tiny(const char *folder, const char *extra, int num_shards)
{
    struct nano_weights made;
    tiny_model_make(&made, &tiny_shapes[5], NULL);
    hf_write(&(struct hf_writer){"F32", num_shards, extra}, &made, folder);
    nano_weights_close(&made);
}

static void expect_refused(const char *folder, const char *expected)
{
    struct nano_weights weights;
    struct nano_error err = {0};
    const enum nano_status status = nano_hf_folder_open(&weights, folder, &err);
    cr_expect_neq(status, NANO_OK, "%s", expected);
    cr_expect(strstr(err.message, expected), "'%s' is not in '%s'", expected, err.message);
    if (status == NANO_OK)
        nano_weights_close(&weights);
}

Test(hf_folder, bad_config)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"[]", "config.json: is no JSON object"},
        {"{", "config.json: line 1"},
        {"{}", "config.json: architectures is missing"},
        {"{\"architectures\":[\"FooForCausalLM\"]}", "class 'FooForCausalLM' is unknown"},
        {"{\"model_type\":\"foo\"}", "model_type 'foo' is unknown"},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":\"x\"}",
         "config.json: hidden_size is no integer"},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":0}", "hidden_size is 0, expected 1"},
        {"{\"model_type\":\"qwen3\",\"rms_norm_eps\":7}", "rms_norm_eps is 7"},
        {"{\"model_type\":\"qwen3\",\"tie_word_embeddings\":1}",
         "tie_word_embeddings is neither true nor false"},
        {"{\"model_type\":\"qwen3\",\"hidden_act\":\"gelu\"}", "hidden_act 'gelu'"},
        {"{\"model_type\":\"qwen3\",\"rope_scaling\":{\"rope_type\":\"foo\"}}",
         "rope_scaling: rope_type 'foo' is not supported"},
        {"{\"model_type\":\"qwen3\",\"rope_scaling\":7}", "rope_scaling is no object"},
        {"{\"model_type\":\"qwen3\",\"quantization_config\":{\"quant_method\":\"gptq\"}}",
         "quant_method 'gptq' is not supported"},
        {"{\"model_type\":\"qwen3\",\"quantization_config\":{\"quant_method\":"
         "\"compressed-tensors\",\"format\":\"pack-quantized\"}}",
         "format 'pack-quantized' is not supported"},
        {"{\"model_type\":\"qwen3\",\"vocab_size\":53,\"hidden_size\":30}",
         "shape [53, 28], expected [53, 30] (vocab_size, hidden_size of "},
        {"{\"model_type\":\"qwen3\",\"vocab_size\":54,\"hidden_size\":28}",
         "model.safetensors: tensor 'model.embed_tokens.weight': shape [53, 28], expected [54, "
         "28]"},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":28,\"head_dim\":8,\"num_attention_heads\":6,"
         "\"num_key_value_heads\":2,\"intermediate_size\":36,\"num_hidden_layers\":4}",
         "tensor 'model.layers.3.input_layernorm.weight' is missing"},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":28,\"head_dim\":8,\"num_attention_heads\":6,"
         "\"num_key_value_heads\":2,\"intermediate_size\":36,\"num_hidden_layers\":2}",
         "tensor 'model.layers.2.input_layernorm.weight' is no part of Qwen3ForCausalLM"},
        {"{\"model_type\":\"gemma2\",\"hidden_activation\":\"gelu\"}", "hidden_act 'gelu'"},
        {"{\"model_type\":\"gemma2\",\"sliding_window\":0}", "sliding_window is 0, expected 1"},
        {"{\"model_type\":\"gemma3_text\",\"num_hidden_layers\":2,\"layer_types\":"
         "[\"full_attention\"]}",
         "layer_types has 1 elements, expected 2"},
        {"{\"model_type\":\"gemma3_text\",\"num_hidden_layers\":1,\"layer_types\":[\"mamba\"]}",
         "layer_types[0] is unknown"},
        {"{\"model_type\":\"gemma3_text\",\"attn_logit_softcapping\":50}",
         "attn_logit_softcapping is not supported"},
        {"{\"model_type\":\"phi3\",\"rope_scaling\":{\"type\":\"longrope\",\"long_factor\":[1],"
         "\"short_factor\":[1,2]}}",
         "long_factor and short_factor have 1 and 2 elements, expected 48"},
        {"{\"model_type\":\"smollm3\",\"no_rope_layers\":[1,0]}", "no_rope_layers[1]"},
        {"{\"architectures\":[\"Mistral3ForConditionalGeneration\"],\"text_config\":"
         "{\"model_type\":\"foo\"}}",
         "model_type 'foo' of Mistral3ForConditionalGeneration is unknown"},
        {"{\"model_type\":\"granite\",\"logits_scaling\":0}", "logits_scaling is 0"},
    };
    char folder[64];
    hf_make_folder(folder);
    write_tiny(folder, NULL, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hf_write_file(folder, "config.json", cases[i].text, strlen(cases[i].text));
        expect_refused(folder, cases[i].expected);
    }
    hf_remove_folder(folder);
}

static int64_t context_of(const char *folder, const char *text)
{
    struct nano_weights weights;
    int64_t context = 0;
    hf_write_file(folder, "config.json", text, strlen(text));
    open_folder(&weights, folder);
    cr_assert_eq(nano_meta_get_int(&weights, "llama.context_length", 0, INT64_MAX, &context, NULL),
                 NANO_OK);
    nano_weights_close(&weights);
    return context;
}

/* Mistral's window is 4096 unless config.json has another, or null: then there is none. */
Test(hf_folder, window_and_defaults)
{
#define SIZES                                                                                  \
    "{\"architectures\":[\"MistralForCausalLM\"],\"hidden_size\":32,\"intermediate_size\":17," \
    "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":2,"             \
    "\"vocab_size\":33,\"max_position_embeddings\":32768,\"tie_word_embeddings\":true"
    struct nano_weights made, weights;
    char folder[64];
    double value = 0;
    hf_make_folder(folder);
    tiny_model_make(&made, &tiny_shapes[2], NULL);
    hf_write(&(struct hf_writer){"F16", 1, NULL}, &made, folder);
    cr_expect_eq(context_of(folder, SIZES "}"), 4096);
    cr_expect_eq(context_of(folder, SIZES ",\"sliding_window\":1024}"), 1024);
    cr_expect_eq(context_of(folder, SIZES ",\"sliding_window\":null}"), 32768);
    open_folder(&weights, folder);
    nano_meta_get_float(&weights, "llama.rope.freq_base", &value, NULL);
    cr_expect_eq(value, 10000);
    nano_meta_get_float(&weights, "llama.attention.layer_norm_rms_epsilon", &value, NULL);
    same_float((float)value, 1e-6);
    nano_weights_close(&weights);
    nano_weights_close(&made);
    hf_remove_folder(folder);
#undef SIZES
}

static void remove_file(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(unlink(path), 0);
}

Test(hf_folder, incomplete_folders)
{
    static const char index[] = "{\"weight_map\":{\"foo\":\"model-00001-of-00002.safetensors\"}}";
    static const char outside[] = "{\"weight_map\":{\"foo\":\"../model.safetensors\"}}";
    static const char index_name[] = "model.safetensors.index.json";
    char folder[64];
    hf_make_folder(folder);
    expect_refused(folder, "has neither model.safetensors nor model.safetensors.index.json");
    hf_write_file(folder, "pytorch_model.bin", "", 0);
    expect_refused(folder, "pytorch_model.bin, expected model.safetensors");
    write_tiny(folder, NULL, 2);
    remove_file(folder, "model-00002-of-00002.safetensors");
    expect_refused(folder, "weight_map: shard 'model-00002-of-00002.safetensors' is missing");
    hf_write_file(folder, index_name, index, sizeof index - 1);
    expect_refused(folder, "index.json: weight_map: tensor 'foo' is not in 'model-00001-of-00002");
    hf_write_file(folder, index_name, outside, sizeof outside - 1);
    expect_refused(folder, "weight_map of 'foo' is no name of a file");
    hf_write_file(folder, index_name, "{}", 2);
    expect_refused(folder, "weight_map is missing");
    remove_file(folder, "config.json");
    expect_refused(folder, "config.json is missing");
    hf_remove_folder(folder);
}

Test(hf_folder, generation_config)
{
    static const char text[] = "{\"eos_token_id\":[7,9],\"bos_token_id\":3,\"temperature\":0.6,"
                               "\"top_k\":20,\"top_p\":0.95,\"max_length\":512}";
    struct nano_weights weights;
    char folder[64];
    int64_t id = 0, top_k = 0;
    double temperature = 0;
    hf_make_folder(folder);
    write_tiny(folder, NULL, 1);
    hf_write_file(folder, "generation_config.json", text, sizeof text - 1);
    open_folder(&weights, folder);
    nano_meta_get_int(&weights, "tokenizer.ggml.eos_token_id", 0, 100, &id, NULL);
    nano_meta_get_int(&weights, "general.sampling.top_k", 0, 100, &top_k, NULL);
    nano_meta_get_float(&weights, "general.sampling.temp", &temperature, NULL);
    const struct nano_meta *ids = nano_weights_meta(&weights, "tokenizer.ggml.eos_token_ids");
    cr_assert_eq(id, 7);
    cr_assert_eq(top_k, 20);
    same_float((float)temperature, 0.6);
    cr_assert_not_null(ids);
    cr_assert_eq(ids->num_elements, 2);
    cr_assert_eq(nano_meta_array_int(ids, 1), 9);
    nano_weights_close(&weights);
    hf_write_file(folder, "generation_config.json", "{\"eos_token_id\":[-7]}", 21);
    expect_refused(folder, "generation_config.json: eos_token_id is no list");
    hf_remove_folder(folder);
}

Test(hf_folder, without_memory)
{
    char folder[64];
    struct nano_weights weights;
    enum nano_status status = NANO_ERR_NO_MEMORY;
    hf_make_folder(folder);
    write_tiny(folder, NULL, 2);
    uint64_t n = 0;
    while (status != NANO_OK) {
        struct nano_error err = {0};
        nano_mem_fail_after(++n);
        status = nano_hf_folder_open(&weights, folder, &err);
        nano_mem_fail_after(0);
        cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY, "%s", err.message);
        cr_assert_lt(n, 100);
    }
    cr_assert_gt(n, 5);
    nano_weights_close(&weights);
    hf_remove_folder(folder);
}

/* ---- with the shared data ---- */

static const char *data_path(char *out, size_t bytes, const char *relative)
{
    const char *data = getenv("NANOVLLM_TEST_DATA");
    if (!data)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    snprintf(out, bytes, "%s/zoo/%s", data, relative);
    return out;
}

Test(hf_folder, stories_are_equal_to_the_bit)
{
    static const char *const folders[] = {"stories260K-hf", "stories260K-hf-sharded"};
    struct nano_weights gguf, weights;
    struct nano_error err = {0};
    char path[1024];
    cr_assert_eq(nano_gguf_open(&gguf, data_path(path, sizeof path, "stories260K-F32.gguf"), &err),
                 NANO_OK, "%s", err.message);
    for (int i = 0; i < 2; i++) {
        open_folder(&weights, data_path(path, sizeof path, folders[i]));
        expect_equal(&gguf, &weights, 512, folders[i]);
        nano_weights_close(&weights);
    }
    nano_weights_close(&gguf);
}

/* Worst relative difference from the golden's first sequence. */
static double golden_difference(const struct nano_weights *weights, const json_t *golden)
{
    const json_t *sequence = json_array_get(json_object_get(golden, "sequences"), 0);
    const json_t *positions = json_object_get(sequence, "positions"),
                 *rows = json_object_get(sequence, "logits"),
                 *ids = json_object_get(sequence, "tokens");
    int32_t tokens[64];
    int64_t vocab;
    const int n = (int)(json_array_size(ids) < 64 ? json_array_size(ids) : 64);
    for (int i = 0; i < n; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    float *got = logits_of(weights, tokens, n, &vocab);
    double *want = malloc((size_t)vocab * sizeof *want), worst = -1;
    for (size_t i = 0; i < json_array_size(positions); i++) {
        const int64_t position = json_integer_value(json_array_get(positions, i));
        for (int64_t k = 0; k < vocab; k++)
            want[k] = json_number_value(json_array_get(json_array_get(rows, i), (size_t)k));
        if (position < n)
            worst = fmax(worst, harness_difference(got + position * vocab, want, (size_t)vocab));
    }
    free(want);
    free(got);
    return worst;
}

Test(hf_folder, zoo_has_the_golden_logits)
{
    static const struct {
        const char *name, *config;
    } models[] = {{"llama", NULL},
                  {"llama3-tied",
                   "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":"
                   "1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":64},"},
                  {"qwen2", NULL},
                  {"qwen3", NULL}};
    static const struct {
        const char *dtype;
        double tolerance;
    } types[] = {{"F32", 1e-4}, {"BF16", 1e-4}, {"F16", 1e-4}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[1024], relative[128], folder[64];
        struct nano_weights gguf, weights;
        struct nano_error err = {0};
        snprintf(relative, sizeof relative, "golden/%s.json", models[i].name);
        json_t *golden = json_load_file(data_path(path, sizeof path, relative), 0, NULL);
        cr_assert_not_null(golden, "%s", path);
        data_path(path, sizeof path, json_string_value(json_object_get(golden, "model")));
        cr_assert_eq(nano_gguf_open(&gguf, path, &err), NANO_OK, "%s", err.message);
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
            hf_make_folder(folder);
            hf_write(&(struct hf_writer){types[k].dtype, 1, models[i].config}, &gguf, folder);
            open_folder(&weights, folder);
            const double worst = golden_difference(&weights, golden);
            printf("%s in %s: worst relative difference %.2g\n", models[i].name, types[k].dtype,
                   worst);
            cr_expect(worst >= 0 && worst <= types[k].tolerance, "%s in %s: %g", models[i].name,
                      types[k].dtype, worst);
            nano_weights_close(&weights);
            hf_remove_folder(folder);
        }
        nano_weights_close(&gguf);
        json_decref(golden);
    }
}
