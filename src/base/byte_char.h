/* The byte-level alphabet: every byte as one printable character (GPT-2's mapping).
 *
 * Vocabularies of byte-level BPE are written in it: the printable bytes of Latin-1 (0x21 … 0x7E,
 * 0xA1 … 0xAC, 0xAE … 0xFF) stand for themselves, the other 68 are U+0100 … U+0143 in order. */
#ifndef NANO_BASE_BYTE_CHAR_H
#define NANO_BASE_BYTE_CHAR_H

#include <stddef.h>
#include <stdint.h>

/* The code point of a byte. */
uint32_t nano_byte_char(unsigned char byte);

/* The byte of a code point, -1 if it is none of the alphabet. */
int nano_byte_of_char(uint32_t codepoint);

/* Writes the bytes that `text` stands for (never more than num_bytes); characters outside the
 * alphabet and invalid UTF-8 stay as they are. */
size_t nano_byte_chars_decode(const char *text, size_t num_bytes, char *out);

/* The reverse: writes at most 2 x num_bytes. */
size_t nano_byte_chars_encode(const char *bytes, size_t num_bytes, char *out);

#endif
