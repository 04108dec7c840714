/* What the draw of a token depends on, beside its logits. */
#ifndef NANO_RUNNER_DRAW_H
#define NANO_RUNNER_DRAW_H

/* The largest top-k of a draw without top-p that a runner is asked for: its candidates stand as the
 * sampler's heap has left them, which a GPU has to do over again. */
#define NANO_MAX_DRAW_TOP_K 1024

struct nano_draw {
    float temperature;  /* above 0 */
    int top_k;          /* 0 or less: off */
    float top_p, min_p; /* 1 and 0: off */
    double uniform;     /* a random number in [0, 1) */
};

#endif
