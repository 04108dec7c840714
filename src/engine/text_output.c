/* Text output. */
#include "engine/text_output.h"

#include <assert.h>
#include <string.h>

enum nano_status nano_text_output_init(struct nano_text_output *o, const nano_tokenizer *tokenizer,
                                       const struct nano_sampling_params *params,
                                       struct nano_arena *arena, struct nano_error *err)
{
    *o = (struct nano_text_output){.params = params};
    nano_token_stream_init(&o->stream, tokenizer, params->skip_special_tokens);
    o->stream.at_start =
        false; /* the text goes on after the prompt: its first space is a real one */
    size_t longest = 0;
    for (int i = 0; i < params->num_stop; i++) {
        size_t length = strlen(params->stop[i]);
        if (length > longest)
            longest = length;
    }
    /* At most longest - 1 bytes stay held; then one push, one flush and the final zero. */
    o->capacity = longest + 2 * nano_token_stream_max_bytes(tokenizer) + 1;
    o->held = nano_arena_alloc(arena, o->capacity, 1);
    return o->held ? NANO_OK : nano_error_no_memory(err, "output text", o->capacity);
}

/* The first place where a stop string stands that ends behind num_old bytes, which is where it
 * could not be seen before; among those that begin there the first listed. */
static const char *find_stop(const struct nano_text_output *o, size_t num_old, size_t *begin)
{
    const char *found = NULL;
    *begin = o->num_held;
    for (int i = 0; i < o->params->num_stop; i++) {
        const char *stop = o->params->stop[i];
        size_t length = strlen(stop);
        size_t at = num_old + 1 > length ? num_old + 1 - length : 0;
        for (; at + length <= o->num_held && at < *begin; at++) {
            if (memcmp(o->held + at, stop, length) == 0) {
                *begin = at;
                found = stop;
                break;
            }
        }
    }
    return found;
}

/* Length of the longest end of the held text that a stop string begins with. */
static size_t partial_stop(const struct nano_text_output *o)
{
    size_t longest = 0;
    for (int i = 0; i < o->params->num_stop; i++) {
        const char *stop = o->params->stop[i];
        size_t length = strlen(stop) - 1;
        if (length > o->num_held)
            length = o->num_held;
        for (; length > longest; length--)
            if (memcmp(o->held + o->num_held - length, stop, length) == 0)
                longest = length;
    }
    return longest;
}

const char *nano_text_output_push(struct nano_text_output *o, int32_t token_id, bool stop_now)
{
    assert(o->num_ready == 0);
    size_t begin, num_old = o->num_held;
    o->num_held += nano_token_stream_push(&o->stream, token_id, o->held + num_old);
    assert(o->num_held < o->capacity);
    const char *stop = stop_now ? find_stop(o, num_old, &begin) : NULL;
    if (stop) {
        o->num_held = begin + (o->params->include_stop_str_in_output ? strlen(stop) : 0);
        o->num_ready = o->num_held;
        o->stream.num_pending = 0;
        return stop;
    }
    o->num_ready = o->num_held - partial_stop(o);
    return NULL;
}

void nano_text_output_flush(struct nano_text_output *o)
{
    o->num_held += nano_token_stream_flush(&o->stream, o->held + o->num_held);
    assert(o->num_held < o->capacity);
    o->num_ready = o->num_held;
}

void nano_text_output_take(struct nano_text_output *o)
{
    memmove(o->held, o->held + o->num_ready, o->num_held - o->num_ready);
    o->num_held -= o->num_ready;
    o->num_ready = 0;
}
