/* A session of ONNX Runtime: a graph that is loaded, and running it on the caller's memory. */
#ifndef NANO_RUNNER_ONNX_SESSION_H
#define NANO_RUNNER_ONNX_SESSION_H

#include "format/onnx_decoder.h"
#include "runner/onnx/onnx_api.h"

struct nano_onnx_session {
    const struct nano_ort *ort;
    const struct nano_onnx_graph *graph;
    OrtSession *session;
    OrtMemoryInfo *memory;
    const char **input_names, **output_names;
    OrtValue **inputs, **outputs; /* of the run that is being prepared */
    int num_inputs, num_outputs;
    char label[96]; /* "ONNX Runtime 1.21.0: cuda, cpu" */
};

/* Loads the graph. `providers` is a list such as "cuda,cpu", NULL or "" for "cpu": nodes go to the
 * first that has them, and to the CPU otherwise. Names and lists are in the arena. Closed on
 * failure. */
enum nano_status nano_onnx_session_open(struct nano_onnx_session *out,
                                        const struct nano_onnx_decoder *decoder,
                                        const char *providers, int num_threads,
                                        struct nano_arena *arena, struct nano_error *err);
void nano_onnx_session_close(struct nano_onnx_session *session);

/* Names the next input or output of a run: memory of this type and shape, borrowed until the run is
 * over. `value` is an index among the graph's. */
enum nano_status nano_onnx_session_input(struct nano_onnx_session *session, int value, void *data,
                                         int type, const int64_t *dims, int num_dims,
                                         struct nano_error *err);
enum nano_status nano_onnx_session_output(struct nano_onnx_session *session, int value, void *data,
                                          int type, const int64_t *dims, int num_dims,
                                          struct nano_error *err);

/* Runs with what was named since the last run, and forgets it, also after an error. */
enum nano_status nano_onnx_session_run(struct nano_onnx_session *session, struct nano_error *err);
void nano_onnx_session_forget(struct nano_onnx_session *session);

#endif
