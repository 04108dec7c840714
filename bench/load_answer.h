/* An answer of the server as its bytes arrive: status line, headers, a body of known length or in
 * chunks, and in it server-sent events, of which only what is measured is looked at. Nothing is
 * allocated, and JSON is searched, not parsed: a quote within a JSON string is escaped, so
 * `"usage":{` can only be what it looks like. */
#ifndef NANO_BENCH_LOAD_ANSWER_H
#define NANO_BENCH_LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum load_answer_state {
    LOAD_HEAD,
    LOAD_BODY,       /* num_left bytes of it, or all until the connection ends */
    LOAD_CHUNK_SIZE, /* the line with it */
    LOAD_CHUNK,
    LOAD_CHUNK_END, /* the line behind its bytes */
    LOAD_TRAILER,
    LOAD_COMPLETE,
    LOAD_BROKEN, /* this is not HTTP */
};

struct load_answer {
    enum load_answer_state state;
    int status;
    bool has_length, is_chunked, keep_alive;
    bool in_extension, is_empty_line; /* of the line around a chunk that is being read */
    uint64_t num_left;
    bool is_done;   /* "data: [DONE]" was there */
    bool has_error; /* an event with an error was there */
    bool has_usage;
    long prompt_tokens, completion_tokens, cached_tokens;
    uint64_t num_texts; /* events, or whole answers, that brought text */
    uint64_t text_hash; /* of all text, however it was cut into events */
    size_t line_bytes;
    char line[4096]; /* the line at hand; of a longer one its end */
};

void load_answer_begin(struct load_answer *answer);

/* Takes the bytes up to the end of the answer; returns how many. */
size_t load_answer_feed(struct load_answer *answer, const char *data, size_t num_bytes);

/* The connection ended: completes an answer that is as long as its connection. */
void load_answer_end(struct load_answer *answer);

#endif
