/* Filters that make numbers, and reading numbers from text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "chat/jinja.h"
#include "chat/unicode.h"

#define FILTER(name)                                                            \
    static struct nano_value name(struct nano_jinja *j, struct nano_value self, \
                                  const struct nano_value *p, const struct nano_args *args)
#define UNUSED (void)j, (void)self, (void)p, (void)args

/* ---- Reading --------------------------------------------------------------------------------- */

double nano_jinja_parse_double(const char *s, size_t num_bytes)
{
    char text[400];
    if (num_bytes >= sizeof text)
        num_bytes = sizeof text - 1; /* digits beyond that do not change the number */
    memcpy(text, s, num_bytes);
    text[num_bytes] = '\0';
    return strtod(text, NULL);
}

static int digit_value(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                : 99;
}

struct nano_value nano_jinja_parse_int(struct nano_jinja *j, const char *s, size_t num_bytes,
                                       int base)
{
    bool minus = num_bytes && s[0] == '-', overflow = false;
    size_t i = num_bytes && (s[0] == '-' || s[0] == '+');
    int64_t value = 0;
    if (i == num_bytes)
        return (struct nano_value){0};
    size_t first = i;
    for (; i < num_bytes; i++) {
        int digit = digit_value(s[i]);
        if (digit >= base)
            return (struct nano_value){0};
        overflow |= __builtin_mul_overflow(value, (int64_t)base, &value) ||
                    __builtin_add_overflow(value, (int64_t)(minus ? -digit : digit), &value);
    }
    if (!overflow)
        return nano_value_int(value);
    while (first + 1 < num_bytes && s[first] == '0')
        first++;
    if (base != 10 || num_bytes - first > 4300) /* as many as Python reads */
        return (struct nano_value){0};
    char *text = nano_jinja_alloc(j, num_bytes + 1, 1);
    size_t length = 0;
    if (minus)
        text[length++] = '-';
    memcpy(text + length, s + first, num_bytes - first);
    struct nano_value big = nano_value_borrow(j, text, length + num_bytes - first);
    big.kind = NANO_BIG;
    return big;
}

/* The text without white space around it and without underscores between digits, all of them of
 * ASCII. */
static const struct nano_str *plain_number(struct nano_jinja *j, const struct nano_str *str)
{
    str = nano_str_strip(j, str, NANO_STRIP_LEFT | NANO_STRIP_RIGHT, NULL).str;
    char *text = nano_jinja_alloc(j, str->num_bytes, 1);
    size_t num = 0;
    for (size_t i = 0; i < str->num_bytes;) {
        uint32_t c = 0;
        int length = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
        bool between = i > 0 && i + 1 < str->num_bytes && digit_value(str->s[i - 1]) < 36 &&
                       digit_value(str->s[i + 1]) < 36;
        if (nano_unicode_is_decimal(c))
            text[num++] = (char)('0' + nano_unicode_decimal_value(c));
        else if (c != '_' || !between)
            text[num++] = c < 0x80 ? (char)c : '?';
        i += length > 0 ? (size_t)length : 1;
    }
    return nano_value_borrow(j, text, num).str;
}

