/* Methods of strings: case, kinds of characters, padding. */
#include <string.h>

#include "base/utf8.h"
#include "chat/jinja.h"
#include "chat/unicode.h"

#define METHOD(name)                                                            \
    static struct nano_value name(struct nano_jinja *j, struct nano_value self, \
                                  const struct nano_value *p, const struct nano_args *args)
#define UNUSED (void)j, (void)self, (void)p, (void)args

#define CASE_METHOD(name, which)                  \
    METHOD(name)                                  \
    {                                             \
        UNUSED;                                   \
        return nano_str_case(j, self.str, which); \
    }
CASE_METHOD(str_upper, NANO_STR_UPPER)
CASE_METHOD(str_lower, NANO_STR_LOWER)
CASE_METHOD(str_title, NANO_STR_TITLE)
CASE_METHOD(str_capitalize, NANO_STR_CAPITALIZE)
CASE_METHOD(str_swapcase, NANO_STR_SWAP)
CASE_METHOD(str_casefold, NANO_STR_FOLD)

/* ---- What characters a string has ------------------------------------------------------------ */

static bool is_digit(uint32_t c)
{
    return nano_unicode_is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 ||
           (c >= 0x2070 && c <= 0x2089 && c != 0x2071);
}

static bool is_alnum(uint32_t c)
{
    return nano_unicode_is_alpha(c) || is_digit(c);
}

static bool is_ascii(uint32_t c)
{
    return c < 0x80;
}

static bool is_identifier(uint32_t c)
{
    return c == '_' || is_alnum(c);
}

static struct nano_value all(struct nano_jinja *j, const struct nano_str *str,
                             bool (*test)(uint32_t), bool if_empty)
{
    if (str->num_bytes == 0)
        return nano_value_bool(if_empty);
    nano_jinja_step(j, str->num_bytes / 2);
    for (size_t i = 0; i < str->num_bytes;) {
        uint32_t c = 0;
        int num = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
        if (!test(c))
            return nano_value_bool(false);
        i += num > 0 ? (size_t)num : 1;
    }
    return nano_value_bool(true);
}

#define KIND_METHOD(name, test, if_empty)        \
    METHOD(name)                                 \
    {                                            \
        UNUSED;                                  \
        return all(j, self.str, test, if_empty); \
    }
KIND_METHOD(str_isdigit, is_digit, false)
KIND_METHOD(str_isdecimal, nano_unicode_is_decimal, false)
KIND_METHOD(str_isalpha, nano_unicode_is_alpha, false)
KIND_METHOD(str_isalnum, is_alnum, false)
KIND_METHOD(str_isspace, nano_unicode_is_space, false)
KIND_METHOD(str_isascii, is_ascii, true)
KIND_METHOD(str_isprintable, nano_unicode_is_printable, true)

METHOD(str_isidentifier)
{
    UNUSED;
    bool starts = self.str->num_bytes > 0 && !(self.str->s[0] >= '0' && self.str->s[0] <= '9');
    return starts ? all(j, self.str, is_identifier, false) : nano_value_bool(false);
}

/* True if the string has letters and none that `which` would change. */
static bool has_case(struct nano_jinja *j, const struct nano_str *str, enum nano_str_case which)
{
    bool has_letters = false;
    struct nano_value changed = nano_str_case(j, str, which);
    for (size_t i = 0; i < str->num_bytes && !has_letters;) {
        uint32_t c = 0;
        int num = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
        has_letters = nano_unicode_is_lower(c) || nano_unicode_is_upper(c);
        i += num > 0 ? (size_t)num : 1;
    }
    return has_letters && changed.str->num_bytes == str->num_bytes &&
           memcmp(changed.str->s, str->s, str->num_bytes) == 0;
}

#define HAS_CASE_METHOD(name, which)                          \
    METHOD(name)                                              \
    {                                                         \
        UNUSED;                                               \
        return nano_value_bool(has_case(j, self.str, which)); \
    }
HAS_CASE_METHOD(str_isupper, NANO_STR_UPPER)
HAS_CASE_METHOD(str_islower, NANO_STR_LOWER)
HAS_CASE_METHOD(str_istitle, NANO_STR_TITLE)

/* ---- Padding --------------------------------------------------------------------------------- */

static void write_fill(struct nano_jinja *j, const struct nano_str *fill, int64_t num)
{
    for (; num > 0; num--)
        nano_jinja_write(j, fill->s, fill->num_bytes);
    nano_jinja_step(j, 1);
}

/* How many characters are missing to the width. */
static int64_t missing(struct nano_jinja *j, struct nano_value self, struct nano_value width)
{
    int64_t length = (int64_t)nano_str_chars(self.str);
    int64_t wanted = nano_value_to_int(j, width, "a width");
    if (wanted > (int64_t)j->max_out_bytes)
        nano_jinja_fail(j, "a width of %lld characters is too large", (long long)wanted);
    return wanted > length ? wanted - length : 0;
}

static struct nano_value pad(struct nano_jinja *j, struct nano_value self, struct nano_value fill,
                             int64_t left, int64_t right)
{
    static const struct nano_str space = {" ", 1, 1, false};
    size_t from = j->out_bytes;
    if (fill.kind != NANO_MISSING && (fill.kind != NANO_STR || nano_str_chars(fill.str) != 1))
        nano_jinja_fail(j, "expected one character to fill with");
    const struct nano_str *with = fill.kind == NANO_MISSING ? &space : fill.str;
    nano_jinja_step(j, (uint64_t)(left + right));
    write_fill(j, with, left);
    nano_jinja_write(j, self.str->s, self.str->num_bytes);
    write_fill(j, with, right);
    return nano_jinja_take(j, from);
}

