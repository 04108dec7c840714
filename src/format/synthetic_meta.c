/* Synthetic weights: the keys that llama.cpp's loader asks for, and a vocabulary that can encode
 * any text: all bytes, a few merges, the model's special tokens at their published ids, and
 * fillers. */
#include "format/synthetic_meta.h"

#include <stdio.h>
#include <string.h>

#include "base/byte_char.h"
#include "base/utf8.h"
#include "format/little_endian.h"
#include "format/meta_build.h"

#define NUM_BYTES 256

enum token_type { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_UNUSED = 5 }; /* as llama.cpp's */

struct special_token {
    int id;
    const char *text;
};

static const struct special_token qwen_specials[] = {
    {151643, "<|endoftext|>"}, {151644, "<|im_start|>"}, {151645, "<|im_end|>"}, {-1, NULL}};
static const struct special_token llama_specials[] = {
    {128000, "<|begin_of_text|>"}, {128001, "<|end_of_text|>"}, {128006, "<|start_header_id|>"},
    {128007, "<|end_header_id|>"}, {128009, "<|eot_id|>"},      {-1, NULL}};
static const struct special_token small_specials[] = {{31998, "<s>"}, {31999, "</s>"}, {-1, NULL}};
static const struct special_token qwen35_specials[] = {
    {248044, "<|endoftext|>"}, {248045, "<|im_start|>"}, {248046, "<|im_end|>"}, {-1, NULL}};
/* Published as 0, which is a byte here; what is padding there has no text. */
static const struct special_token neox_specials[] = {{50287, "<|endoftext|>"}, {-1, NULL}};

/* What depends on the pre-tokenizer, that is, on the family of the tokenizer. */
static const struct vocabulary {
    const char *pre_tokenizer;
    const struct special_token *specials;
    uint32_t bos, eos;
    bool add_bos;
} vocabularies[] = {
    {"qwen2", qwen_specials, 151643, 151645, false},
    {"qwen35", qwen35_specials, 248044, 248046, false},
    {"olmo", neox_specials, 50287, 50287, false},
    {"llama-bpe", llama_specials, 128000, 128009, true},
    {"gpt-2", small_specials, 31998, 31999, true},
};

/* Pairs of GPT-2's byte characters (U+0120 stands for the space); what they give are the tokens
 * after the bytes. */
static const char *const merges[][2] = {{"\xC4\xA0", "t"},   {"\xC4\xA0", "a"}, {"h", "e"},
                                        {"i", "n"},          {"r", "e"},        {"o", "n"},
                                        {"\xC4\xA0t", "he"}, {"e", "r"}};
#define NUM_MERGES (sizeof merges / sizeof *merges)

static void add_tokens(struct nano_meta_builder *b, const struct nano_synthetic_shape *shape,
                       const struct vocabulary *vocabulary)
{
    size_t count = (size_t)shape->vocab_size;
    struct nano_string *tokens = nano_meta_add_strings(b, "tokenizer.ggml.tokens", count);
    uint8_t *types = nano_meta_add_numbers(b, "tokenizer.ggml.token_type", NANO_META_I32, count);
    if (!tokens || !types)
        return;
    const struct special_token *special = vocabulary->specials;
    for (size_t id = 0; id < count && !b->failed; id++) {
        char text[32];
        enum token_type type = TOKEN_NORMAL;
        if (id < NUM_BYTES) {
            text[nano_utf8_encode(nano_byte_char((unsigned char)id), text)] = '\0';
        } else if (id < NUM_BYTES + NUM_MERGES) {
            const char *const *pair = merges[id - NUM_BYTES];
            snprintf(text, sizeof text, "%s%s", pair[0], pair[1]);
        } else if ((int)id == special->id) {
            type = TOKEN_CONTROL;
            snprintf(text, sizeof text, "%s", special++->text);
        } else {
            type = TOKEN_UNUSED;
            snprintf(text, sizeof text, "<unused_%zu>", id);
        }
        nano_meta_copy_string(b, &tokens[id], text, strlen(text));
        nano_le_store(types + 4 * id, type, 4);
    }
}

