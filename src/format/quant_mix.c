/* Mixes: the table of types, and what may be quantised to them. */
#include "format/quant_mix.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct nano_quant_mix mixes[NANO_NUM_MIXES] = {
#define NANO_MIX(NAME, alias, file_type, FORMAT) {#NAME, alias, file_type, NANO_FORMAT_##FORMAT},
#include "format/quant_mix.def"
#undef NANO_MIX
};

const struct nano_quant_mix *nano_quant_mix(enum nano_mix_id id)
{
    assert((unsigned)id < NANO_NUM_MIXES);
    return &mixes[id];
}

enum nano_mix_id nano_quant_mix_find(const char *name)
{
    int i = 0;
    while (i < NANO_NUM_MIXES && strcasecmp(mixes[i].name, name) != 0 &&
           !(mixes[i].alias && strcasecmp(mixes[i].alias, name) == 0))
        i++;
    return (enum nano_mix_id)i;
}

enum nano_mix_id nano_quant_mix_of_file(int64_t file_type)
{
    int i = 0;
    while (i < NANO_NUM_MIXES && mixes[i].file_type != file_type)
        i++;
    return (enum nano_mix_id)i;
}

static bool contains(const char *text, const char *const *parts, size_t num_parts)
{
    for (size_t i = 0; i < num_parts; i++) {
        if (strstr(text, parts[i]))
            return true;
    }
    return false;
}

enum nano_tensor_role nano_tensor_role(const char *name)
{
    static const struct {
        const char *part;
        enum nano_tensor_role role;
    } parts[] = {
        {"attn_qkv.weight", NANO_ROLE_ATTN_V}, {"attn_kv_b.weight", NANO_ROLE_ATTN_V},
        {"attn_v.weight", NANO_ROLE_ATTN_V},   {"attn_k.weight", NANO_ROLE_ATTN_K},
        {"attn_q.weight", NANO_ROLE_ATTN_Q},   {"attn_output.weight", NANO_ROLE_ATTN_OUTPUT},
        {"ffn_up", NANO_ROLE_FFN_UP},          {"ffn_gate", NANO_ROLE_FFN_GATE},
        {"ffn_down", NANO_ROLE_FFN_DOWN},
    };
    if (strcmp(name, "output.weight") == 0)
        return NANO_ROLE_HEAD;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return NANO_ROLE_EMBEDDING;
    for (size_t i = 0; i < COUNT(parts); i++) {
        if (strstr(name, parts[i].part))
            return parts[i].role;
    }
    return NANO_ROLE_OTHER;
}

bool nano_quant_allows(const struct nano_tensor *tensor)
{
    static const char *const kept[] = {
        "_norm.weight",
        /* routers and their tables */
        "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight",
        /* Gemma 3n */
        "altup", "laurel", "per_layer_model_proj",
        /* convolutions and state spaces */
        "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
        /* RWKV */
        "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
        "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight",
        "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight",
        "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
        /* positions of T5, and what looks at images and hears */
        "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos",
        ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd"};
    static const char suffix[] = "weight";
    const char *name = tensor->name.bytes;
    const size_t length = tensor->name.num_bytes, suffix_length = sizeof suffix - 1;
    if (tensor->dims[1] == 1 && tensor->dims[2] == 1 && tensor->dims[3] == 1)
        return false;
    if (length < suffix_length || strcmp(name + length - suffix_length, suffix) != 0)
        return false;
    if (strcmp(name, "position_embd.weight") == 0 || strcmp(name, "token_types.weight") == 0)
        return false;
    return !contains(name, kept, COUNT(kept));
}

enum nano_format nano_quant_fit(enum nano_format format, int64_t cols)
{
    static const struct {
        enum nano_format format, fallback;
    } fallbacks[] = {
        {NANO_FORMAT_Q6_K, NANO_FORMAT_Q8_0},      {NANO_FORMAT_Q5_K, NANO_FORMAT_Q5_1},
        {NANO_FORMAT_Q4_K, NANO_FORMAT_Q5_0},      {NANO_FORMAT_Q3_K, NANO_FORMAT_Q4_0},
        {NANO_FORMAT_Q2_K, NANO_FORMAT_Q4_0},      {NANO_FORMAT_TQ2_0, NANO_FORMAT_Q4_0},
        {NANO_FORMAT_TQ1_0, NANO_FORMAT_Q4_0},     {NANO_FORMAT_IQ4_XS, NANO_FORMAT_IQ4_NL},
        {NANO_FORMAT_IQ3_S, NANO_FORMAT_IQ4_NL},   {NANO_FORMAT_IQ3_XXS, NANO_FORMAT_IQ4_NL},
        {NANO_FORMAT_IQ2_S, NANO_FORMAT_IQ4_NL},   {NANO_FORMAT_IQ2_XS, NANO_FORMAT_IQ4_NL},
        {NANO_FORMAT_IQ2_XXS, NANO_FORMAT_IQ4_NL}, {NANO_FORMAT_IQ1_M, NANO_FORMAT_IQ4_NL},
        {NANO_FORMAT_IQ1_S, NANO_FORMAT_IQ4_NL},   {NANO_FORMAT_Q2_0, NANO_FORMAT_Q4_0},
    };
    if (cols % nano_format_traits(format)->block_length == 0)
        return format;
    for (size_t i = 0; i < COUNT(fallbacks); i++) {
        if (fallbacks[i].format == format &&
            cols % nano_format_traits(fallbacks[i].fallback)->block_length == 0)
            return fallbacks[i].fallback;
    }
    return NANO_FORMAT_F16;
}

bool nano_quant_needs_importance(enum nano_mix_id mix, const char *tensor_name,
                                 enum nano_format format)
{
    const enum nano_tensor_role role = nano_tensor_role(tensor_name);
    if (role == NANO_ROLE_HEAD || role == NANO_ROLE_EMBEDDING)
        return false;
    switch (format) {
    case NANO_FORMAT_IQ3_XXS:
    case NANO_FORMAT_IQ2_S:
    case NANO_FORMAT_IQ2_XS:
    case NANO_FORMAT_IQ2_XXS:
    case NANO_FORMAT_IQ1_M:
    case NANO_FORMAT_IQ1_S:
        return true;
    case NANO_FORMAT_Q2_K:
        return mix == NANO_MIX_Q2_K_S;
    default:
        return false;
    }
}

int64_t nano_tensor_layer(const char *name)
{
    static const char prefix[] = "blk.";
    char *end;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return -1;
    const char *digits = name + sizeof prefix - 1;
    const long layer = strtol(digits, &end, 10);
    return end != digits && *end == '.' && layer >= 0 ? layer : -1;
}

int nano_quant_compare(const void *a, const void *b)
{
    const struct nano_tensor *const *first = a, *const *second = b;
    const int64_t layer = nano_tensor_layer((*first)->name.bytes);
    const int64_t other = nano_tensor_layer((*second)->name.bytes);
    if (layer != other)
        return layer < other ? -1 : 1;
    return strcmp((*first)->name.bytes, (*second)->name.bytes);
}
