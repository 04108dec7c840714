/* Source to tokens, with Jinja's rules for white space around tags (trim_blocks and lstrip_blocks
 * are on, as in transformers). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "chat/ast.h"
#include "chat/unicode.h"

#define MAX_BRACKETS 200

struct lexer {
    struct nano_jinja *j;
    const char *s; /* the source with \n as line ends */
    size_t num_bytes, pos;
    bool at_line_start;          /* what was read last ended with a line end */
    char brackets[MAX_BRACKETS]; /* that are open, as what closes them */
    int num_brackets;
    struct nano_token **tokens;
    size_t num, capacity;
};

static bool starts(const struct lexer *l, size_t pos, const char *text)
{
    size_t num = strlen(text);
    return num <= l->num_bytes - pos && memcmp(l->s + pos, text, num) == 0;
}

static struct nano_token *add(struct lexer *l, enum nano_token_type type)
{
    void *tokens = *l->tokens;
    if (!nano_mem_grow(&tokens, &l->capacity, l->num + 1, sizeof **l->tokens))
        nano_jinja_fail_status(l->j, NANO_ERR_NO_MEMORY, "no memory");
    *l->tokens = tokens;
    struct nano_token *token = &(*l->tokens)[l->num++];
    *token = (struct nano_token){.type = type, .line = l->j->line};
    return token;
}

static void count_lines(struct lexer *l, size_t from, size_t to)
{
    for (; from < to; from++)
        l->j->line += l->s[from] == '\n';
}

/* Goes on at `to`; everything before it has been dealt with. */
static void move_to(struct lexer *l, size_t to)
{
    count_lines(l, l->pos, to);
    if (to > l->pos)
        l->at_line_start = l->s[to - 1] == '\n';
    l->pos = to;
}

static size_t skip_space(const struct lexer *l, size_t pos)
{
    uint32_t c;
    for (int num; pos < l->num_bytes &&
                  (num = nano_utf8_decode(l->s + pos, l->num_bytes - pos, &c)) > 0 &&
                  nano_unicode_is_space(c);)
        pos += (size_t)num;
    return pos;
}

/* The end of the last character before `to` that is not white space. */
static size_t skip_space_back(const struct lexer *l, size_t from, size_t to)
{
    while (to > from) {
        uint32_t c;
        size_t start = to - 1;
        while (start > from && ((unsigned char)l->s[start] & 0xC0) == 0x80)
            start--;
        if (nano_utf8_decode(l->s + start, to - start, &c) == 0 || !nano_unicode_is_space(c))
            break;
        to = start;
    }
    return to;
}

/* ---- Text ------------------------------------------------------------------------------------ */

/* Text from l->pos to a tag at `to` whose sign is - or + or neither. */
static void add_text(struct lexer *l, size_t to, char sign, bool is_print)
{
    size_t end = to;
    if (sign == '-') {
        end = skip_space_back(l, l->pos, to);
    } else if (sign != '+' && !is_print) {
        size_t start = to;
        while (start > l->pos && l->s[start - 1] != '\n')
            start--;
        if ((start > l->pos || l->at_line_start) && skip_space_back(l, start, to) == start)
            end = start;
    }
    if (end > l->pos) {
        struct nano_token *token = add(l, NANO_TOKEN_DATA);
        token->s = l->s + l->pos;
        token->num_bytes = end - l->pos;
    }
    move_to(l, to);
}

static char sign_at(const struct lexer *l, size_t pos)
{
    return pos < l->num_bytes && (l->s[pos] == '-' || l->s[pos] == '+') ? l->s[pos] : '\0';
}

/* The end of a tag's end `close` at pos (with its sign), or 0 if there is none: -%} takes the white
 * space behind it, %} one line end. */
static size_t tag_end(const struct lexer *l, size_t pos, const char *close)
{
    bool is_print = close[0] == '}';
    char sign = sign_at(l, pos);
    if (sign && !(is_print && sign == '+') && starts(l, pos + 1, close))
        return sign == '-' ? skip_space(l, pos + 3) : pos + 3;
    if (!starts(l, pos, close))
        return 0;
    pos += 2;
    return !is_print && pos < l->num_bytes && l->s[pos] == '\n' ? pos + 1 : pos;
}

static void lex_comment(struct lexer *l, size_t start)
{
    size_t pos = start;
    for (; pos + 1 < l->num_bytes; pos++) {
        size_t end = tag_end(l, pos, "#}");
        if (end) {
            move_to(l, end);
            return;
        }
    }
    if (start < l->num_bytes)
        nano_jinja_fail(l->j, "missing end of comment tag");
    move_to(l, l->num_bytes);
}

