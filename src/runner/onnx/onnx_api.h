/* ONNX Runtime's C API, from a library that is loaded when the first runner is opened: a program
 * built with it runs where the library is not installed. This folder alone knows its header. */
#ifndef NANO_RUNNER_ONNX_API_H
#define NANO_RUNNER_ONNX_API_H

#include <onnxruntime_c_api.h>

#include "base/error.h"

/* The process's one copy; it stays loaded until the process ends, as its threads and caches expect.
 */
struct nano_ort {
    const OrtApi *api;
    OrtEnv *env;
    const char *version; /* "1.21.0" */
};

/* The library is $NANOVLLM_ONNXRUNTIME, or the one that configure found, or what the system's
 * loader finds. Missing, no ONNX Runtime, or older than API version 14 (release 1.14): an error
 * that names it. Any thread. */
enum nano_status nano_ort_get(const struct nano_ort **out, struct nano_error *err);

/* Stores the status's message on one line behind "what: " and releases it; NANO_OK for NULL. */
enum nano_status nano_ort_check(const struct nano_ort *ort, OrtStatus *result, const char *what,
                                struct nano_error *err);

#endif
