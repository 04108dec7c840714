/* Mixes: which tensors get another format than the mix's own.
 *
 * A rule is a row: in these mixes, a tensor of these roles, of which all facts in `if_all` are true
 * and none in `unless`, has this format. The first row that applies counts. */
#include <stdio.h>
#include <string.h>

#include "format/quant_mix.h"

enum fact {
    FACT_GQA4 = 1 << 0,     /* four query heads or more per KV head */
    FACT_EXPERTS4 = 1 << 1, /* four experts or more */
    FACT_EXPERTS8 = 1 << 2, /* eight experts exactly, as Mixtral */
    FACT_FALCON = 1 << 3,
    FACT_IMPORTANCE = 1 << 4, /* there is an importance matrix */
    /* of a tensor: */
    FACT_STACKED = 1 << 5, /* three dimensions: a matrix per expert */
    FACT_UNFIT = 1 << 6,   /* rows are no whole number of the mix's blocks */
    FACT_FIRST_2 = 1 << 7, /* the first of its role; */
    FACT_FIRST_4 = 1 << 8,
    FACT_SIXTEENTH = 1 << 9,
    FACT_EIGHTH = 1 << 10,
    FACT_MIDDLE = 1 << 11,    /* neither in the first eighth nor in the last */
    FACT_SENSITIVE = 1 << 12, /* in the first or last eighth, or every third between them */
};

#define IN(NAME) (UINT64_C(1) << NANO_MIX_##NAME)
#define ALL_MIXES ((UINT64_C(1) << NANO_NUM_MIXES) - 1)
#define IQ1 (IN(IQ1_S) | IN(IQ1_M))
#define IQ2_SMALL (IN(IQ2_XXS) | IN(IQ2_XS))
#define IQ2_LARGE (IN(IQ2_S) | IN(IQ2_M))
#define TINY (IQ1 | IQ2_SMALL | IQ2_LARGE)
#define NOT_TINY (ALL_MIXES & ~TINY)

#define IS(ROLE) (1u << NANO_ROLE_##ROLE)
#define ALL_ROLES ((1u << NANO_NUM_ROLES) - 1)

