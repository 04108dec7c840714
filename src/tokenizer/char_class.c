/* Classes of characters. */
#include "tokenizer/char_class.h"

#include <utf8proc.h>

#include "base/utf8.h"

bool nano_char_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool nano_char_is_word(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC;
}

bool nano_char_is_accent(uint32_t c)
{
    return c >= 0x300 && utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN;
}

bool nano_char_is_control(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_CN || category >= UTF8PROC_CATEGORY_CC;
}

bool nano_char_is_ideograph(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
           (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool nano_char_at(const char *text, size_t num_bytes, size_t pos, uint32_t *codepoint,
                  size_t *length)
{
    *length = (size_t)nano_utf8_decode(text + pos, num_bytes - pos, codepoint);
    return *length > 0;
}

bool nano_char_before(const char *text, size_t pos, uint32_t *codepoint, size_t *length)
{
    for (size_t back = 1; back <= 4 && back <= pos; back++)
        if (((unsigned char)text[pos - back] & 0xC0) != 0x80) {
            *length = back;
            return (size_t)nano_utf8_decode(text + pos - back, back, codepoint) == back;
        }
    return false;
}
