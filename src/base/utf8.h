/* UTF-8 (RFC 3629): surrogates, overlong forms and values above U+10FFFF are invalid. */
#ifndef NANO_BASE_UTF8_H
#define NANO_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NANO_UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Decodes the character at text[0 … num_bytes). Returns its length 1 … 4, or 0 if the bytes are not
 * a whole valid character (or num_bytes is 0). */
int nano_utf8_decode(const char *text, size_t num_bytes, uint32_t *codepoint);

/* Writes 1 … 4 bytes; returns how many, 0 for an invalid code point. */
int nano_utf8_encode(uint32_t codepoint, char out[4]);

/* Length of the longest valid prefix. */
size_t nano_utf8_valid_prefix(const char *text, size_t num_bytes);

/* How many bytes at the end of the text are the beginning of a character that later bytes could
 * complete (0 … 3). */
size_t nano_utf8_incomplete_suffix(const char *text, size_t num_bytes);

#endif