static const struct rule {
    uint64_t mixes;
    unsigned roles, if_all, unless;
    enum nano_format format;
} rules[] = {
    /* The head costs little and decides every token. */
    {IN(MXFP4_MOE), IS(HEAD), 0, 0, NANO_FORMAT_Q8_0},
    {ALL_MIXES, IS(HEAD), FACT_FALCON, 0, NANO_FORMAT_Q8_0},
    {ALL_MIXES, IS(HEAD), FACT_UNFIT, 0, NANO_FORMAT_Q8_0},
    {TINY | IN(IQ3_XXS), IS(HEAD), 0, 0, NANO_FORMAT_Q5_K},
    {ALL_MIXES & ~IN(Q8_0), IS(HEAD), 0, 0, NANO_FORMAT_Q6_K},

    /* Experts alone are MXFP4. */
    {IN(MXFP4_MOE), ALL_ROLES, FACT_STACKED, 0, NANO_FORMAT_MXFP4},
    {IN(MXFP4_MOE), ALL_ROLES, 0, 0, NANO_FORMAT_Q8_0},

    {IQ1 | IQ2_SMALL, IS(EMBEDDING), 0, 0, NANO_FORMAT_Q2_K},
    {IQ2_LARGE | IN(IQ3_XXS), IS(EMBEDDING), 0, 0, NANO_FORMAT_IQ3_S},
    {IN(TQ1_0) | IN(TQ2_0) | IN(Q2_0), IS(EMBEDDING), 0, 0, NANO_FORMAT_Q4_K},

    /* With few KV heads V is small, and everything passes through it. */
    {TINY, IS(ATTN_V), FACT_GQA4, 0, NANO_FORMAT_Q4_K},
    {TINY, IS(ATTN_V), FACT_EXPERTS4, 0, NANO_FORMAT_Q4_K},
    {IQ2_LARGE, IS(ATTN_V), 0, 0, NANO_FORMAT_IQ3_S},
    {TINY, IS(ATTN_V), 0, 0, NANO_FORMAT_Q2_K},
    {NOT_TINY, IS(ATTN_V), FACT_EXPERTS8, 0, NANO_FORMAT_Q8_0},
    {IN(Q2_K), IS(ATTN_V), FACT_GQA4, 0, NANO_FORMAT_Q4_K},
    {IN(Q2_K), IS(ATTN_V), 0, 0, NANO_FORMAT_Q3_K},
    {IN(Q2_K_S) | IN(IQ3_XXS) | IN(IQ3_XS) | IN(IQ3_S), IS(ATTN_V), FACT_GQA4, 0, NANO_FORMAT_Q4_K},
    {IN(IQ3_XXS), IS(ATTN_V), 0, FACT_IMPORTANCE, NANO_FORMAT_IQ3_S},
    {IN(IQ3_M), IS(ATTN_V), 0, 0, NANO_FORMAT_Q4_K},
    {IN(Q3_K_M), IS(ATTN_V), FACT_FIRST_2, 0, NANO_FORMAT_Q5_K},
    {IN(Q3_K_M), IS(ATTN_V), 0, 0, NANO_FORMAT_Q4_K},
    {IN(Q3_K_L), IS(ATTN_V), 0, 0, NANO_FORMAT_Q5_K},
    {IN(IQ4_NL) | IN(IQ4_XS), IS(ATTN_V), FACT_GQA4, 0, NANO_FORMAT_Q5_K},
    {IN(Q4_K_M) | IN(Q5_K_M), IS(ATTN_V), FACT_SENSITIVE, 0, NANO_FORMAT_Q6_K},
    {IN(Q4_K_S), IS(ATTN_V), FACT_FIRST_4, 0, NANO_FORMAT_Q5_K},

    {TINY, IS(ATTN_K), FACT_EXPERTS8, 0, NANO_FORMAT_Q4_K},
    {NOT_TINY, IS(ATTN_K), FACT_EXPERTS8, 0, NANO_FORMAT_Q8_0},
    {IN(IQ3_XS), IS(ATTN_K) | IS(ATTN_Q), 0, 0, NANO_FORMAT_IQ3_XXS},
    {IN(IQ3_XXS), IS(ATTN_K) | IS(ATTN_Q), 0, 0, NANO_FORMAT_IQ2_S},

    {TINY, IS(ATTN_OUTPUT), FACT_EXPERTS8, 0, NANO_FORMAT_Q5_K},
    {IQ1, IS(ATTN_OUTPUT), 0, 0, NANO_FORMAT_IQ2_XXS},
    {IQ2_LARGE, IS(ATTN_OUTPUT), 0, 0, NANO_FORMAT_IQ3_S},
    {IN(Q3_K_L), IS(ATTN_OUTPUT), FACT_FALCON, 0, NANO_FORMAT_Q4_K},
    {IN(Q2_K) | IN(IQ3_XS) | IN(IQ3_XXS) | IN(IQ3_S) | IN(IQ3_M) | IN(Q3_K_S) | IN(Q3_K_M) |
         IN(IQ4_NL) | IN(IQ4_XS) | IN(Q4_K_S) | IN(Q4_K_M),
     IS(ATTN_OUTPUT), FACT_EXPERTS8, FACT_FALCON, NANO_FORMAT_Q5_K},
    {IN(Q2_K), IS(ATTN_OUTPUT), 0, FACT_FALCON | FACT_EXPERTS8, NANO_FORMAT_Q3_K},
    {IN(IQ3_XXS), IS(ATTN_OUTPUT), 0, FACT_FALCON | FACT_EXPERTS8, NANO_FORMAT_IQ3_S},
    {IN(Q3_K_M) | IN(IQ3_M), IS(ATTN_OUTPUT), 0, FACT_FALCON | FACT_EXPERTS8, NANO_FORMAT_Q4_K},
    {IN(Q3_K_L), IS(ATTN_OUTPUT), 0, FACT_FALCON | FACT_EXPERTS8, NANO_FORMAT_Q5_K},

    {IQ2_LARGE, IS(FFN_DOWN), FACT_EIGHTH, 0, NANO_FORMAT_IQ3_S},
    {TINY & ~IQ2_LARGE, IS(FFN_DOWN), FACT_EIGHTH, 0, NANO_FORMAT_Q2_K},
    {IN(Q2_K), IS(FFN_DOWN), 0, 0, NANO_FORMAT_Q3_K},
    {IN(Q2_K_S), IS(FFN_DOWN), FACT_EIGHTH, 0, NANO_FORMAT_Q4_K},
    {IN(IQ3_XXS), IS(FFN_DOWN), FACT_EIGHTH, FACT_IMPORTANCE, NANO_FORMAT_Q4_K},
    {IN(IQ3_XXS), IS(FFN_DOWN), 0, FACT_IMPORTANCE, NANO_FORMAT_Q3_K},
    {IN(IQ3_M), IS(FFN_DOWN), FACT_EIGHTH, 0, NANO_FORMAT_Q4_K},
    {IN(IQ3_M), IS(FFN_DOWN), FACT_EXPERTS8 | FACT_SENSITIVE, 0, NANO_FORMAT_Q4_K},
    {IN(Q3_K_M), IS(FFN_DOWN), FACT_SIXTEENTH, 0, NANO_FORMAT_Q5_K},
    {IN(Q3_K_M), IS(FFN_DOWN), 0, FACT_FALCON, NANO_FORMAT_Q4_K},
    {IN(Q3_K_M), IS(FFN_DOWN), FACT_SENSITIVE, 0, NANO_FORMAT_Q4_K},
    {IN(Q3_K_L), IS(FFN_DOWN), FACT_FALCON, 0, NANO_FORMAT_Q4_K},
    {IN(Q3_K_L), IS(FFN_DOWN), 0, 0, NANO_FORMAT_Q5_K},
    {IN(Q4_K_M), IS(FFN_DOWN), FACT_FALCON | FACT_SIXTEENTH, 0, NANO_FORMAT_Q6_K},
    {IN(Q4_K_M), IS(FFN_DOWN), FACT_FALCON | FACT_SENSITIVE, 0, NANO_FORMAT_Q5_K},
    {IN(Q4_K_M), IS(FFN_DOWN), FACT_SENSITIVE, FACT_FALCON, NANO_FORMAT_Q6_K},
    {IN(Q5_K_M), IS(FFN_DOWN), FACT_SENSITIVE, 0, NANO_FORMAT_Q6_K},
    {IN(IQ4_NL) | IN(IQ4_XS), IS(FFN_DOWN), FACT_EIGHTH, FACT_IMPORTANCE, NANO_FORMAT_Q5_K},
    {IN(Q4_K_S), IS(FFN_DOWN), FACT_EIGHTH, FACT_FALCON, NANO_FORMAT_Q5_K},
    {IN(Q4_0), IS(FFN_DOWN), FACT_IMPORTANCE | FACT_EIGHTH, 0, NANO_FORMAT_Q4_1},
    {IN(Q5_0), IS(FFN_DOWN), FACT_IMPORTANCE | FACT_EIGHTH, 0, NANO_FORMAT_Q5_1},

    {IN(IQ3_XS), IS(FFN_GATE) | IS(FFN_UP), FACT_MIDDLE, 0, NANO_FORMAT_IQ3_XXS},
};

