/* Formats: "%s" % x and "{}".format(x). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "chat/jinja.h"

#define MAX_WIDTH 100000

struct spec { /* of one number or text, both kinds of formats */
    uint32_t fill;
    char align; /* < > ^ = or 0: as is usual */
    char sign;  /* + space or 0 */
    bool alternate, zero;
    char grouping;            /* , _ or 0 */
    int64_t width, precision; /* -1: none */
    char type;
};

static const struct nano_str *text(struct nano_jinja *j, struct nano_value v, bool repr)
{
    if (!repr)
        return nano_value_to_str(j, v).str;
    size_t from = j->out_bytes;
    nano_value_repr(j, v);
    return nano_jinja_take(j, from).str;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void fill(struct nano_jinja *j, uint32_t c, int64_t num)
{
    for (; num > 0; num--)
        nano_jinja_write_char(j, c);
}

/* sign and body, padded to the width. */
static void write_padded(struct nano_jinja *j, const struct spec *spec, const char *sign,
                         const struct nano_str *body, char usual)
{
    struct nano_str counted = *body;
    int64_t missing = spec->width - (int64_t)nano_str_chars(&counted) - (int64_t)strlen(sign);
    char align = spec->align ? spec->align : spec->zero ? '=' : usual;
    uint32_t with = spec->fill ? spec->fill : spec->zero ? '0' : ' ';
    int64_t left = align == '<' || missing < 0 ? 0 : align == '^' ? missing / 2 : missing;
    if (align != '=')
        fill(j, with, left);
    nano_jinja_write(j, sign, strlen(sign));
    if (align == '=')
        fill(j, with, left);
    nano_jinja_write(j, body->s, body->num_bytes);
    fill(j, with, missing - left);
}

static void write_text(struct nano_jinja *j, const struct spec *spec, const struct nano_str *str,
                       char usual)
{
    struct nano_str cut = *str;
    if (spec->precision >= 0 && (int64_t)nano_str_chars(&cut) > spec->precision) {
        cut.num_bytes = nano_str_offset(&cut, (size_t)spec->precision);
        cut.num_chars = SIZE_MAX;
    }
    write_padded(j, spec, "", &cut, usual);
}

/* Digits with a separator between groups of three. */
static struct nano_value group(struct nano_jinja *j, const char *digits, char separator)
{
    size_t whole = strspn(digits, "0123456789"), from = j->out_bytes;
    for (size_t i = 0; i < whole; i++) {
        if (i && (whole - i) % 3 == 0)
            nano_jinja_write(j, &separator, 1);
        nano_jinja_write(j, digits + i, 1);
    }
    nano_jinja_write(j, digits + whole, strlen(digits + whole));
    return nano_jinja_take(j, from);
}

static const char *sign_of(const struct spec *spec, bool negative)
{
    return negative ? "-" : spec->sign == '+' ? "+" : spec->sign == ' ' ? " " : "";
}

static void write_integer(struct nano_jinja *j, const struct spec *spec, int64_t i)
{
    char digits[72], prefix[8];
    uint64_t rest = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    unsigned base = spec->type == 'x' || spec->type == 'X' ? 16
                    : spec->type == 'o'                    ? 8
                    : spec->type == 'b'                    ? 2
                                                           : 10;
    int num = 0;
    char reversed[72];
    do {
        unsigned digit = (unsigned)(rest % base);
        reversed[num++] =
            (char)(digit < 10 ? '0' + digit : (spec->type == 'X' ? 'A' : 'a') + digit - 10);
        rest /= base;
    } while (rest);
    for (int k = 0; k < num; k++)
        digits[k] = reversed[num - 1 - k];
    digits[num] = '\0';
    snprintf(prefix, sizeof prefix, "%s", sign_of(spec, i < 0));
    if (spec->alternate && base != 10)
        snprintf(prefix, sizeof prefix, "%s0%c", sign_of(spec, i < 0), spec->type);
    struct nano_value body = spec->grouping && base == 10 ? group(j, digits, spec->grouping)
                                                          : nano_value_cstr(j, digits);
    while ((int64_t)body.str->num_bytes < spec->precision)
        body = nano_value_binary(j, '+', nano_value_borrow(j, "0", 1), body);
    write_padded(j, spec, prefix, body.str, '>');
}

static void write_float(struct nano_jinja *j, const struct spec *spec, double f)
{
    char format[8] = "%", buffer[64], *digits = buffer;
    bool negative = signbit(f) && !isnan(f), percent = spec->type == '%';
    double value = percent ? fabs(f) * 100 : fabs(f);
    int precision = spec->precision < 0 ? 6 : (int)spec->precision;
    struct nano_value body;
    snprintf(format, sizeof format, "%%%s.*%c", spec->alternate ? "#" : "",
             percent ? 'f' : spec->type);
    if (isnan(f) || isinf(f)) {
        body = nano_value_cstr(j, isnan(f) ? "nan" : "inf");
    } else {
        size_t num_bytes = 330 + (size_t)precision;
        digits = nano_jinja_alloc(j, num_bytes, 1);
        switch (percent ? 'f' : spec->type) {
        case 'e':
            snprintf(digits, num_bytes, "%.*e", precision, value);
            break;
        case 'E':
            snprintf(digits, num_bytes, "%.*E", precision, value);
            break;
        case 'g':
            snprintf(digits, num_bytes, spec->alternate ? "%#.*g" : "%.*g", precision, value);
            break;
        case 'G':
            snprintf(digits, num_bytes, spec->alternate ? "%#.*G" : "%.*G", precision, value);
            break;
        default:
            snprintf(digits, num_bytes, "%.*f", precision, value);
        }
        body = spec->grouping ? group(j, digits, spec->grouping) : nano_value_cstr(j, digits);
    }
    if (percent)
        body = nano_value_binary(j, '+', body, nano_value_borrow(j, "%", 1));
    write_padded(j, spec, sign_of(spec, negative), body.str, '>');
}

static int64_t need_integer(struct nano_jinja *j, struct nano_value v, char type)
{
    if (v.kind == NANO_FLOAT && (type == 'd' || type == 'i' || type == 'u') && fabs(v.f) < 9.2e18)
        return (int64_t)v.f;
    if (v.kind != NANO_INT && v.kind != NANO_BOOL)
        nano_jinja_fail(j, "%%%c: a number is required, not '%s'", type, nano_value_type(v));
    return v.kind == NANO_BOOL ? v.b : v.i;
}

static int64_t parse_number(struct nano_jinja *j, const char **s, const char *end)
{
    int64_t number = 0;
    for (; *s < end && **s >= '0' && **s <= '9'; ++*s) {
        number = number * 10 + (**s - '0');
        if (number > MAX_WIDTH)
            nano_jinja_fail(j, "a width or precision of more than %d", MAX_WIDTH);
    }
    return number;
}

/* ---- % --------------------------------------------------------------------------------------- */

struct percent { /* what has been used of the right side */
    struct nano_value arg;
    size_t num_used;
    bool used_mapping;
};

static struct nano_value next_argument(struct nano_jinja *j, struct percent *state)
{
    size_t num = state->arg.kind == NANO_TUPLE ? state->arg.list->num : 1;
    if (state->num_used >= num)
        nano_jinja_fail(j, "not enough arguments for the format string");
    struct nano_value v =
        state->arg.kind == NANO_TUPLE ? state->arg.list->items[state->num_used] : state->arg;
    state->num_used++;
    return v;
}

/* "(name)" behind the percent sign. */
static bool mapping_argument(struct nano_jinja *j, struct percent *state, const char **s,
                             const char *end, struct nano_value *v)
{
    if (*s >= end || **s != '(')
        return false;
    const char *close = memchr(*s, ')', (size_t)(end - *s));
    if (!close || state->arg.kind != NANO_DICT)
        nano_jinja_fail(j, close ? "the format requires a mapping" : "incomplete format key");
    struct nano_value *found =
        nano_dict_find(j, state->arg.dict, nano_value_borrow(j, *s + 1, (size_t)(close - *s) - 1));
    if (!found)
        nano_jinja_fail(j, "the format asks for a key that is not in the mapping");
    *v = *found;
    *s = close + 1;
    state->used_mapping = true;
    return true;
}

static void parse_flags(struct spec *spec, const char **s, const char *end)
{
    for (; *s < end && strchr("-+ #0", **s) && **s; ++*s) {
        if (**s == '-')
            spec->align = '<';
        else if (**s == '+' || (**s == ' ' && !spec->sign))
            spec->sign = **s;
        else if (**s == '#')
            spec->alternate = true;
        else if (**s == '0')
            spec->zero = true;
    }
    if (spec->align == '<')
        spec->zero = false;
}

static void write_percent(struct nano_jinja *j, struct spec *spec, struct nano_value v)
{
    static const char numbers[] = "diuxXobeEfFgG";
    struct nano_str one;
    char bytes[4];
    if (strchr(numbers, spec->type)) {
        if (v.kind == NANO_BIG) {
            write_padded(j, spec, "", v.str, '>');
            return;
        }
        if (strchr("eEfFgG", spec->type)) {
            if (!nano_value_is_number(v))
                nano_jinja_fail(j, "%%%c: must be a number, not '%s'", spec->type,
                                nano_value_type(v));
            write_float(j, spec, nano_value_to_double(v));
        } else if (spec->type != 'b') {
            write_integer(j, spec, need_integer(j, v, spec->type));
        } else {
            nano_jinja_fail(j, "unsupported format character 'b'");
        }
        return;
    }
    spec->zero = false;
    if (spec->type == 's') {
        write_text(j, spec, text(j, v, false), '>');
    } else if (spec->type == 'r' || spec->type == 'a') {
        write_text(j, spec, text(j, v, true), '>');
    } else if (spec->type == 'c') {
        if (v.kind == NANO_INT && v.i >= 0 && v.i <= 0x10FFFF)
            one =
                (struct nano_str){bytes, (size_t)nano_utf8_encode((uint32_t)v.i, bytes), 1, false};
        else if (v.kind == NANO_STR && nano_str_chars(v.str) == 1)
            one = *v.str;
        else
            nano_jinja_fail(j, "%%c requires a character");
        write_padded(j, spec, "", &one, '>');
    } else {
        nano_jinja_fail(j, "unsupported format character");
    }
}

/* One "%…" behind its percent sign; returns its end. */
static const char *percent_one(struct nano_jinja *j, struct percent *state, const char *s,
                               const char *end)
{
    struct spec spec = {.precision = -1};
    struct nano_value v = {0};
    bool named = mapping_argument(j, state, &s, end, &v);
    parse_flags(&spec, &s, end);
    if (s < end && *s == '*') {
        spec.width = nano_value_to_int(j, next_argument(j, state), "* in a format");
        s++;
    } else {
        spec.width = parse_number(j, &s, end);
    }
    if (s < end && *s == '.') {
        s++;
        spec.precision = parse_number(j, &s, end);
    }
    if (spec.width < -MAX_WIDTH || spec.width > MAX_WIDTH)
        nano_jinja_fail(j, "a width of more than %d", MAX_WIDTH);
    if (spec.width < 0) {
        spec.align = '<';
        spec.width = -spec.width;
    }
    while (s < end && (*s == 'l' || *s == 'h' || *s == 'L'))
        s++;
    if (s >= end)
        nano_jinja_fail(j, "incomplete format");
    spec.type = *s++;
    if (spec.type == '%') {
        nano_jinja_write(j, "%", 1);
        return s;
    }
    if (!named)
        v = next_argument(j, state);
    write_percent(j, &spec, v);
    return s;
}

struct nano_value nano_str_percent(struct nano_jinja *j, const struct nano_str *format,
                                   struct nano_value arg)
{
    struct percent state = {.arg = arg};
    const char *s = format->s, *end = s + format->num_bytes;
    size_t from = j->out_bytes;
    while (s < end) {
        const char *percent = memchr(s, '%', (size_t)(end - s));
        const char *stop = percent ? percent : end;
        nano_jinja_write(j, s, (size_t)(stop - s));
        s = percent ? percent_one(j, &state, percent + 1, end) : end;
    }
    size_t num = arg.kind == NANO_TUPLE ? arg.list->num : 1;
    bool may_ignore = arg.kind == NANO_DICT || arg.kind == NANO_LIST;
    if (state.num_used < num && !(may_ignore && state.num_used == 0) && !state.used_mapping) {
        if (arg.kind == NANO_UNDEFINED)
            nano_jinja_fail(j, "%s", arg.undefined ? arg.undefined->why : "undefined");
        nano_jinja_fail(j, "not all arguments converted during string formatting");
    }
    struct nano_value v = nano_jinja_take(j, from);
    v.str->is_markup = format->is_markup;
    return v;
}

/* ---- format ---------------------------------------------------------------------------------- */

static bool is_align(char c)
{
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static void parse_spec(struct nano_jinja *j, struct spec *spec, const char *s, const char *end)
{
    uint32_t c;
    int num = nano_utf8_decode(s, (size_t)(end - s), &c);
    *spec = (struct spec){.precision = -1};
    if (num > 0 && s + num < end && is_align(s[num])) {
        spec->fill = c;
        spec->align = s[num];
        s += num + 1;
    } else if (s < end && is_align(*s)) {
        spec->align = *s++;
    }
    if (s < end && (*s == '+' || *s == '-' || *s == ' '))
        spec->sign = *s++;
    if (s < end && *s == '#') {
        spec->alternate = true;
        s++;
    }
    if (s < end && *s == '0') {
        spec->zero = true;
        s++;
    }
    spec->width = parse_number(j, &s, end);
    if (s < end && (*s == ',' || *s == '_'))
        spec->grouping = *s++;
    if (s < end && *s == '.') {
        s++;
        spec->precision = parse_number(j, &s, end);
    }
    if (s < end)
        spec->type = *s++;
    if (s < end)
        nano_jinja_fail(j, "invalid format specifier");
}

void nano_jinja_format_spec(struct nano_jinja *j, struct nano_value v, const char *s,
                            size_t num_bytes)
{
    struct spec spec;
    if (num_bytes == 0) {
        nano_value_print(j, v);
        return;
    }
    parse_spec(j, &spec, s, s + num_bytes);
    if (v.kind == NANO_BOOL && (spec.type == '\0' || spec.type == 's'))
        v = spec.type ? nano_value_to_str(j, v) : nano_value_int(v.b);
    if (v.kind == NANO_STR && (spec.type == '\0' || spec.type == 's')) {
        if (spec.zero && !spec.align)
            spec.align = '<';
        write_text(j, &spec, v.str, '<');
    } else if (v.kind == NANO_FLOAT && spec.type == '\0' && spec.precision < 0) {
        struct nano_value digits = nano_value_to_str(j, nano_value_float(fabs(v.f)));
        write_padded(j, &spec, sign_of(&spec, signbit(v.f)), digits.str, '>');
    } else if (nano_value_is_number(v) &&
               (v.kind == NANO_FLOAT || (spec.type && strchr("eEfFgG%", spec.type)))) {
        spec.type = spec.type ? spec.type : 'g';
        if (!strchr("eEfFgG%", spec.type))
            nano_jinja_fail(j, "unknown format code '%c' for a float", spec.type);
        write_float(j, &spec, nano_value_to_double(v));
    } else if (nano_value_is_number(v) && (!spec.type || strchr("dxXobn", spec.type))) {
        write_integer(j, &spec, v.kind == NANO_BOOL ? v.b : v.i);
    } else if (v.kind == NANO_INT && spec.type == 'c' && v.i >= 0 && v.i <= 0x10FFFF) {
        nano_jinja_write_char(j, (uint32_t)v.i);
    } else {
        nano_jinja_fail(j, "unsupported format for '%s'", nano_value_type(v));
    }
}

struct fields { /* a walk through "{}" fields */
    const struct nano_args *args;
    int64_t next; /* automatic number; -1 once numbers were given */
};

/* The argument that a field's name begins with; *s moves behind it. */
static struct nano_value first_of_field(struct nano_jinja *j, struct fields *fields, const char **s,
                                        const char *end)
{
    const char *name = *s;
    while (*s < end && **s != '.' && **s != '[')
        ++*s;
    size_t num = (size_t)(*s - name);
    struct nano_value number = nano_jinja_parse_int(j, name, num, 10);
    if (num > 0 && number.kind != NANO_INT) {
        for (size_t i = 0; i < fields->args->num_keywords; i++)
            if (fields->args->keywords[i].name->num_bytes == num &&
                memcmp(fields->args->keywords[i].name->s, name, num) == 0)
                return fields->args->keywords[i].value;
        nano_jinja_fail(j, "format(): no argument named '%.*s'", (int)(num < 60 ? num : 60), name);
    }
    if ((num == 0 && fields->next < 0) || (num > 0 && fields->next > 0))
        nano_jinja_fail(j, "format(): numbered and automatic fields cannot be mixed");
    int64_t index = num ? number.i : fields->next++;
    if (num)
        fields->next = -1;
    if (index < 0 || (size_t)index >= fields->args->num)
        nano_jinja_fail(j, "format(): no argument number %lld", (long long)index);
    return fields->args->items[index];
}

static struct nano_value field_value(struct nano_jinja *j, struct fields *fields, const char *s,
                                     const char *end)
{
    struct nano_value v = first_of_field(j, fields, &s, end);
    while (s < end) {
        bool item = *s++ == '[';
        const char *name = s;
        while (s < end && (item ? *s != ']' : *s != '.' && *s != '['))
            s++;
        struct nano_value key = nano_value_borrow(j, name, (size_t)(s - name));
        struct nano_value number = nano_jinja_parse_int(j, name, (size_t)(s - name), 10);
        if (item && s >= end)
            nano_jinja_fail(j, "format(): expected ']'");
        v = !item ? nano_value_attribute(j, v, key.str)
                  : nano_value_item(j, v, number.kind == NANO_INT ? number : key);
        s += item;
    }
    return v;
}

static void format_fields(struct nano_jinja *j, struct fields *fields, const char *s,
                          const char *end, int depth);

/* "name!r:spec" between braces; the spec may hold fields itself. */
static void format_one(struct nano_jinja *j, struct fields *fields, const char *s, const char *end,
                       int depth)
{
    const char *name_end = s;
    int brackets = 0;
    for (; name_end < end; name_end++) {
        brackets += *name_end == '[' ? 1 : *name_end == ']' ? -1 : 0;
        if (brackets <= 0 && (*name_end == '!' || *name_end == ':'))
            break;
    }
    struct nano_value v = field_value(j, fields, s, name_end);
    s = name_end;
    if (s < end && *s == '!') {
        char conversion = s + 1 < end ? s[1] : '\0';
        if (conversion != 'r' && conversion != 's' && conversion != 'a')
            nano_jinja_fail(j, "format(): unknown conversion");
        size_t from = j->out_bytes;
        const struct nano_str *str = text(j, v, conversion != 's');
        j->out_bytes = from;
        v = nano_value_borrow(j, str->s, str->num_bytes);
        s += 2;
    }
    if (s < end && *s != ':')
        nano_jinja_fail(j, "format(): expected ':'");
    s += s < end;
    size_t from = j->out_bytes;
    format_fields(j, fields, s, end, depth + 1);
    struct nano_value spec = nano_jinja_take(j, from);
    nano_jinja_format_spec(j, v, spec.str->s, spec.str->num_bytes);
}

static void format_fields(struct nano_jinja *j, struct fields *fields, const char *s,
                          const char *end, int depth)
{
    if (depth > 2)
        nano_jinja_fail(j, "format(): fields are nested too deeply");
    while (s < end) {
        char c = *s;
        if ((c == '{' || c == '}') && depth == 0 && s + 1 < end && s[1] == c) {
            nano_jinja_write(j, s, 1);
            s += 2;
        } else if (c == '{') {
            const char *start = ++s;
            int open = 1;
            for (; s < end && open > 0; s++)
                open += *s == '{' ? 1 : *s == '}' ? -1 : 0;
            if (open > 0)
                nano_jinja_fail(j, "format(): expected '}'");
            format_one(j, fields, start, s - 1, depth);
        } else if (c == '}') {
            nano_jinja_fail(j, "format(): single '}'");
        } else {
            nano_jinja_write(j, s++, 1);
        }
    }
}

struct nano_value nano_str_format(struct nano_jinja *j, const struct nano_str *format,
                                  const struct nano_args *args)
{
    struct fields fields = {.args = args};
    size_t from = j->out_bytes;
    format_fields(j, &fields, format->s, format->s + format->num_bytes, 0);
    return nano_jinja_take(j, from);
}
