/* Encoder blocks: what bert and its relatives have in common. */
#ifndef NANO_MODELS_ENCODER_BLOCKS_H
#define NANO_MODELS_ENCODER_BLOCKS_H

#include "models/builder.h"

/* The sum of the token's and the first segment's embedding ("token_types.weight", where there is
 * one) and, unless it is NULL, of the position's. */
struct nano_view nano_build_encoder_input(struct nano_builder *b,
                                          const struct nano_tensor *positions);

/* "token_embd_norm" of that. */
struct nano_view nano_build_encoder_input_norm(struct nano_builder *b, struct nano_view x);

/* The attention half of a layer, every token seeing all: attn_output_norm(x + attn_output(…)). Rope
 * -1: none. */
struct nano_view nano_build_encoder_attention(struct nano_builder *b, struct nano_view x, int rope);

/* "NAME.weight" and "NAME.bias" applied to x + delta; x is lost. */
struct nano_view nano_build_post_norm(struct nano_builder *b, const char *name, struct nano_view x,
                                      struct nano_view delta);

/* Refuses files that are made for scoring pairs of texts rather than for embeddings. */
void nano_build_refuse_reranker(struct nano_builder *b);

#endif