/* A number of the architecture's; of an array its first element. 0 if there is none. */
static int64_t number(const struct nano_weights *weights, const struct nano_string *architecture,
                      const char *suffix)
{
    char key[128];
    int64_t value = 0;
    snprintf(key, sizeof key, "%.*s%s", (int)(architecture->num_bytes & 63), architecture->bytes,
             suffix);
    const struct nano_meta *meta = nano_weights_meta(weights, key);
    if (meta && meta->type == NANO_META_ARRAY && meta->num_elements > 0 &&
        meta->element_type != NANO_META_STRING)
        value = nano_meta_array_int(meta, 0);
    else
        nano_meta_get_int(weights, key, 0, INT32_MAX, &value, NULL);
    return value >= 0 && value <= INT32_MAX ? value : 0;
}

static bool equals(const struct nano_string *string, const char *text)
{
    return string->num_bytes == strlen(text) && memcmp(string->bytes, text, string->num_bytes) == 0;
}

/* Models of about 70 billion weights. */
static bool is_70b(const struct nano_string *architecture, int64_t num_layers, int64_t num_heads,
                   int64_t num_kv_heads)
{
    if (equals(architecture, "llama"))
        return num_layers == 80 && num_heads != num_kv_heads;
    if (equals(architecture, "jais2"))
        return num_layers == 68;
    return num_layers == 80 && (equals(architecture, "qwen2") || equals(architecture, "deci") ||
                                equals(architecture, "olmo"));
}

