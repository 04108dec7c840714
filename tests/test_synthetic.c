/* synthetic: shapes, formats, values and vocabulary of models that are made in memory. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "format/gguf.h"
#include "format/little_endian.h"
#include "format/synthetic.h"
#include "format/synthetic_fill.h"
#include "format/synthetic_shape.h"
#include "simd/kernels.h"

static void open_spec(struct nano_weights *weights, const char *spec, uint64_t seed)
{
    struct nano_error err;
    cr_assert_eq(nano_synthetic_open(weights, spec, seed, &err), NANO_OK, "%s", err.message);
}

static int64_t get(const struct nano_weights *weights, const char *key)
{
    int64_t value = -1;
    struct nano_error err;
    cr_assert_eq(nano_meta_get_int(weights, key, 0, INT32_MAX, &value, &err), NANO_OK, "%s",
                 err.message);
    return value;
}

static int64_t num_params(const struct nano_weights *weights)
{
    int64_t total = 0;
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor *tensor = &weights->tensors[i];
        if (strcmp(tensor->name.bytes, "rope_freqs.weight") != 0)
            total += tensor->dims[0] * tensor->dims[1] * tensor->dims[2];
    }
    return total;
}

/* Megabytes of all tensors in the format. */
static double megabytes(const struct nano_weights *weights, enum nano_format format)
{
    double total = 0;
    for (size_t i = 0; i < weights->num_tensors; i++) {
        if (weights->tensors[i].format == format)
            total += (double)weights->tensors[i].num_bytes * 1e-6;
    }
    return total;
}

static void assert_format(const struct nano_weights *weights, const char *name,
                          enum nano_format format)
{
    const struct nano_tensor *tensor = nano_weights_find(weights, name);
    cr_assert_not_null(tensor, "%s", name);
    cr_assert_eq(tensor->format, format, "%s is %s", name,
                 nano_format_traits(tensor->format)->name);
}

/* Parameters as published with the models; bytes as in files that llama.cpp's quantize made. */

Test(synthetic, qwen2_q4_0_is_as_quantize_makes_it)
{
    struct nano_weights weights;
    open_spec(&weights, "qwen2-0.5b:q4_0", 1);
    cr_assert_eq(num_params(&weights), 494032768);
    cr_assert_float_eq(megabytes(&weights, NANO_FORMAT_Q8_0), 145, 1);
    cr_assert_float_eq(megabytes(&weights, NANO_FORMAT_Q4_0), 346 - 145, 1);
    assert_format(&weights, "token_embd.weight", NANO_FORMAT_Q8_0);
    assert_format(&weights, "blk.23.attn_q.bias", NANO_FORMAT_F32);
    cr_assert_null(nano_weights_find(&weights, "output.weight"));
    cr_assert_null(nano_weights_find(&weights, "rope_freqs.weight"));
    nano_weights_close(&weights);
}

Test(synthetic, qwen2_q4_k_m_falls_back)
{
    struct nano_weights weights;
    open_spec(&weights, "qwen2-0.5b:q4_k_m", 1);
    cr_assert_float_eq(megabytes(&weights, NANO_FORMAT_Q5_0), 173, 1);
    cr_assert_float_eq(megabytes(&weights, NANO_FORMAT_Q8_0), 146, 1);
    assert_format(&weights, "blk.0.attn_v.weight", NANO_FORMAT_Q8_0);
    assert_format(&weights, "blk.3.attn_v.weight", NANO_FORMAT_Q5_0);
    assert_format(&weights, "blk.2.ffn_down.weight", NANO_FORMAT_Q6_K);
    assert_format(&weights, "blk.4.ffn_down.weight", NANO_FORMAT_Q4_K);
    assert_format(&weights, "blk.5.ffn_down.weight", NANO_FORMAT_Q6_K);
    assert_format(&weights, "blk.21.ffn_down.weight", NANO_FORMAT_Q6_K);
    nano_weights_close(&weights);
}