/* The end of "{%- raw -%}" at pos, or 0. */
static size_t raw_tag_end(const struct lexer *l, size_t pos, const char *name, char *sign)
{
    if (!starts(l, pos, "{%"))
        return 0;
    *sign = sign_at(l, pos + 2);
    pos = skip_space(l, pos + 2 + (*sign ? 1 : 0));
    if (!starts(l, pos, name))
        return 0;
    pos = skip_space(l, pos + strlen(name));
    if (strcmp(name, "endraw") == 0)
        return tag_end(l, pos, "%}");
    if (starts(l, pos, "%}"))
        return pos + 2;
    return starts(l, pos, "-%}") ? skip_space(l, pos + 3) : 0;
}

static void lex_raw(struct lexer *l, size_t start)
{
    move_to(l, start);
    for (size_t pos = start; pos < l->num_bytes; pos++) {
        char sign;
        size_t end = raw_tag_end(l, pos, "endraw", &sign);
        if (end) {
            add_text(l, pos, sign, false);
            move_to(l, end);
            return;
        }
    }
    if (start < l->num_bytes)
        nano_jinja_fail(l->j, "missing end of raw block");
}

/* ---- Inside of tags -------------------------------------------------------------------------- */

static int digit_value(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : 99;
}

/* The end of digits of a base that single underscores may separate, or `pos`. */
static size_t digits(const struct lexer *l, size_t pos, int base, bool underscore_first)
{
    size_t end = pos;
    for (;;) {
        size_t next = end;
        if (next < l->num_bytes && l->s[next] == '_' && (end > pos || underscore_first))
            next++;
        if (next >= l->num_bytes || digit_value(l->s[next]) >= base)
            return end;
        end = next + 1;
    }
}

static size_t float_end(const struct lexer *l, size_t pos)
{
    size_t whole = digits(l, pos, 10, false), end = whole, exponent;
    if (pos > 0 && l->s[pos - 1] == '.')
        return 0;
    if (whole < l->num_bytes && l->s[whole] == '.' && digits(l, whole + 1, 10, false) > whole + 1)
        end = digits(l, whole + 1, 10, false);
    exponent = end;
    if (exponent < l->num_bytes && (l->s[exponent] | 32) == 'e') {
        exponent++;
        if (sign_at(l, exponent))
            exponent++;
        if (digits(l, exponent, 10, false) > exponent)
            return digits(l, exponent, 10, false);
    }
    return end > whole ? end : 0;
}

static size_t integer_end(const struct lexer *l, size_t pos, int *base)
{
    static const struct {
        char letter;
        int base;
    } prefixes[] = {{'b', 2}, {'o', 8}, {'x', 16}};
    *base = 10;
    for (int i = 0; i < 3 && l->s[pos] == '0' && pos + 1 < l->num_bytes; i++) {
        size_t end = (l->s[pos + 1] | 32) == prefixes[i].letter
                         ? digits(l, pos + 2, prefixes[i].base, true)
                         : pos + 2;
        if (end > pos + 2) {
            *base = prefixes[i].base;
            return end;
        }
    }
    return l->s[pos] == '0' ? digits(l, pos, 1, false) : digits(l, pos, 10, false);
}

static void lex_number(struct lexer *l)
{
    int base = 10;
    size_t end = float_end(l, l->pos);
    bool is_float = end > 0;
    if (!is_float)
        end = integer_end(l, l->pos, &base);
    char *text = nano_jinja_alloc(l->j, end - l->pos + 1, 1);
    size_t num = 0;
    for (size_t i = l->pos + (base == 10 ? 0 : 2); i < end; i++)
        if (l->s[i] != '_')
            text[num++] = l->s[i];
    struct nano_value value = is_float ? nano_value_float(nano_jinja_parse_double(text, num))
                                       : nano_jinja_parse_int(l->j, text, num, base);
    if (value.kind == NANO_MISSING)
        nano_jinja_fail(l->j, "the number %s is too large", text);
    add(l, NANO_TOKEN_NUMBER)->value = value;
    move_to(l, end);
}