void nano_quant_begin(struct nano_quant_chooser *chooser, enum nano_mix_id mix,
                      const struct nano_weights *weights, bool has_importance)
{
    struct nano_string architecture = {"", 0};
    nano_meta_get_string(weights, "general.architecture", &architecture, NULL);
    int64_t num_heads = number(weights, &architecture, ".attention.head_count");
    int64_t num_kv_heads = number(weights, &architecture, ".attention.head_count_kv");
    if (num_kv_heads == 0)
        num_kv_heads = num_heads;
    *chooser = (struct nano_quant_chooser){
        .mix = mix,
        .is_tied = true,
        .num_layers = number(weights, &architecture, ".block_count"),
        .num_experts = number(weights, &architecture, ".expert_count"),
    };
    chooser->is_70b = is_70b(&architecture, chooser->num_layers, num_heads, num_kv_heads);
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const enum nano_tensor_role role = nano_tensor_role(weights->tensors[i].name.bytes);
        chooser->num_values += role == NANO_ROLE_ATTN_V;
        chooser->is_tied &= role != NANO_ROLE_HEAD;
    }
    chooser->facts = (num_kv_heads > 0 && num_heads / num_kv_heads >= 4 ? FACT_GQA4 : 0) |
                     (chooser->num_experts >= 4 ? FACT_EXPERTS4 : 0) |
                     (chooser->num_experts == 8 ? FACT_EXPERTS8 : 0) |
                     (equals(&architecture, "falcon") ? FACT_FALCON : 0) |
                     (has_importance ? FACT_IMPORTANCE : 0);
}

static unsigned position_facts(int64_t i, int64_t num)
{
    const bool first = i < num / 8, last = i >= 7 * num / 8;
    return (i < 2 ? FACT_FIRST_2 : 0) | (i < 4 ? FACT_FIRST_4 : 0) |
           (i < num / 16 ? FACT_SIXTEENTH : 0) | (first ? FACT_EIGHTH : 0) |
           (!first && !last ? FACT_MIDDLE : 0) |
           (first || last || (i - num / 8) % 3 == 2 ? FACT_SENSITIVE : 0);
}

static unsigned tensor_facts(const struct nano_quant_chooser *chooser,
                             const struct nano_tensor *tensor, enum nano_tensor_role role)
{
    const int block_length = nano_format_traits(nano_quant_mix(chooser->mix)->format)->block_length;
    int64_t place = chooser->seen[role], num_places = chooser->num_layers;
    if (role == NANO_ROLE_ATTN_V) {
        num_places = chooser->num_values;
    } else if (chooser->num_experts > 1 && !(UINT64_C(1) << chooser->mix & TINY)) {
        /* a layer has several of them then */
        const int64_t layer = nano_tensor_layer(tensor->name.bytes);
        place = layer >= 0 ? layer : place;
    }
    return position_facts(place, num_places) | (tensor->dims[2] > 1 ? FACT_STACKED : 0) |
           (tensor->dims[0] % block_length != 0 ? FACT_UNFIT : 0);
}

enum nano_format nano_quant_choose(struct nano_quant_chooser *chooser,
                                   const struct nano_tensor *tensor)
{
    enum nano_format format = nano_quant_mix(chooser->mix)->format;
    const uint64_t mix = UINT64_C(1) << chooser->mix;
    enum nano_tensor_role role = nano_tensor_role(tensor->name.bytes);
    if (nano_format_traits(format)->block_length == 1)
        return format;
    if (role == NANO_ROLE_EMBEDDING && chooser->is_tied)
        role = NANO_ROLE_HEAD;
    const unsigned facts = chooser->facts | tensor_facts(chooser, tensor, role);
    chooser->seen[role]++;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *rule = &rules[i];
        if ((rule->mixes & mix) && (rule->roles & 1u << role) &&
            (facts & rule->if_all) == rule->if_all && !(facts & rule->unless)) {
            format = rule->format;
            break;
        }
    }
    if (chooser->is_70b && role == NANO_ROLE_ATTN_V && !(mix & TINY) &&
        (format == NANO_FORMAT_Q3_K || format == NANO_FORMAT_Q4_K))
        format = NANO_FORMAT_Q5_K;
    return format;
}
