/* Characters as Python sees them: white space, letters, what repr escapes, case.
 *
 * Mappings are of one character; rules that look at neighbours are the callers'. */
#ifndef NANO_CHAT_UNICODE_H
#define NANO_CHAT_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

bool nano_unicode_is_space(uint32_t c);
bool nano_unicode_is_printable(uint32_t c);
bool nano_unicode_is_alpha(uint32_t c);
bool nano_unicode_is_decimal(uint32_t c);
uint32_t nano_unicode_decimal_value(uint32_t c); /* of a decimal digit */
bool nano_unicode_is_line_end(uint32_t c);
bool nano_unicode_is_lower(uint32_t c);
bool nano_unicode_is_upper(uint32_t c);

enum nano_case { NANO_CASE_UPPER, NANO_CASE_LOWER, NANO_CASE_TITLE, NANO_CASE_FOLD };

/* Writes 1 … 3 characters; returns how many. */
int nano_unicode_to_case(uint32_t c, enum nano_case which, uint32_t out[3]);

#endif
