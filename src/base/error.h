/* Errors as values: how functions of the library fill a caller-owned struct nano_error.
 *
 * The message is written once, where the fact is known, and names the thing, what was expected and
 * what was found: "model.gguf: tensor 'blk.0.attn_q.weight': shape [64, 63], expected [64, 64]". */
#ifndef NANO_BASE_ERROR_H
#define NANO_BASE_ERROR_H

#include "nanovllm.h"

#if defined(__GNUC__)
#define NANO_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#else
#define NANO_PRINTF(fmt_index, first_arg)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Stores status and the formatted message in `err` (NULL is fine; a longer message is cut) and
 * returns `status`, so that `return nano_error_set(...)` reads well. */
enum nano_status nano_error_set(struct nano_error *err, enum nano_status status, const char *fmt,
                                ...) NANO_PRINTF(3, 4);

/* Puts "prefix: " before the message that is already in `err`; returns its status. */
enum nano_status nano_error_prefix(struct nano_error *err, const char *fmt, ...) NANO_PRINTF(2, 3);

/* The usual message for a failed allocation of `what`. */
enum nano_status nano_error_no_memory(struct nano_error *err, const char *what, size_t num_bytes);

#ifdef __cplusplus
}
#endif

/* Leaves the function through its `fail:` label when `expr` fails; needs `enum nano_status status`.
 */
#define NANO_TRY(expr)         \
    do {                       \
        status = (expr);       \
        if (status != NANO_OK) \
            goto fail;         \
    } while (0)

#endif
