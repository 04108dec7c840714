/* Requests that are malformed as HTTP, or use it in ways that few clients do. */
#ifndef NANO_TESTS_FUZZ_FRAMES_H
#define NANO_TESTS_FUZZ_FRAMES_H

#include "fuzz_bodies.h"

struct fuzz_frame {
    const char *what;
    char *data;
    size_t num_bytes, capacity;
    bool is_incomplete; /* the server cannot but wait for more */
    bool hangs_up;      /* the client does not wait for an answer */
    bool needs_json;    /* the answer is the server's own, with an error object */
    int expected;       /* status; 0: any below 500, or none */
};

/* Replaces what was in the frame. */
void fuzz_frame_make(struct fuzz_frame *frame, struct fuzz_random *random);
void fuzz_frame_free(struct fuzz_frame *frame);

/* POST of a body that is as long as it says. */
void fuzz_frame_post(struct fuzz_frame *frame, const struct fuzz_body *body);

#endif