static bool parse_float(struct nano_jinja *j, const struct nano_str *str, double *out)
{
    char text[400], *end;
    str = plain_number(j, str);
    if (str->num_bytes == 0 || str->num_bytes >= sizeof text)
        return false;
    memcpy(text, str->s, str->num_bytes);
    text[str->num_bytes] = '\0';
    if (strpbrk(text, "xXpP(") || strlen(text) != str->num_bytes || text[0] <= ' ')
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

static struct nano_value parse_prefixed(struct nano_jinja *j, const struct nano_str *str,
                                        int64_t base)
{
    str = plain_number(j, str);
    const char *s = str->s;
    size_t num = str->num_bytes, sign = num && (s[0] == '-' || s[0] == '+');
    char letter = num > sign + 2 && s[sign] == '0' ? (char)(s[sign + 1] | 32) : '\0';
    int64_t implied = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    bool has_prefix = implied && (base == implied || base == 0);
    if (base == 0)
        base = implied ? implied : 10;
    if (base < 2 || base > 36)
        nano_jinja_fail(j, "int: a base of %lld", (long long)base);
    if (!has_prefix)
        return nano_jinja_parse_int(j, s, num, (int)base);
    struct nano_value v = nano_jinja_parse_int(j, s + sign + 2, num - sign - 2, (int)base);
    return v.kind == NANO_INT && s[0] == '-' ? nano_value_int(-v.i) : v;
}

static _Noreturn void fail_undefined(struct nano_jinja *j, struct nano_value v)
{
    nano_jinja_fail(j, "%s", v.undefined ? v.undefined->why : "undefined");
}

static struct nano_value truncated(struct nano_jinja *j, double f, struct nano_value otherwise)
{
    if (isnan(f) || isinf(f))
        return otherwise;
    if (f >= 9223372036854775808.0 || f < -9223372036854775808.0)
        nano_jinja_fail(j, "an integer of more than 64 bits");
    return nano_value_int((int64_t)f);
}

/* ---- Filters --------------------------------------------------------------------------------- */

FILTER(do_int)
{
    UNUSED;
    struct nano_value otherwise = p[0].kind == NANO_MISSING ? nano_value_int(0) : p[0], v;
    double f;
    switch (self.kind) {
    case NANO_UNDEFINED:
        fail_undefined(j, self);
    case NANO_BOOL:
        return nano_value_int(self.b);
    case NANO_INT:
    case NANO_BIG:
        return self;
    case NANO_FLOAT:
        return truncated(j, self.f, otherwise);
    case NANO_STR:
        v = parse_prefixed(j, self.str,
                           p[1].kind == NANO_MISSING ? 10 : nano_value_to_int(j, p[1], "int"));
        if (v.kind != NANO_MISSING)
            return v;
        return parse_float(j, self.str, &f) ? truncated(j, f, otherwise) : otherwise;
    default:
        return otherwise;
    }
}

FILTER(do_float)
{
    UNUSED;
    double f;
    if (self.kind == NANO_UNDEFINED)
        fail_undefined(j, self);
    if (nano_value_is_number(self))
        return nano_value_float(nano_value_to_double(self));
    if ((self.kind == NANO_STR || self.kind == NANO_BIG) && parse_float(j, self.str, &f))
        return nano_value_float(f);
    return p[0].kind == NANO_MISSING ? nano_value_float(0) : p[0];
}

FILTER(do_abs)
{
    UNUSED;
    if (self.kind == NANO_FLOAT)
        return nano_value_float(fabs(self.f));
    if (self.kind == NANO_BOOL || self.kind == NANO_INT)
        return nano_value_negate(j, self, self.kind == NANO_INT && self.i < 0);
    nano_jinja_fail(j, "bad operand for abs: '%s'", nano_value_type(self));
}

/* To so many decimals as Python does it: the exact decimal value is rounded, half to even. */
static double round_decimals(double f, int64_t precision)
{
    char text[700];
    if (isnan(f) || isinf(f) || precision > 300)
        return f;
    if (precision < -310)
        return 0 * f;
    if (precision >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)precision, f);
        return strtod(text, NULL);
    }
    double power = pow(10, (double)-precision);
    return rint(f / power) * power;
}

FILTER(do_round)
{
    UNUSED;
    int64_t precision = p[0].kind == NANO_MISSING ? 0 : nano_value_to_int(j, p[0], "round");
    bool common = p[1].kind == NANO_MISSING || nano_value_is_str(p[1], "common");
    if (self.kind == NANO_UNDEFINED)
        fail_undefined(j, self);
    if (!nano_value_is_number(self))
        nano_jinja_fail(j, "round: expected a number, got '%s'", nano_value_type(self));
    if (!common && !nano_value_is_str(p[1], "ceil") && !nano_value_is_str(p[1], "floor"))
        nano_jinja_fail(j, "round: the method must be common, ceil or floor");
    if (!common) {
        double power = pow(10, (double)precision), f = nano_value_to_double(self) * power;
        return nano_value_float((nano_value_is_str(p[1], "ceil") ? ceil(f) : floor(f)) / power);
    }
    if (self.kind == NANO_FLOAT)
        return nano_value_float(round_decimals(self.f, precision));
    if (precision >= 0)
        return self.kind == NANO_BOOL ? nano_value_int(self.b) : self;
    return truncated(j, round_decimals(nano_value_to_double(self), precision), self);
}

FILTER(do_filesizeformat)
{
    UNUSED;
    static const char letters[] = "kMGTPEZY";
    bool binary = nano_value_truth(j, p[0]);
    double num = 0;
    if (nano_value_is_number(self))
        num = nano_value_to_double(self);
    else if (self.kind != NANO_STR || !parse_float(j, self.str, &num))
        nano_jinja_fail(j, "filesizeformat: expected a number, got '%s'", nano_value_type(self));
    double base = binary ? 1024 : 1000, unit = base;
    size_t from = j->out_bytes, i = 0;
    if (num == 1)
        return nano_value_cstr(j, "1 Byte");
    if (num < base) {
        nano_jinja_printf(j, "%.0f Bytes", trunc(num));
        return nano_jinja_take(j, from);
    }
    while (i < 7 && num >= unit * base) {
        unit *= base;
        i++;
    }
    nano_jinja_printf(j, "%.1f %c%sB", num / unit, binary && i == 0 ? 'K' : letters[i],
                      binary ? "i" : "");
    return nano_jinja_take(j, from);
}

const struct nano_function nano_number_filters[] = {
    {"int", "default? base?", do_int},
    {"float", "default?", do_float},
    {"abs", "", do_abs},
    {"round", "precision? method?", do_round},
    {"filesizeformat", "binary?", do_filesizeformat},
};
const size_t nano_num_number_filters = sizeof nano_number_filters / sizeof *nano_number_filters;