METHOD(str_ljust)
{
    UNUSED;
    return pad(j, self, p[1], 0, missing(j, self, p[0]));
}

METHOD(str_rjust)
{
    UNUSED;
    return pad(j, self, p[1], missing(j, self, p[0]), 0);
}

METHOD(str_center)
{
    UNUSED;
    int64_t num = missing(j, self, p[0]);
    int64_t wanted = num + (int64_t)nano_str_chars(self.str);
    int64_t left = num / 2 + (num & wanted & 1);
    return pad(j, self, p[1], left, num - left);
}

METHOD(str_zfill)
{
    UNUSED;
    int64_t num = missing(j, self, p[0]);
    size_t from = j->out_bytes;
    bool sign = self.str->num_bytes && (self.str->s[0] == '-' || self.str->s[0] == '+');
    nano_jinja_write(j, self.str->s, sign);
    for (; num > 0; num--)
        nano_jinja_write(j, "0", 1);
    nano_jinja_write(j, self.str->s + sign, self.str->num_bytes - sign);
    return nano_jinja_take(j, from);
}

METHOD(str_expandtabs)
{
    UNUSED;
    int64_t size = p[0].kind == NANO_MISSING ? 8 : nano_value_to_int(j, p[0], "expandtabs()");
    int64_t column = 0;
    size_t from = j->out_bytes;
    for (size_t i = 0; i < self.str->num_bytes; i++) {
        char c = self.str->s[i];
        int64_t num = c == '\t' && size > 0 ? size - column % size : 0;
        if (c == '\t') {
            column += num;
            if (num > (int64_t)j->max_out_bytes)
                nano_jinja_fail(j, "expandtabs(): too wide");
            nano_jinja_step(j, (uint64_t)num);
            for (; num > 0; num--)
                nano_jinja_write(j, " ", 1);
            continue;
        }
        nano_jinja_write(j, &c, 1);
        column = c == '\n' || c == '\r' ? 0 : column + (((unsigned char)c & 0xC0) != 0x80);
    }
    return nano_jinja_take(j, from);
}

METHOD(str_translate)
{
    UNUSED;
    size_t from = j->out_bytes;
    if (p[0].kind != NANO_DICT)
        nano_jinja_fail(j, "translate(): expected a dict");
    for (size_t i = 0; i < self.str->num_bytes;) {
        uint32_t c = 0;
        int num = nano_utf8_decode(self.str->s + i, self.str->num_bytes - i, &c);
        struct nano_value *to = nano_dict_find(j, p[0].dict, nano_value_int(c));
        if (!to)
            nano_jinja_write_char(j, c);
        else if (to->kind == NANO_INT && to->i >= 0 && to->i <= 0x10FFFF)
            nano_jinja_write_char(j, (uint32_t)to->i);
        else if (to->kind == NANO_STR)
            nano_value_print(j, *to);
        else if (to->kind != NANO_NONE)
            nano_jinja_fail(j, "translate(): expected characters");
        i += num > 0 ? (size_t)num : 1;
    }
    return nano_jinja_take(j, from);
}

METHOD(str_encode)
{
    UNUSED;
    return (struct nano_value){.kind = NANO_BYTES, .str = self.str};
}

METHOD(str_format)
{
    UNUSED;
    return nano_str_format(j, self.str, args);
}

METHOD(str_format_map)
{
    UNUSED;
    if (p[0].kind != NANO_DICT)
        nano_jinja_fail(j, "format_map(): expected a dict");
    struct nano_dict *dict = p[0].dict;
    struct nano_args named = {0};
    named.keywords = nano_jinja_alloc(j, dict->num, sizeof *named.keywords);
    for (size_t i = 0; i < dict->num; i++)
        if (dict->entries[i].key.kind == NANO_STR)
            named.keywords[named.num_keywords++] =
                (struct nano_keyword){dict->entries[i].key.str, dict->entries[i].value};
    return nano_str_format(j, self.str, &named);
}

const struct nano_function nano_str_more_methods[] = {
    {"upper", "/", str_upper},
    {"lower", "/", str_lower},
    {"title", "/", str_title},
    {"capitalize", "/", str_capitalize},
    {"swapcase", "/", str_swapcase},
    {"casefold", "/", str_casefold},
    {"isdigit", "/", str_isdigit},
    {"isdecimal", "/", str_isdecimal},
    {"isnumeric", "/", str_isdigit},
    {"isalpha", "/", str_isalpha},
    {"isalnum", "/", str_isalnum},
    {"isspace", "/", str_isspace},
    {"isascii", "/", str_isascii},
    {"isprintable", "/", str_isprintable},
    {"isidentifier", "/", str_isidentifier},
    {"isupper", "/", str_isupper},
    {"islower", "/", str_islower},
    {"istitle", "/", str_istitle},
    {"ljust", "/width fill?", str_ljust},
    {"rjust", "/width fill?", str_rjust},
    {"center", "/width fill?", str_center},
    {"zfill", "/width", str_zfill},
    {"expandtabs", "tabsize?", str_expandtabs},
    {"translate", "/table", str_translate},
    {"encode", "encoding? errors?", str_encode},
    {"format", "*", str_format},
    {"format_map", "/mapping", str_format_map},
};
const size_t nano_num_str_more_methods =
    sizeof nano_str_more_methods / sizeof *nano_str_more_methods;