/* Of \N{…}, names that a template may have use for. */
static uint32_t named_character(const char *name, size_t num_bytes)
{
    static const struct {
        const char *name;
        uint32_t codepoint;
    } names[] = {
        {"BULLET", 0x2022},
        {"COPYRIGHT SIGN", 0xA9},
        {"DEGREE SIGN", 0xB0},
        {"EM DASH", 0x2014},
        {"EN DASH", 0x2013},
        {"EURO SIGN", 0x20AC},
        {"HORIZONTAL ELLIPSIS", 0x2026},
        {"IDEOGRAPHIC SPACE", 0x3000},
        {"LEFT DOUBLE QUOTATION MARK", 0x201C},
        {"LEFT SINGLE QUOTATION MARK", 0x2018},
        {"LINE FEED", 0x0A},
        {"LINE SEPARATOR", 0x2028},
        {"MIDDLE DOT", 0xB7},
        {"NO-BREAK SPACE", 0xA0},
        {"REPLACEMENT CHARACTER", 0xFFFD},
        {"RIGHT DOUBLE QUOTATION MARK", 0x201D},
        {"RIGHT SINGLE QUOTATION MARK", 0x2019},
        {"RIGHTWARDS ARROW", 0x2192},
        {"SPACE", 0x20},
        {"ZERO WIDTH JOINER", 0x200D},
        {"ZERO WIDTH NO-BREAK SPACE", 0xFEFF},
        {"ZERO WIDTH SPACE", 0x200B},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == num_bytes && memcmp(name, names[i].name, num_bytes) == 0)
            return names[i].codepoint;
    return UINT32_MAX;
}

/* \x \u \U with so many hexadecimal digits. Returns the end. */
static size_t lex_hex(struct lexer *l, size_t pos, size_t end, int num_digits)
{
    uint32_t c = 0;
    for (int i = 0; i < num_digits; i++, pos++) {
        int value = pos < end ? digit_value(l->s[pos]) : 99;
        if (value >= 16)
            nano_jinja_fail(l->j, "truncated \\%c escape",
                            num_digits == 2   ? 'x'
                            : num_digits == 4 ? 'u'
                                              : 'U');
        c = c << 4 | (uint32_t)value;
    }
    nano_jinja_write_char(l->j, c);
    return pos;
}

/* One escape behind its backslash, as in Python. Returns the end. */
static size_t lex_escape(struct lexer *l, size_t pos, size_t end)
{
    static const char letters[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    char c = l->s[pos];
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        nano_jinja_write(l->j, values + (letter - letters), 1);
        return pos + 1;
    }
    if (c == '\n')
        return pos + 1;
    if (c == 'x' || c == 'u' || c == 'U')
        return lex_hex(l, pos + 1, end, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    if (c >= '0' && c <= '7') {
        uint32_t code = 0;
        for (int i = 0; i < 3 && pos < end && l->s[pos] >= '0' && l->s[pos] <= '7'; i++)
            code = code * 8 + (uint32_t)(l->s[pos++] - '0');
        nano_jinja_write_char(l->j, code);
        return pos;
    }
    if (c == 'N') {
        const char *close =
            pos + 1 < end && l->s[pos + 1] == '{' ? memchr(l->s + pos, '}', end - pos) : NULL;
        size_t stop = close ? (size_t)(close - l->s) : 0;
        uint32_t code = close ? named_character(l->s + pos + 2, stop - pos - 2) : UINT32_MAX;
        if (code == UINT32_MAX)
            nano_jinja_fail(l->j, "unknown character name in \\N{…}");
        nano_jinja_write_char(l->j, code);
        return stop + 1;
    }
    nano_jinja_write(l->j, "\\", 1);
    return pos;
}

static bool lex_string(struct lexer *l)
{
    char quote = l->s[l->pos];
    size_t end = l->pos + 1;
    while (end < l->num_bytes && l->s[end] != quote)
        end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->num_bytes)
        return false;
    size_t from = l->j->out_bytes;
    for (size_t pos = l->pos + 1; pos < end;) {
        if (l->s[pos] == '\\')
            pos = lex_escape(l, pos + 1, end);
        else
            nano_jinja_write(l->j, l->s + pos++, 1);
    }
    struct nano_value value = nano_jinja_take(l->j, from);
    add(l, NANO_TOKEN_STRING)->value = value;
    move_to(l, end + 1);
    return true;
}

/* The end of a name at pos, or pos. */
static size_t name_end(const struct lexer *l, size_t pos)
{
    size_t start = pos;
    while (pos < l->num_bytes) {
        uint32_t c;
        int num = nano_utf8_decode(l->s + pos, l->num_bytes - pos, &c);
        bool is_digit = num > 0 && nano_unicode_is_decimal(c);
        if (num == 0 || !(c == '_' || nano_unicode_is_alpha(c) || (is_digit && pos > start)))
            break;
        pos += (size_t)num;
    }
    return pos;
}

