/* Text output: the text of one completion as it grows, with stop strings found across tokens.
 *
 *   held:  [ text that can go out | beginning of a possible stop string ]
 *            0 … num_ready                                … num_held
 */
#ifndef NANO_ENGINE_TEXT_OUTPUT_H
#define NANO_ENGINE_TEXT_OUTPUT_H

#include "base/arena.h"
#include "tokenizer/tokenizer.h"

struct nano_text_output {
    struct nano_token_stream stream;
    const struct nano_sampling_params *params; /* stop strings; borrowed */
    char *held;
    size_t num_held, num_ready, capacity;
};

/* Memory comes from the arena and suffices for any token. */
enum nano_status nano_text_output_init(struct nano_text_output *output,
                                       const nano_tokenizer *tokenizer,
                                       const struct nano_sampling_params *params,
                                       struct nano_arena *arena, struct nano_error *err);

/* Adds a token's text. With `stop_now` stop strings count: when one is in the text, the text is cut
 * there (after it with include_stop_str_in_output) and it is returned; else NULL. What was ready
 * must have been taken before. */
const char *nano_text_output_push(struct nano_text_output *output, int32_t token_id, bool stop_now);

/* The text is at its end: everything becomes ready. */
void nano_text_output_flush(struct nano_text_output *output);

/* Removes the ready text, after it was sent. */
void nano_text_output_take(struct nano_text_output *output);

#endif
