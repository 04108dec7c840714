/* Classes of characters as the tokenizers' reference implementations see them. */
#ifndef NANO_TOKENIZER_CHAR_CLASS_H
#define NANO_TOKENIZER_CHAR_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool nano_char_is_space(uint32_t codepoint);     /* Unicode's White_Space */
bool nano_char_is_word(uint32_t codepoint);      /* letters, marks, numbers, connectors */
bool nano_char_is_accent(uint32_t codepoint);    /* nonspacing marks */
bool nano_char_is_control(uint32_t codepoint);   /* "other": controls, formats, unassigned */
bool nano_char_is_ideograph(uint32_t codepoint); /* what BERT calls a Chinese character */

/* The character before text[pos] or at it; false at the text's edge and for invalid bytes. */
bool nano_char_before(const char *text, size_t pos, uint32_t *codepoint, size_t *length);
bool nano_char_at(const char *text, size_t num_bytes, size_t pos, uint32_t *codepoint,
                  size_t *length);

#endif
