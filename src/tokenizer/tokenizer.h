/* Tokenizer: text <-> token ids, from a model file's metadata.
 *
 * Read-only after creation; any number of threads may encode and decode at once. The public
 * functions (nano_tokenizer_encode, _decode, …) are declared in nanovllm.h and defined here. */
#ifndef NANO_TOKENIZER_TOKENIZER_H
#define NANO_TOKENIZER_TOKENIZER_H

#include "base/error.h"
#include "format/weights.h"

/* From tokenizer.ggml.* keys. Vocabulary bytes are borrowed from `weights` where possible. */
enum nano_status nano_tokenizer_create(nano_tokenizer **out, const struct nano_weights *weights,
                                       struct nano_error *err);
void nano_tokenizer_destroy(nano_tokenizer *tokenizer);

/* Heap memory of the tokenizer, for the memory plan. */
size_t nano_tokenizer_memory_bytes(const nano_tokenizer *tokenizer);

/* The tokens for which nano_tokenizer_is_eog is true; borrowed. Returns how many. */
int nano_tokenizer_eog_tokens(const nano_tokenizer *tokenizer, const int32_t **tokens);

#define NANO_MAX_FILTERS 16

/* Streaming decode: tokens in, whole UTF-8 characters out.
 *
 * Bytes that may be the beginning of a character are held back until it is complete; bytes that
 * can no longer become one are replaced by U+FFFD. The concatenation of all pieces and the flush is
 * nano_tokenizer_decode's text with invalid bytes replaced. */
struct nano_token_stream {
    const nano_tokenizer *tokenizer;
    bool skip_special;
    /* Nothing decoded yet: SPM drops the first space. Set it to false after init when the text goes
     * on after another one, as a completion does after its prompt. */
    bool at_start;
    bool started;
    uint32_t filters[NANO_MAX_FILTERS]; /* where the decoder's filters are */
    char pending[4];
    int num_pending;
};

void nano_token_stream_init(struct nano_token_stream *stream, const nano_tokenizer *tokenizer,
                            bool skip_special);

/* An upper bound of what one push or flush writes for any token of this tokenizer. */
size_t nano_token_stream_max_bytes(const nano_tokenizer *tokenizer);

/* Appends a token's text to out (room for nano_token_stream_max_bytes); returns how many bytes.
 * Never fails, never allocates; an id outside the vocabulary gives nothing. */
size_t nano_token_stream_push(struct nano_token_stream *stream, int32_t token_id, char *out);

/* Ends the text: what is pending becomes U+FFFD. */
size_t nano_token_stream_flush(struct nano_token_stream *stream, char *out);

#endif
