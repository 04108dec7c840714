/* Encoder blocks. */
#include "models/encoder_blocks.h"

#define POOLING_RANK 4 /* of the key pooling_type: a head that scores */

void nano_build_refuse_reranker(struct nano_builder *b)
{
    if (nano_build_int(b, "pooling_type", 0, INT32_MAX, 0) == POOLING_RANK)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED,
                        "is a reranker (pooling_type %d), expected a model for embeddings",
                        POOLING_RANK);
}

/* A text is one segment, the first: its row is the same for every token. */
static const struct nano_tensor *token_types(struct nano_builder *b)
{
    static const char name[] = "token_types.weight";
    const struct nano_tensor *found = nano_weights_find(b->weights, name);
    if (found && found->format != NANO_FORMAT_F32)
        nano_build_fail(b, NANO_ERR_UNSUPPORTED, "tensor '%s': format %s, expected F32", name,
                        nano_format_traits(found->format)->name);
    return found ? nano_build_weight(b, name, b->program->config.hidden_size, found->dims[1])
                 : NULL;
}

struct nano_view nano_build_encoder_input(struct nano_builder *b,
                                          const struct nano_tensor *positions)
{
    const struct nano_model_config *c = &b->program->config;
    const struct nano_tensor *embedding =
        nano_build_weight(b, "token_embd.weight", c->hidden_size, c->vocab_size);
    struct nano_view x = nano_build_embed_with(b, embedding, 1, token_types(b));
    if (positions)
        nano_build_position_embed(b, x, positions);
    return x;
}

struct nano_view nano_build_encoder_input_norm(struct nano_builder *b, struct nano_view x)
{
    const struct nano_tensor *weight = nano_build_weight(b, "token_embd_norm.weight", x.width, 0);
    const struct nano_tensor *bias = nano_build_weight(b, "token_embd_norm.bias", x.width, 0);
    return nano_build_mean_norm(b, "token_embd_norm", x, weight, bias, x.width);
}

struct nano_view nano_build_post_norm(struct nano_builder *b, const char *name, struct nano_view x,
                                      struct nano_view delta)
{
    nano_build_add(b, x, delta);
    return nano_build_layer_mean_norm(b, name, x, NANO_BIAS_REQUIRED);
}

struct nano_view nano_build_encoder_attention(struct nano_builder *b, struct nano_view x, int rope)
{
    const struct nano_attention_options options = {.bidirectional = true};
    struct nano_qkv qkv = nano_build_layer_qkv(b, x, NANO_BIAS_OPTIONAL);
    if (rope >= 0)
        nano_build_qk_rope(b, &qkv, rope);
    struct nano_view attention = nano_build_attention_with(b, qkv.q, qkv.k, qkv.v, &options);
    struct nano_view delta =
        nano_build_layer_linear(b, "attn_output", attention, x.width, NANO_BIAS_OPTIONAL);
    return nano_build_post_norm(b, "attn_output_norm", x, delta);
}
