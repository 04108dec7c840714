/* What the inputs and outputs of an ONNX decoder mean.
 *
 *   input_ids [B, S], attention_mask [B, P + S], position_ids [B, S]
 *   past_key_values.N.key, .value [B, heads, P, head_dim]       or past_N [2, B, heads, P,
 * head_dim]
 *      -> logits [B, S, vocab_size]
 *         present.N.key, .value [B, heads, P + S, head_dim]     or present_N
 *
 * B sequences, P columns that are there already, S new tokens. Only input_ids, logits and what
 * belongs together of past and present must be there. */
#ifndef NANO_FORMAT_ONNX_DECODER_H
#define NANO_FORMAT_ONNX_DECODER_H

#include "format/onnx_graph.h"

/* A tensor of past and its present: num_planes x [B, num_heads, P, head_dim]. */
struct nano_onnx_kv {
    int input, output; /* among the graph's */
    int type, element_bytes;
    int num_dims;
    int num_planes; /* 2: keys and values are one tensor */
    int64_t num_heads, head_dim;
    int64_t token_bytes; /* of a column of a sequence */
};

struct nano_onnx_decoder {
    const struct nano_onnx_graph *graph;
    int input_ids, logits;
    int attention_mask, position_ids, use_cache_branch; /* -1: it has none */
    struct nano_onnx_kv *kv;
    int num_kv, num_layers;
    int64_t token_bytes; /* of a sequence's column in all of them */
    int64_t vocab_size, context_length;
    bool last_logits_only;     /* logits of the last token alone, in whatever a run computes */
    int max_batch, max_tokens; /* of B and S: 1, or 0 for any number */
};

/* Says what in the graph is none of a decoder. The list is in the arena. */
enum nano_status nano_onnx_decoder_read(struct nano_onnx_decoder *out,
                                        const struct nano_onnx_graph *graph,
                                        struct nano_arena *arena, struct nano_error *err);

#endif
