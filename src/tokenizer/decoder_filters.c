/* Decoder: filters over the joined text. A state is how many bytes of the pattern have matched, and
 * above those how many whole patterns are held (STRIP_END) or may still go (STRIP_START). */
#include "tokenizer/decoder.h"

#define PARTIAL(state) ((state)&0xFFu)
#define WHOLE(state) ((state) >> 8)

struct sink {
    const struct nano_decoder *decoder;
    uint32_t *states;
    nano_filter_out out;
    void *user_data;
};

static void feed(const struct sink *sink, int index, char byte);

static void feed_bytes(const struct sink *sink, int index, const char *bytes, size_t num_bytes)
{
    for (size_t i = 0; i < num_bytes; i++)
        feed(sink, index, bytes[i]);
}

static void strip_start(const struct sink *sink, int index, char byte)
{
    const struct nano_filter *filter = &sink->decoder->filters[index];
    uint32_t *state = &sink->states[index], partial = PARTIAL(*state);
    if (WHOLE(*state) == 0) {
        feed(sink, index + 1, byte);
    } else if (byte != filter->pattern[partial]) {
        *state = 0;
        feed_bytes(sink, index + 1, filter->pattern, partial);
        feed(sink, index + 1, byte);
    } else if (partial + 1 == filter->pattern_bytes) {
        *state = (WHOLE(*state) - 1) << 8;
    } else {
        ++*state;
    }
}

static void strip_end(const struct sink *sink, int index, char byte)
{
    const struct nano_filter *filter = &sink->decoder->filters[index];
    uint32_t *state = &sink->states[index], partial = PARTIAL(*state), whole = WHOLE(*state);
    if (byte != filter->pattern[partial]) {
        *state = 0;
        for (; whole > 0; whole--)
            feed_bytes(sink, index + 1, filter->pattern, filter->pattern_bytes);
        feed_bytes(sink, index + 1, filter->pattern, partial);
        if (byte == filter->pattern[0] && partial > 0)
            strip_end(sink, index, byte);
        else
            feed(sink, index + 1, byte);
        return;
    }
    if (partial + 1 < filter->pattern_bytes) {
        ++*state;
        return;
    }
    if (whole == filter->count)
        feed_bytes(sink, index + 1, filter->pattern, filter->pattern_bytes);
    else
        whole++;
    *state = whole << 8;
}

static void replace(const struct sink *sink, int index, char byte)
{
    const struct nano_filter *filter = &sink->decoder->filters[index];
    uint32_t matched = sink->states[index];
    while (matched > 0 && byte != filter->pattern[matched]) {
        uint32_t border = filter->borders[matched - 1];
        sink->states[index] = border;
        feed_bytes(sink, index + 1, filter->pattern, matched - border);
        matched = border;
    }
    if (byte != filter->pattern[matched]) {
        feed(sink, index + 1, byte);
    } else if (++matched == filter->pattern_bytes) {
        matched = 0;
        feed_bytes(sink, index + 1, filter->content, filter->content_bytes);
    }
    sink->states[index] = matched;
}

static void feed(const struct sink *sink, int index, char byte)
{
    if (index == sink->decoder->num_filters) {
        sink->out(sink->user_data, byte);
        return;
    }
    switch (sink->decoder->filters[index].kind) {
    case NANO_FILTER_STRIP_START:
        strip_start(sink, index, byte);
        break;
    case NANO_FILTER_STRIP_END:
        strip_end(sink, index, byte);
        break;
    default:
        replace(sink, index, byte);
    }
}

void nano_decoder_start(const struct nano_decoder *decoder, bool at_start,
                        uint32_t states[NANO_MAX_FILTERS])
{
    for (int i = 0; i < NANO_MAX_FILTERS; i++)
        states[i] = i < decoder->num_filters && at_start &&
                            decoder->filters[i].kind == NANO_FILTER_STRIP_START
                        ? decoder->filters[i].count << 8
                        : 0;
}

void nano_decoder_push(const struct nano_decoder *decoder, uint32_t states[NANO_MAX_FILTERS],
                       char byte, nano_filter_out out, void *user_data)
{
    const struct sink sink = {decoder, states, out, user_data};
    feed(&sink, 0, byte);
}

void nano_decoder_finish(const struct nano_decoder *decoder, uint32_t states[NANO_MAX_FILTERS],
                         nano_filter_out out, void *user_data)
{
    const struct sink sink = {decoder, states, out, user_data};
    for (int i = 0; i < decoder->num_filters; i++) {
        const struct nano_filter *filter = &decoder->filters[i];
        uint32_t partial = PARTIAL(states[i]);
        states[i] = 0;
        feed_bytes(&sink, i + 1, filter->pattern, partial);
    }
}

size_t nano_decoder_max_bytes(const struct nano_decoder *decoder, size_t num_bytes)
{
    for (int i = 0; i < decoder->num_filters; i++) {
        const struct nano_filter *filter = &decoder->filters[i];
        if (filter->kind == NANO_FILTER_REPLACE) {
            size_t growth =
                (size_t)(filter->content_bytes + filter->pattern_bytes - 1) / filter->pattern_bytes;
            num_bytes = (num_bytes + filter->pattern_bytes) * (growth > 1 ? growth : 1);
        } else {
            num_bytes += ((size_t)filter->count + 1) * filter->pattern_bytes;
        }
    }
    return num_bytes;
}
