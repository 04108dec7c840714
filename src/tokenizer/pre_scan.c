/* Scanners. */
#include "tokenizer/pre_scan.h"

#include <stdbool.h>

enum {
    LETTER = 1,
    DIGIT = 2,
    SPACE = 4, /* whitespace of any kind */
    SIGN = 8,  /* all other ASCII, control characters too */
    FAR = 16   /* not ASCII */
};

/* clang-format off */
static const unsigned char classes[256] = {
    8,8,8,8,8,8,8,8,8,4,4,4,4,4,8,8, 8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,
    4,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8, 2,2,2,2,2,2,2,2,2,2,8,8,8,8,8,8,
    8,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1,1,1,8,8,8,8,8,
    8,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1,1,1,8,8,8,8,8,
    16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16, 16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,
    16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16, 16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,
    16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16, 16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,
    16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16, 16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,
};
/* clang-format on */

static unsigned class_at(const char *text, size_t pos)
{
    return classes[(unsigned char)text[pos]];
}

/* The end of the run of one class, 0 if it runs into a byte that may continue it. */
static size_t run_end(const char *text, size_t num_bytes, size_t pos, unsigned class)
{
    while (pos < num_bytes && class_at(text, pos) == class)
        pos++;
    return pos < num_bytes && class_at(text, pos) == FAR ? 0 : pos;
}

/* The end of 's 't 're 've 'm 'll 'd at the apostrophe `pos`, 0 if none stands there. `fold` is
 * what to set in a letter before comparing: 0x20 makes capitals small. */
static size_t contraction_end(const char *text, size_t num_bytes, size_t pos, int fold)
{
    if (pos + 1 >= num_bytes)
        return 0;
    int first = text[pos + 1] | fold;
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return pos + 2;
    if (pos + 2 >= num_bytes)
        return 0;
    int second = text[pos + 2] | fold;
    if ((second == 'e' && (first == 'r' || first == 'v')) || (second == 'l' && first == 'l'))
        return pos + 3;
    return 0;
}

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

/* \s+(?!\S)|\s+ for the run [pos, end): all but the last one if something follows. */
static size_t whitespace_end(size_t num_bytes, size_t pos, size_t end)
{
    return end < num_bytes && end - pos > 1 ? end - 1 : end;
}

size_t nano_scan_gpt2(const char *text, size_t num_bytes, size_t pos)
{
    if (text[pos] == '\'') {
        size_t end = contraction_end(text, num_bytes, pos, 0);
        if (end)
            return end;
    }
    size_t word = pos;
    if (text[pos] == ' ' && pos + 1 < num_bytes && class_at(text, pos + 1) != SPACE)
        word = pos + 1;
    unsigned class = class_at(text, word);
    if (class == FAR)
        return 0;
    size_t end = run_end(text, num_bytes, word, class);
    return class == SPACE && end ? whitespace_end(num_bytes, pos, end) : end;
}

static size_t scan_cl100k(const char *text, size_t num_bytes, size_t pos, size_t max_digits)
{
    if (text[pos] == '\'') {
        size_t end = contraction_end(text, num_bytes, pos, 0x20);
        if (end)
            return end;
    }
    unsigned class = class_at(text, pos);
    if (class == LETTER)
        return run_end(text, num_bytes, pos, LETTER);
    if (class == DIGIT) {
        size_t end = pos + 1;
        while (end < num_bytes && end - pos < max_digits && class_at(text, end) == DIGIT)
            end++;
        bool may_go_on = end < num_bytes && end - pos < max_digits && class_at(text, end) == FAR;
        return may_go_on ? 0 : end;
    }
    if (class == FAR)
        return 0;
    if (pos + 1 < num_bytes && !is_line_end(text[pos])) {
        unsigned next = class_at(text, pos + 1);
        if (next == FAR)
            return 0;
        if (next == LETTER)
            return run_end(text, num_bytes, pos + 1, LETTER);
        if (text[pos] == ' ' && next == SIGN)
            class = SIGN;
    }
    if (class == SIGN) {
        size_t end = run_end(text, num_bytes, pos + 1, SIGN);
        while (end && end < num_bytes && is_line_end(text[end]))
            end++;
        return end;
    }
    size_t end = run_end(text, num_bytes, pos, SPACE);
    for (size_t i = end; i > pos; i--)
        if (is_line_end(text[i - 1]))
            return i;
    return end ? whitespace_end(num_bytes, pos, end) : 0;
}

size_t nano_scan_llama3(const char *text, size_t num_bytes, size_t pos)
{
    return scan_cl100k(text, num_bytes, pos, 3);
}

size_t nano_scan_qwen2(const char *text, size_t num_bytes, size_t pos)
{
    return scan_cl100k(text, num_bytes, pos, 1);
}