static void add_tokenizer(struct nano_meta_builder *b, const struct nano_synthetic_shape *shape)
{
    const struct vocabulary *vocabulary = vocabularies;
    while (strcmp(vocabulary->pre_tokenizer, shape->pre_tokenizer) != 0)
        vocabulary++;
    nano_meta_add_cstring(b, "tokenizer.ggml.model", "gpt2");
    nano_meta_add_cstring(b, "tokenizer.ggml.pre", shape->pre_tokenizer);
    add_tokens(b, shape, vocabulary);
    struct nano_string *pairs = nano_meta_add_strings(b, "tokenizer.ggml.merges", NUM_MERGES);
    for (size_t i = 0; i < NUM_MERGES && pairs; i++) {
        char text[32];
        snprintf(text, sizeof text, "%s %s", merges[i][0], merges[i][1]);
        nano_meta_copy_string(b, &pairs[i], text, strlen(text));
    }
    nano_meta_add_u32(b, "tokenizer.ggml.bos_token_id", vocabulary->bos);
    nano_meta_add_u32(b, "tokenizer.ggml.eos_token_id", vocabulary->eos);
    nano_meta_add_bool(b, "tokenizer.ggml.add_bos_token", vocabulary->add_bos);
}

static void add_attention(struct nano_meta_builder *b, const struct nano_synthetic_shape *shape)
{
    const int rope_dims = shape->rope_dims ? shape->rope_dims : shape->head_dim;
    nano_meta_add_u32(b, ".attention.head_count_kv", (uint32_t)shape->num_kv_heads);
    nano_meta_add_u32(b, ".attention.key_length", (uint32_t)shape->head_dim);
    nano_meta_add_u32(b, ".attention.value_length", (uint32_t)shape->head_dim);
    nano_meta_add_u32(b, ".rope.dimension_count", (uint32_t)rope_dims);
    nano_meta_add_f32(b, ".rope.freq_base", shape->rope_theta);
}

static void add_recurrence(struct nano_meta_builder *b, const struct nano_synthetic_shape *shape)
{
    nano_meta_add_u32(b, ".ssm.conv_kernel", (uint32_t)shape->conv_kernel);
    nano_meta_add_u32(b, ".ssm.inner_size", (uint32_t)shape->inner_size);
    nano_meta_add_u32(b, ".ssm.state_size", (uint32_t)shape->state_size);
    nano_meta_add_u32(b, ".ssm.time_step_rank", (uint32_t)shape->num_state_heads);
    nano_meta_add_u32(b, ".ssm.group_count", (uint32_t)shape->num_state_groups);
    if (!shape->num_heads)
        return;
    nano_meta_add_u32(b, ".full_attention_interval", (uint32_t)shape->full_attention_interval);
    uint8_t *sections = nano_meta_add_numbers(b, ".rope.dimension_sections", NANO_META_I32, 4);
    const int pairs = shape->rope_dims / 2, third = pairs / 3;
    for (int i = 0; i < 3 && sections; i++)
        nano_le_store(sections + 4 * i, (uint64_t)(third + (i < pairs % 3)), 4);
    if (sections)
        nano_le_store(sections + 12, 0, 4);
}

bool nano_synthetic_metadata(struct nano_weights *weights, const struct nano_synthetic_shape *shape,
                             enum nano_mix_id mix)
{
    struct nano_meta_builder b = {.weights = weights, .architecture = shape->architecture};
    char title[64];
    snprintf(title, sizeof title, "%s (random weights)", shape->title);
    nano_meta_add_cstring(&b, "general.architecture", shape->architecture);
    nano_meta_add_cstring(&b, "general.type", "model");
    nano_meta_add_cstring(&b, "general.name", title);
    nano_meta_add_u32(&b, "general.file_type", nano_quant_mix(mix)->file_type);
    nano_meta_add_u32(&b, "general.quantization_version", 2);
    nano_meta_add_u32(&b, ".vocab_size", (uint32_t)shape->vocab_size);
    nano_meta_add_u32(&b, ".context_length", (uint32_t)shape->context_length);
    nano_meta_add_u32(&b, ".embedding_length", (uint32_t)shape->hidden_size);
    nano_meta_add_u32(&b, ".block_count", (uint32_t)shape->num_layers);
    nano_meta_add_u32(&b, ".feed_forward_length", (uint32_t)shape->intermediate_size);
    if (shape->num_experts) {
        nano_meta_add_u32(&b, ".expert_count", (uint32_t)shape->num_experts);
        nano_meta_add_u32(&b, ".expert_used_count", (uint32_t)shape->num_experts_used);
    }
    nano_meta_add_u32(&b, ".attention.head_count", (uint32_t)shape->num_heads);
    nano_meta_add_f32(&b, ".attention.layer_norm_rms_epsilon", shape->rms_norm_eps);
    if (shape->num_heads)
        add_attention(&b, shape);
    if (shape->inner_size)
        add_recurrence(&b, shape);
    add_tokenizer(&b, shape);
    return !b.failed;
}