static bool lex_operator(struct lexer *l)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    const char *s = l->s + l->pos;
    size_t num = strchr("+-/*%~[](){}<>=.:|,;", *s) && *s ? 1 : 0;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (starts(l, l->pos, two[i]))
            num = 2;
    if (num == 0)
        return false;
    if (*s == '(' || *s == '[' || *s == '{') {
        if (l->num_brackets == MAX_BRACKETS)
            nano_jinja_fail(l->j, "too many open brackets");
        l->brackets[l->num_brackets++] = *s == '(' ? ')' : *s == '[' ? ']' : '}';
    } else if (*s == ')' || *s == ']' || *s == '}') {
        if (l->num_brackets == 0)
            nano_jinja_fail(l->j, "unexpected '%c'", *s);
        if (l->brackets[--l->num_brackets] != *s)
            nano_jinja_fail(l->j, "unexpected '%c', expected '%c'", *s,
                            l->brackets[l->num_brackets]);
    }
    struct nano_token *token = add(l, NANO_TOKEN_OPERATOR);
    memcpy(token->op, s, num);
    move_to(l, l->pos + num);
    return true;
}

static void lex_one(struct lexer *l)
{
    size_t end;
    char c = l->s[l->pos];
    if ((end = skip_space(l, l->pos)) > l->pos) {
        move_to(l, end);
    } else if (c >= '0' && c <= '9') {
        lex_number(l);
    } else if ((end = name_end(l, l->pos)) > l->pos) {
        struct nano_token *token = add(l, NANO_TOKEN_NAME);
        token->s = l->s + l->pos;
        token->num_bytes = end - l->pos;
        move_to(l, end);
    } else if (!((c == '\'' || c == '"') && lex_string(l)) && !lex_operator(l)) {
        uint32_t character = 0;
        int num = nano_utf8_decode(l->s + l->pos, l->num_bytes - l->pos, &character);
        nano_jinja_fail(l->j, "unexpected character '%.*s'", num, l->s + l->pos);
    }
}

static void lex_tag(struct lexer *l, bool is_print)
{
    add(l, is_print ? NANO_TOKEN_PRINT : NANO_TOKEN_BLOCK);
    l->num_brackets = 0;
    while (l->pos < l->num_bytes) {
        size_t end = l->num_brackets == 0 ? tag_end(l, l->pos, is_print ? "}}" : "%}") : 0;
        if (end) {
            add(l, is_print ? NANO_TOKEN_PRINT_END : NANO_TOKEN_BLOCK_END);
            move_to(l, end);
            return;
        }
        lex_one(l);
    }
}

/* ---- The whole ------------------------------------------------------------------------------- */

static void normalize(struct lexer *l, const char *source, size_t num_bytes)
{
    char *text = nano_jinja_alloc(l->j, num_bytes, 1);
    size_t num = 0;
    for (size_t i = 0; i < num_bytes; i++) {
        text[num++] = source[i] == '\r' ? '\n' : source[i];
        if (source[i] == '\r' && i + 1 < num_bytes && source[i + 1] == '\n')
            i++;
    }
    if (num > 0 && text[num - 1] == '\n')
        num--;
    l->s = text;
    l->num_bytes = num;
}

void nano_jinja_lex(struct nano_jinja *j, const char *source, size_t num_bytes,
                    struct nano_token **tokens, size_t *num_tokens)
{
    struct lexer l = {.j = j, .at_line_start = true, .tokens = tokens};
    j->line = 1;
    normalize(&l, source, num_bytes);
    while (l.pos < l.num_bytes) {
        size_t tag = l.pos, raw_end;
        while (tag < l.num_bytes && !(l.s[tag] == '{' && tag + 1 < l.num_bytes &&
                                      strchr("{%#", l.s[tag + 1]) && l.s[tag + 1]))
            tag++;
        if (tag == l.num_bytes) {
            add_text(&l, tag, '+', false);
            break;
        }
        char kind = l.s[tag + 1], sign = '\0';
        if ((raw_end = raw_tag_end(&l, tag, "raw", &sign)) > 0) {
            add_text(&l, tag, sign, false);
            lex_raw(&l, raw_end);
            continue;
        }
        sign = sign_at(&l, tag + 2);
        add_text(&l, tag, sign, kind == '{');
        size_t inside = tag + 2 + (sign ? 1 : 0);
        if (kind == '#') {
            lex_comment(&l, inside);
        } else {
            move_to(&l, inside);
            lex_tag(&l, kind == '{');
        }
    }
    add(&l, NANO_TOKEN_END);
    *num_tokens = l.num;
}
