/* Characters as Python sees them: white space, letters, what repr escapes, case.
 *
 * Simple mappings are Unicode's; of the rules that look at neighbours (final sigma, title case of
 * digraphs) none is applied. */
#ifndef NANO_CHAT_UNICODE_H
#define NANO_CHAT_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

bool nano_unicode_is_space(uint32_t c);
bool nano_unicode_is_printable(uint32_t c);
bool nano_unicode_is_alpha(uint32_t c);
bool nano_unicode_is_decimal(uint32_t c);
bool nano_unicode_is_line_end(uint32_t c);
bool nano_unicode_is_lower(uint32_t c);
bool nano_unicode_is_upper(uint32_t c);

enum nano_case { NANO_CASE_UPPER, NANO_CASE_LOWER, NANO_CASE_TITLE, NANO_CASE_FOLD };

/* Writes 1 … 3 characters; returns how many. */
int nano_unicode_to_case(uint32_t c, enum nano_case which, uint32_t out[3]);

#endif
