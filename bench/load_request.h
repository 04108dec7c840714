/* Requests of a run: its options, and the bytes of request number i. */
#ifndef NANO_BENCH_LOAD_REQUEST_H
#define NANO_BENCH_LOAD_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_options {
    const char *host, *endpoint, *model, *api_key, *prompt, *extra;
    int port;
    int num_prompts, max_concurrency;
    double duration_s, request_rate, abort_share, temperature;
    int input_len, output_len, prefix_len, vocab, n, seed;
    int num_idle, num_loris, num_slow;
    double timeout_s, linger_s;
    bool ignore_eos, no_stream, no_keep_alive, same, json;
};

struct load_buffer {
    char *data;
    size_t num_bytes, capacity;
    bool failed; /* there was no memory */
};

void load_buffer_add(struct load_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void load_buffer_free(struct load_buffer *buffer);

/* The request in place of what is in the buffer. The same options and number make the same bytes.
 */
void load_request_build(struct load_buffer *out, const struct load_options *options,
                        uint64_t number);

/* The i-th of a stream of random numbers. */
uint64_t load_random(uint64_t stream, uint64_t i);
/* From 0 up to, but without, 1. */
double load_random_share(uint64_t stream, uint64_t i);

#endif
