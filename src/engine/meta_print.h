/* Printing of metadata values on one line: strings quoted nowhere but in arrays, control characters
 * and bytes that are not UTF-8 escaped, long values cut with "…". */
#ifndef NANO_ENGINE_META_PRINT_H
#define NANO_ENGINE_META_PRINT_H

#include "format/weights.h"

/* "u32", "string", "f32[4]" … */
void nano_meta_print_type(const struct nano_meta *meta, char *out, size_t out_bytes);

/* Zero-terminated, whole UTF-8 characters; out_bytes is at least 8. */
void nano_meta_print_value(const struct nano_meta *meta, char *out, size_t out_bytes);

#endif
