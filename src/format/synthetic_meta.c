/* Synthetic weights: the keys that llama.cpp's loader asks for, and a vocabulary that can encode
 * any text: all bytes, a few merges, the model's special tokens at their published ids, and
 * fillers. */
#include "format/synthetic_meta.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "format/little_endian.h"

#define MAX_KEYS 48
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

/* What depends on the pre-tokenizer, that is, on the family of the tokenizer. */
static const struct vocabulary {
    const char *pre_tokenizer;
    const struct special_token *specials;
    uint32_t bos, eos;
    bool add_bos;
} vocabularies[] = {
    {"qwen2", qwen_specials, 151643, 151645, false},
    {"llama-bpe", llama_specials, 128000, 128009, true},
};

/* Pairs of GPT-2's byte characters (U+0120 stands for the space); what they give are the tokens
 * after the bytes. */
static const char *const merges[][2] = {{"\xC4\xA0", "t"},   {"\xC4\xA0", "a"}, {"h", "e"},
                                        {"i", "n"},          {"r", "e"},        {"o", "n"},
                                        {"\xC4\xA0t", "he"}, {"e", "r"}};
#define NUM_MERGES (sizeof merges / sizeof *merges)

struct builder {
    struct nano_weights *weights;
    const char *architecture;
    bool failed; /* there was no memory: checked once, at the end */
};

static void set_string(struct builder *b, struct nano_string *out, const char *text)
{
    out->num_bytes = strlen(text);
    out->bytes = nano_arena_strdup(&b->weights->arena, text, out->num_bytes);
    if (!out->bytes) {
        out->num_bytes = 0;
        b->failed = true;
    }
}

/* A key that begins with '.' gets the architecture before it. */
static struct nano_meta *add(struct builder *b, const char *key, enum nano_meta_type type)
{
    char full[96];
    assert(b->weights->num_metadata < MAX_KEYS);
    struct nano_meta *meta = &b->weights->metadata[b->weights->num_metadata++];
    snprintf(full, sizeof full, "%s%s", *key == '.' ? b->architecture : "", key);
    set_string(b, &meta->key, full);
    meta->type = type;
    return meta;
}

static void add_string(struct builder *b, const char *key, const char *value)
{
    set_string(b, &add(b, key, NANO_META_STRING)->value.string, value);
}

static void add_u32(struct builder *b, const char *key, uint32_t value)
{
    add(b, key, NANO_META_U32)->value.u = value;
}

static void add_f32(struct builder *b, const char *key, float value)
{
    add(b, key, NANO_META_F32)->value.f = (double)value;
}

static struct nano_string *add_strings(struct builder *b, const char *key, size_t count)
{
    struct nano_meta *meta = add(b, key, NANO_META_ARRAY);
    struct nano_string *strings = nano_arena_alloc(&b->weights->arena, count, sizeof *strings);
    meta->element_type = NANO_META_STRING;
    meta->strings = strings;
    meta->num_elements = strings ? count : 0;
    b->failed |= !strings;
    return strings;
}

/* GPT-2 writes bytes that do not print as characters from U+0100 on, in the order of the bytes. */
static void byte_name(int byte, char out[5])
{
    uint32_t next = 0x100, name = 0;
    for (int b = 0; b <= byte; b++) {
        bool prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        name = prints ? (uint32_t)b : next++;
    }
    out[nano_utf8_encode(name, out)] = '\0';
}

static void add_tokens(struct builder *b, const struct nano_synthetic_shape *shape,
                       const struct vocabulary *vocabulary)
{
    size_t count = (size_t)shape->vocab_size;
    struct nano_string *tokens = add_strings(b, "tokenizer.ggml.tokens", count);
    struct nano_meta *meta = add(b, "tokenizer.ggml.token_type", NANO_META_ARRAY);
    uint8_t *types = nano_arena_alloc(&b->weights->arena, count, 4);
    meta->element_type = NANO_META_I32;
    meta->elements = types;
    meta->num_elements = types ? count : 0;
    if (!tokens || !types) {
        b->failed = true;
        return;
    }
    const struct special_token *special = vocabulary->specials;
    for (size_t id = 0; id < count && !b->failed; id++) {
        char text[32];
        enum token_type type = TOKEN_NORMAL;
        if (id < NUM_BYTES) {
            byte_name((int)id, text);
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
        set_string(b, &tokens[id], text);
        nano_le_store(types + 4 * id, type, 4);
    }
}

static void add_tokenizer(struct builder *b, const struct nano_synthetic_shape *shape)
{
    const struct vocabulary *vocabulary = vocabularies;
    while (strcmp(vocabulary->pre_tokenizer, shape->pre_tokenizer) != 0)
        vocabulary++;
    add_string(b, "tokenizer.ggml.model", "gpt2");
    add_string(b, "tokenizer.ggml.pre", shape->pre_tokenizer);
    add_tokens(b, shape, vocabulary);
    struct nano_string *pairs = add_strings(b, "tokenizer.ggml.merges", NUM_MERGES);
    for (size_t i = 0; i < NUM_MERGES && pairs; i++) {
        char text[32];
        snprintf(text, sizeof text, "%s %s", merges[i][0], merges[i][1]);
        set_string(b, &pairs[i], text);
    }
    add_u32(b, "tokenizer.ggml.bos_token_id", vocabulary->bos);
    add_u32(b, "tokenizer.ggml.eos_token_id", vocabulary->eos);
    add(b, "tokenizer.ggml.add_bos_token", NANO_META_BOOL)->value.u = vocabulary->add_bos;
}

bool nano_synthetic_metadata(struct nano_weights *weights, const struct nano_synthetic_shape *shape,
                             const struct nano_synthetic_mix *mix)
{
    struct builder b = {.weights = weights, .architecture = shape->architecture};
    char title[64];
    weights->metadata = nano_arena_alloc(&weights->arena, MAX_KEYS, sizeof *weights->metadata);
    if (!weights->metadata)
        return false;
    snprintf(title, sizeof title, "%s (random weights)", shape->title);
    add_string(&b, "general.architecture", shape->architecture);
    add_string(&b, "general.type", "model");
    add_string(&b, "general.name", title);
    add_u32(&b, "general.file_type", mix->file_type);
    add_u32(&b, "general.quantization_version", 2);
    add_u32(&b, ".vocab_size", (uint32_t)shape->vocab_size);
    add_u32(&b, ".context_length", (uint32_t)shape->context_length);
    add_u32(&b, ".embedding_length", (uint32_t)shape->hidden_size);
    add_u32(&b, ".block_count", (uint32_t)shape->num_layers);
    add_u32(&b, ".feed_forward_length", (uint32_t)shape->intermediate_size);
    add_u32(&b, ".attention.head_count", (uint32_t)shape->num_heads);
    add_u32(&b, ".attention.head_count_kv", (uint32_t)shape->num_kv_heads);
    add_u32(&b, ".attention.key_length", (uint32_t)shape->head_dim);
    add_u32(&b, ".attention.value_length", (uint32_t)shape->head_dim);
    add_f32(&b, ".attention.layer_norm_rms_epsilon", shape->rms_norm_eps);
    add_u32(&b, ".rope.dimension_count", (uint32_t)shape->head_dim);
    add_f32(&b, ".rope.freq_base", shape->rope_theta);
    add_tokenizer(&b, shape);
    return !b.failed;
}