Test(synthetic, qwen3_q4_k_m_has_a_q6_k_head)
{
    struct nano_weights weights;
    open_spec(&weights, "qwen3-0.6b:q4_k_m", 1);
    cr_assert_eq(num_params(&weights), 596049920);
    cr_assert_float_eq((double)weights.owned_bytes * 1e-6, 391, 1);
    assert_format(&weights, "token_embd.weight", NANO_FORMAT_Q6_K);
    assert_format(&weights, "blk.3.attn_q.weight", NANO_FORMAT_Q4_K);
    cr_assert_eq(nano_weights_find(&weights, "blk.27.attn_k_norm.weight")->dims[0], 128);
    cr_assert_eq(get(&weights, "qwen3.attention.key_length"), 128);
    cr_assert_eq(get(&weights, "general.file_type"), 15);
    nano_weights_close(&weights);
}

Test(synthetic, experts_are_stacked_and_the_router_is_not_quantised)
{
    struct nano_weights weights;
    open_spec(&weights, "moe-8x2:q4_0", 1);
    cr_assert_eq(num_params(&weights), 1516930048);
    assert_format(&weights, "blk.3.ffn_gate_inp.weight", NANO_FORMAT_F32);
    assert_format(&weights, "blk.3.ffn_down_exps.weight", NANO_FORMAT_Q4_0);
    const struct nano_tensor *experts = nano_weights_find(&weights, "blk.3.ffn_down_exps.weight");
    cr_assert_eq(experts->dims[0], 3584);
    cr_assert_eq(experts->dims[1], 1024);
    cr_assert_eq(experts->dims[2], 8);
    cr_assert_eq(get(&weights, "llama.expert_count"), 8);
    cr_assert_eq(get(&weights, "llama.expert_used_count"), 2);
    nano_weights_close(&weights);
}

Test(synthetic, llama_has_scaled_frequencies)
{
    struct nano_weights weights;
    open_spec(&weights, "llama-1b:q4_0", 1);
    cr_assert_eq(num_params(&weights), 1235814400);
    cr_assert_float_eq((double)weights.owned_bytes * 1e-6, 763, 2);
    assert_format(&weights, "token_embd.weight", NANO_FORMAT_Q6_K);
    const struct nano_tensor *factors = nano_weights_find(&weights, "rope_freqs.weight");
    cr_assert_eq(factors->dims[0], 32);
    float previous = 1;
    for (int i = 0; i < 32; i++) {
        float factor = nano_le_load_f32((const char *)factors->data + 4 * i);
        cr_assert_geq(factor, previous);
        previous = factor;
    }
    cr_assert_eq(nano_le_load_f32(factors->data), 1.0f);
    cr_assert_eq(previous, 32.0f);
    /* Pair 15 turns 2.78 times in 8192 positions, between the limits 1 and 4. */
    cr_assert_float_eq(nano_le_load_f32((const char *)factors->data + 60), 1.651, 0.01);
    cr_assert_eq(get(&weights, "llama.rope.dimension_count"), 64);
    cr_assert_eq(get(&weights, "tokenizer.ggml.bos_token_id"), 128000);
    nano_weights_close(&weights);
}

Test(synthetic, the_large_shapes_have_the_published_sizes)
{
    static const struct {
        const char *spec;
        int64_t num_params;
    } cases[] = {{"qwen3-4b:q4_0", 4022468096}, {"llama-8b:q4_0", 8030261248}};
    for (size_t i = 0; i < 2; i++) {
        const struct nano_synthetic_shape *s;
        enum nano_mix_id mix;
        struct nano_error err;
        cr_assert_eq(nano_synthetic_parse(cases[i].spec, &s, &mix, &err), NANO_OK);
        int64_t hidden = s->hidden_size, q = (int64_t)s->num_heads * s->head_dim;
        int64_t kv = (int64_t)s->num_kv_heads * s->head_dim;
        int64_t layer = 2 * hidden * (q + kv) + 3 * hidden * s->intermediate_size + 2 * hidden +
                        (s->qk_norm ? 2 * s->head_dim : 0);
        int64_t total = layer * s->num_layers + hidden + hidden * s->vocab_size * (s->tied ? 1 : 2);
        cr_assert_eq(total, cases[i].num_params, "%s: %lld", cases[i].spec, (long long)total);
    }
}

