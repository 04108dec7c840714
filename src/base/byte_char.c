/* The byte-level alphabet. */
#include "base/byte_char.h"

#include <string.h>

#include "base/utf8.h"

#define FIRST_SHIFTED 0x100u
#define NUM_SHIFTED 68u

uint32_t nano_byte_char(unsigned char byte)
{
    if (byte <= 0x20)
        return FIRST_SHIFTED + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return FIRST_SHIFTED + 33u + (byte - 0x7Fu);
    if (byte == 0xAD)
        return FIRST_SHIFTED + NUM_SHIFTED - 1;
    return byte;
}

int nano_byte_of_char(uint32_t codepoint)
{
    if (codepoint >= FIRST_SHIFTED && codepoint < FIRST_SHIFTED + NUM_SHIFTED) {
        uint32_t index = codepoint - FIRST_SHIFTED;
        return (int)(index < 33 ? index : index < NUM_SHIFTED - 1 ? 0x7F + index - 33 : 0xAD);
    }
    return codepoint < 0x100 && nano_byte_char((unsigned char)codepoint) == codepoint
               ? (int)codepoint
               : -1;
}

size_t nano_byte_chars_decode(const char *text, size_t num_bytes, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < num_bytes;) {
        uint32_t codepoint;
        int length = nano_utf8_decode(text + i, num_bytes - i, &codepoint);
        int byte = length ? nano_byte_of_char(codepoint) : -1;
        if (length == 0)
            length = 1;
        if (byte >= 0) {
            out[written++] = (char)byte;
        } else {
            memcpy(out + written, text + i, (size_t)length);
            written += (size_t)length;
        }
        i += (size_t)length;
    }
    return written;
}

size_t nano_byte_chars_encode(const char *bytes, size_t num_bytes, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < num_bytes; i++) {
        char character[4];
        int length = nano_utf8_encode(nano_byte_char((unsigned char)bytes[i]), character);
        memcpy(out + written, character, (size_t)length);
        written += (size_t)length;
    }
    return written;
}
