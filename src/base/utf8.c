/* UTF-8. */
#include "base/utf8.h"

#include <string.h>

/* Length that the first byte announces, 0 if it cannot begin a character. */
static int announced_length(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        return 2;
    if (first >= 0xE0 && first <= 0xEF)
        return 3;
    if (first >= 0xF0 && first <= 0xF4)
        return 4;
    return 0;
}

/* The second byte's range depends on the first (RFC 3629, section 4). */
static bool second_byte_fits(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xE0:
        return second >= 0xA0 && second <= 0xBF;
    case 0xED:
        return second >= 0x80 && second <= 0x9F;
    case 0xF0:
        return second >= 0x90 && second <= 0xBF;
    case 0xF4:
        return second >= 0x80 && second <= 0x8F;
    default:
        return (second & 0xC0) == 0x80;
    }
}

int nano_utf8_decode(const char *text, size_t num_bytes, uint32_t *codepoint)
{
    if (num_bytes == 0)
        return 0;
    const unsigned char *s = (const unsigned char *)text;
    int length = announced_length(s[0]);
    if (length == 0 || (size_t)length > num_bytes)
        return 0;
    if (length == 1) {
        *codepoint = s[0];
        return 1;
    }
    if (!second_byte_fits(s[0], s[1]))
        return 0;
    uint32_t value = s[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (s[i] & 0x3Fu);
    }
    *codepoint = value;
    return length;
}

int nano_utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        if (c >= 0xD800 && c <= 0xDFFF)
            return 0;
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    if (c > 0x10FFFF)
        return 0;
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t nano_utf8_valid_prefix(const char *text, size_t num_bytes)
{
    size_t i = 0;
    while (i < num_bytes) {
        uint64_t word;
        while (num_bytes - i >= sizeof word) { /* eight ASCII bytes at a time */
            memcpy(&word, text + i, sizeof word);
            if (word & 0x8080808080808080u)
                break;
            i += sizeof word;
        }
        uint32_t codepoint;
        int length = nano_utf8_decode(text + i, num_bytes - i, &codepoint);
        if (length == 0)
            break;
        i += (size_t)length;
    }
    return i;
}

size_t nano_utf8_incomplete_suffix(const char *text, size_t num_bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t back = 1; back <= 3 && back <= num_bytes; back++) {
        unsigned char byte = s[num_bytes - back];
        if ((byte & 0xC0) == 0x80)
            continue; /* a continuation byte: look further back */
        if ((size_t)announced_length(byte) <= back)
            return 0;
        if (back >= 2 && !second_byte_fits(byte, s[num_bytes - back + 1]))
            return 0;
        return back;
    }
    return 0;
}