Test(synthetic, mamba2_has_the_published_size)
{
    struct nano_weights weights;
    open_spec(&weights, "mamba2-130m:q8_0", 1);
    int64_t num_params = 0;
    for (size_t i = 0; i < weights.num_tensors; i++)
        num_params += weights.tensors[i].dims[0] * weights.tensors[i].dims[1];
    cr_expect_eq(num_params, 128989632, "%lld", (long long)num_params);
    nano_weights_close(&weights);
}

Test(synthetic, every_format_has_the_asked_distribution)
{
    enum { ROWS = 64 };
    static const int widths[] = {1024, 14336};
    struct nano_kernels kernels;
    nano_kernels_init(&kernels, NANO_CPU_REF);
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        for (int w = 0; w < 2 && nano_synthetic_fills((enum nano_format)i); w++) {
            enum nano_format format = (enum nano_format)i;
            const char *name = nano_format_traits(format)->name;
            int cols = widths[w];
            float target = 1.0f / sqrtf((float)cols);
            uint8_t *data = malloc(ROWS * nano_format_row_bytes(format, cols));
            float *row = malloc((size_t)cols * sizeof *row);
            double sum = 0, squares = 0, count = (double)ROWS * cols;
            nano_synthetic_fill(data, format, ROWS, cols, target, 99);
            for (int r = 0; r < ROWS; r++) {
                kernels.linear[i].get_row(row, data, ROWS, cols, r);
                for (int c = 0; c < cols; c++) {
                    cr_assert(isfinite(row[c]), "%s", name);
                    sum += (double)row[c];
                    squares += (double)row[c] * (double)row[c];
                }
            }
            double deviation = sqrt(squares / count) / (double)target;
            /* Floats come in powers of two; the others are within their scales' variation. */
            double low = nano_format_traits(format)->block_length == 1 ? 0.5 : 0.9;
            cr_assert(deviation >= low && deviation < 1.1, "%s %d: %f", name, cols, deviation);
            cr_assert_lt(fabs(sum / count) / (double)target, 0.04, "%s %d", name, cols);
            free(row);
            free(data);
        }
    }
}

Test(synthetic, rows_differ_and_repeat_from_the_key)
{
    enum { COLS = 896 };
    uint8_t a[4][COLS / 32 * 18], b[4][COLS / 32 * 18];
    nano_synthetic_fill(a, NANO_FORMAT_Q4_0, 4, COLS, 0.03f, 5);
    nano_synthetic_fill(b, NANO_FORMAT_Q4_0, 4, COLS, 0.03f, 5);
    cr_assert_eq(memcmp(a, b, sizeof a), 0);
    nano_synthetic_fill(b, NANO_FORMAT_Q4_0, 4, COLS, 0.03f, 6);
    for (int i = 0; i < 4; i++) {
        cr_assert_neq(memcmp(a[i], a[(i + 1) % 4], sizeof *a), 0);
        cr_assert_neq(memcmp(a[i], b[i], sizeof *a), 0);
    }
}

