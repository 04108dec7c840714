/* Streaming decode. */
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/tokenizer_internal.h"

#define REPLACEMENT_BYTES (sizeof NANO_UTF8_REPLACEMENT - 1)

void nano_token_stream_init(struct nano_token_stream *stream, const nano_tokenizer *tokenizer,
                            bool skip_special)
{
    memset(stream, 0, sizeof *stream);
    stream->tokenizer = tokenizer;
    stream->skip_special = skip_special;
    stream->at_start = true;
}

size_t nano_token_stream_max_bytes(const nano_tokenizer *tokenizer)
{
    /* What is pending may become one replacement and every byte of the piece another. */
    return (nano_decoder_max_bytes(&tokenizer->decoder, tokenizer->vocab.max_piece_bytes) + 1) *
           REPLACEMENT_BYTES;
}

static size_t write_replacement(char *out)
{
    memcpy(out, NANO_UTF8_REPLACEMENT, REPLACEMENT_BYTES);
    return REPLACEMENT_BYTES;
}

/* Unicode's rule for what one U+FFFD stands for (chapter 3, "maximal subpart"): the longest prefix
 * of a character that the next byte does not continue, or one byte that begins none. */
static size_t push_byte(struct nano_token_stream *stream, char byte, char *out)
{
    uint32_t codepoint;
    size_t written = 0;
    for (;;) {
        stream->pending[stream->num_pending] = byte;
        size_t num_bytes = (size_t)stream->num_pending + 1;
        if (nano_utf8_decode(stream->pending, num_bytes, &codepoint) == (int)num_bytes) {
            memcpy(out + written, stream->pending, num_bytes);
            stream->num_pending = 0;
            return written + num_bytes;
        }
        if (nano_utf8_incomplete_suffix(stream->pending, num_bytes) == num_bytes) {
            stream->num_pending++;
            return written;
        }
        written += write_replacement(out + written);
        if (stream->num_pending == 0)
            return written;
        stream->num_pending = 0; /* the byte may begin a character of its own */
    }
}

struct stream_out {
    struct nano_token_stream *stream;
    char *out;
    size_t written;
};

static void take_byte(void *user_data, char byte)
{
    struct stream_out *to = user_data;
    to->written += push_byte(to->stream, byte, to->out + to->written);
}

size_t nano_token_stream_push(struct nano_token_stream *stream, int32_t token_id, char *out)
{
    const nano_tokenizer *tokenizer = stream->tokenizer;
    const struct nano_vocab *vocab = &tokenizer->vocab;
    if (token_id < 0 || token_id >= vocab->num_tokens)
        return 0;
    if (!stream->started) {
        stream->started = true;
        nano_decoder_start(&tokenizer->decoder, stream->at_start, stream->filters);
    }
    size_t num_bytes;
    struct stream_out to = {stream, out, 0};
    const char *piece = nano_vocab_piece_in_text(vocab, token_id, stream->skip_special,
                                                 stream->at_start, &num_bytes);
    stream->at_start =
        stream->at_start && nano_token_keeps_first(tokenizer, token_id, stream->skip_special);
    for (size_t i = 0; i < num_bytes; i++)
        if (tokenizer->decoder.num_filters > 0)
            nano_decoder_push(&tokenizer->decoder, stream->filters, piece[i], take_byte, &to);
        else
            take_byte(&to, piece[i]);
    return to.written;
}

size_t nano_token_stream_flush(struct nano_token_stream *stream, char *out)
{
    struct stream_out to = {stream, out, 0};
    nano_decoder_finish(&stream->tokenizer->decoder, stream->filters, take_byte, &to);
    if (stream->num_pending == 0)
        return to.written;
    stream->num_pending = 0;
    return to.written + write_replacement(out + to.written);
}