Test(synthetic, models_repeat_from_the_seed_and_save)
{
    struct nano_weights first, second;
    struct nano_error err;
    char path[] = "/tmp/nano_test_synthetic_XXXXXX";
    open_spec(&first, "qwen3-0.6b:q2_k", 7);
    open_spec(&second, "qwen3-0.6b:q2_k", 7);
    cr_assert_eq(first.owned_bytes, second.owned_bytes);
    cr_assert_eq(memcmp(first.owned_data, second.owned_data, first.owned_bytes), 0);
    nano_weights_close(&second);
    open_spec(&second, "qwen3-0.6b:q2_k", 8);
    for (size_t i = 0; i < first.num_tensors; i++)
        cr_assert_neq(memcmp(first.tensors[i].data, second.tensors[i].data, 256), 0, "%s",
                      first.tensors[i].name.bytes);
    nano_weights_close(&second);

    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_assert_eq(nano_gguf_save(&first, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_gguf_open(&second, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(second.num_tensors, first.num_tensors);
    cr_assert_eq(second.num_metadata, first.num_metadata);
    for (size_t i = 0; i < first.num_tensors; i++)
        cr_assert_eq(
            memcmp(first.tensors[i].data, second.tensors[i].data, first.tensors[i].num_bytes), 0);
    nano_weights_close(&second);
    nano_weights_close(&first);
    unlink(path);
}

static bool is_token(const struct nano_meta *tokens, size_t id, const char *text)
{
    const struct nano_string *token = &tokens->strings[id];
    return token->num_bytes == strlen(text) && memcmp(token->bytes, text, token->num_bytes) == 0;
}

Test(synthetic, the_vocabulary_can_spell_every_byte)
{
    struct nano_weights weights;
    open_spec(&weights, "qwen3-0.6b:q2_k", 1);
    const struct nano_meta *tokens = nano_weights_meta(&weights, "tokenizer.ggml.tokens");
    const struct nano_meta *types = nano_weights_meta(&weights, "tokenizer.ggml.token_type");
    const struct nano_meta *merges = nano_weights_meta(&weights, "tokenizer.ggml.merges");
    cr_assert_eq(tokens->num_elements, 151936);
    cr_assert_eq(types->num_elements, 151936);
    cr_assert_gt(merges->num_elements, 0);
    cr_assert_eq(get(&weights, "qwen3.vocab_size"), 151936);
    cr_assert(is_token(tokens, 'A', "A"));
    cr_assert(is_token(tokens, ' ', "\xC4\xA0"));  /* U+0120 */
    cr_assert(is_token(tokens, '\n', "\xC4\x8A")); /* U+010A */
    cr_assert(is_token(tokens, 0, "\xC4\x80"));    /* U+0100 */
    cr_assert(is_token(tokens, 0xAD, "\xC5\x83")); /* U+0143, the last of the unprintable ones */
    cr_assert(is_token(tokens, 0xFF, "\xC3\xBF"));
    cr_assert(is_token(tokens, 151645, "<|im_end|>"));
    cr_assert(is_token(tokens, 151935, "<unused_151935>"));
    cr_assert_eq(nano_meta_array_int(types, 0), 1);
    cr_assert_eq(nano_meta_array_int(types, 151645), 3);
    cr_assert_eq(nano_meta_array_int(types, 151935), 5);
    for (size_t i = 0; i < merges->num_elements; i++) { /* each gives a token */
        char joined[64];
        size_t length = 0;
        for (size_t k = 0; k < merges->strings[i].num_bytes; k++) {
            if (merges->strings[i].bytes[k] != ' ')
                joined[length++] = merges->strings[i].bytes[k];
        }
        joined[length] = '\0';
        cr_assert(is_token(tokens, 256 + i, joined), "%s", joined);
    }
    nano_weights_close(&weights);
}

Test(synthetic, unknown_specs_list_the_known_ones)
{
    struct nano_weights weights;
    struct nano_error err;
    cr_assert_eq(nano_synthetic_open(&weights, "gpt-9:q4_0", 0, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_assert_str_eq(err.message,
                     "synthetic model 'gpt-9:q4_0': shape 'gpt-9' is unknown, expected one of "
                     "qwen2-0.5b qwen3-0.6b qwen35-0.8b mamba2-130m llama-1b qwen3-4b llama-8b "
                     "moe-8x2");
    cr_assert_eq(nano_synthetic_open(&weights, "qwen2-0.5:q4_0", 0, &err),
                 NANO_ERR_INVALID_ARGUMENT);
    cr_assert_eq(nano_synthetic_open(&weights, "", 0, &err), NANO_ERR_INVALID_ARGUMENT);
    static const char *const specs[] = {"llama-1b:q9_0", "llama-1b", "llama-1b:"};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(nano_synthetic_open(&weights, specs[i], 0, &err), NANO_ERR_INVALID_ARGUMENT);
        cr_assert_not_null(strstr(err.message, " Q4_K_M "), "%s", err.message);
        cr_assert_not_null(strstr(err.message, " IQ4_XS "), "%s", err.message);
    }
}

Test(synthetic, any_failed_allocation_is_an_error_without_a_leak)
{
    struct nano_weights weights;
    struct nano_error err;
    enum nano_status status = NANO_ERR_NO_MEMORY;
    for (uint64_t n = 1; status != NANO_OK; n++) {
        nano_mem_fail_after(n);
        status = nano_synthetic_open(&weights, "qwen3-0.6b:q2_k", 1, &err);
        nano_mem_fail_after(0);
        cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY, "%s", err.message);
        cr_assert_lt(n, 200);
    }
    nano_weights_close(&weights);
}
