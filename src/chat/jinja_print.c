/* How values print: Python's str() and repr(). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "chat/ast.h"
#include "chat/unicode.h"

/* The shortest digits that give the number back, in the layout of Python's repr. */
void nano_float_print(struct nano_jinja *j, double f)
{
    char text[40];
    if (isnan(f) || isinf(f)) {
        nano_jinja_printf(j, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, f);
        if (strtod(text, NULL) == f)
            break;
    }
    char digits[24];
    int num = 0, exponent = atoi(strchr(text, 'e') + 1);
    for (const char *p = text; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digits[num++] = *p;
    digits[num] = '\0';
    const char *sign = signbit(f) ? "-" : "";
    if (exponent < -4 || exponent >= 16)
        nano_jinja_printf(j, "%s%c%s%se%c%02d", sign, digits[0], num > 1 ? "." : "", digits + 1,
                          exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        nano_jinja_printf(j, "%s0.%.*s%s", sign, -exponent - 1, "0000", digits);
    else if (num <= exponent + 1)
        nano_jinja_printf(j, "%s%s%.*s.0", sign, digits, exponent + 1 - num, "0000000000000000");
    else
        nano_jinja_printf(j, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
}

static void repr_char(struct nano_jinja *j, uint32_t c, char quote)
{
    switch (c) {
    case '\n':
        nano_jinja_write(j, "\\n", 2);
        return;
    case '\r':
        nano_jinja_write(j, "\\r", 2);
        return;
    case '\t':
        nano_jinja_write(j, "\\t", 2);
        return;
    default:
        break;
    }
    if (c == '\\' || c == (unsigned char)quote)
        nano_jinja_printf(j, "\\%c", (int)c);
    else if (nano_unicode_is_printable(c))
        nano_jinja_write_char(j, c);
    else if (c < 0x100)
        nano_jinja_printf(j, "\\x%02x", c);
    else if (c < 0x10000)
        nano_jinja_printf(j, "\\u%04x", c);
    else
        nano_jinja_printf(j, "\\U%08x", c);
}

static void repr_str(struct nano_jinja *j, const struct nano_str *str)
{
    bool has_single = memchr(str->s, '\'', str->num_bytes) != NULL;
    bool has_double = memchr(str->s, '"', str->num_bytes) != NULL;
    char quote = has_single && !has_double ? '"' : '\'';
    nano_jinja_step(j, str->num_bytes / 2);
    nano_jinja_write(j, &quote, 1);
    for (size_t i = 0; i < str->num_bytes;) {
        uint32_t c = 0;
        int num = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
        repr_char(j, c, quote);
        i += num > 0 ? (size_t)num : 1;
    }
    nano_jinja_write(j, &quote, 1);
}

static void repr_bytes(struct nano_jinja *j, const struct nano_str *str)
{
    nano_jinja_write(j, "b'", 2);
    for (size_t i = 0; i < str->num_bytes; i++) {
        unsigned char c = (unsigned char)str->s[i];
        if (c >= 0x80)
            nano_jinja_printf(j, "\\x%02x", c);
        else
            repr_char(j, c, '\'');
    }
    nano_jinja_write(j, "'", 1);
}

static void repr_list(struct nano_jinja *j, struct nano_list list, const char *open,
                      const char *close)
{
    nano_jinja_printf(j, "%s", open);
    for (size_t i = 0; i < list.num; i++) {
        if (i)
            nano_jinja_write(j, ", ", 2);
        nano_value_repr(j, list.items[i]);
    }
    nano_jinja_printf(j, "%s", close);
}

static void repr_dict(struct nano_jinja *j, const struct nano_dict *dict)
{
    nano_jinja_write(j, "{", 1);
    for (size_t i = 0; i < dict->num; i++) {
        if (i)
            nano_jinja_write(j, ", ", 2);
        nano_value_repr(j, dict->entries[i].key);
        nano_jinja_write(j, ": ", 2);
        nano_value_repr(j, dict->entries[i].value);
    }
    nano_jinja_write(j, "}", 1);
}

static void repr_range(struct nano_jinja *j, const struct nano_range *range)
{
    nano_jinja_printf(j, "range(%lld, %lld", (long long)range->start, (long long)range->stop);
    if (range->step != 1)
        nano_jinja_printf(j, ", %lld", (long long)range->step);
    nano_jinja_write(j, ")", 1);
}

static void repr_view(struct nano_jinja *j, struct nano_value v)
{
    nano_jinja_printf(j, "%s(", nano_value_type(v));
    repr_list(j, nano_value_items(j, v), "[", "]");
    nano_jinja_write(j, ")", 1);
}

static void repr_other(struct nano_jinja *j, struct nano_value v)
{
    switch (v.kind) {
    case NANO_NAMESPACE:
        nano_jinja_printf(j, "<Namespace ");
        repr_dict(j, v.dict);
        nano_jinja_write(j, ">", 1);
        return;
    case NANO_LOOP:
        nano_jinja_printf(j, "<LoopContext %zu/%zu>", v.loop->pos + 1, v.loop->num);
        return;
    case NANO_MACRO:
        nano_jinja_printf(j, "<Macro ");
        if (v.macro->node->name)
            repr_str(j, v.macro->node->name);
        else
            nano_jinja_printf(j, "anonymous");
        nano_jinja_write(j, ">", 1);
        return;
    case NANO_METHOD:
        nano_jinja_printf(j, "<built-in method %s of %s object>", v.method->function->name,
                          nano_value_type(v.method->self));
        return;
    case NANO_FUNCTION:
        nano_jinja_printf(j,
                          strcmp(v.function->name, "dict") == 0 ? "<class '%s'>" : "<function %s>",
                          v.function->name);
        return;
    default:
        nano_jinja_printf(j, "<%s object>", nano_value_type(v));
    }
}

void nano_value_repr(struct nano_jinja *j, struct nano_value v)
{
    nano_jinja_enter(j);
    switch (v.kind) {
    case NANO_MISSING:
    case NANO_UNDEFINED:
        nano_jinja_write(j, "Undefined", 9);
        break;
    case NANO_NONE:
        nano_jinja_write(j, "None", 4);
        break;
    case NANO_BOOL:
        nano_jinja_printf(j, v.b ? "True" : "False");
        break;
    case NANO_INT:
        nano_jinja_printf(j, "%lld", (long long)v.i);
        break;
    case NANO_BIG:
        nano_jinja_write(j, v.str->s, v.str->num_bytes);
        break;
    case NANO_FLOAT:
        nano_float_print(j, v.f);
        break;
    case NANO_STR:
        if (v.str->is_markup)
            nano_jinja_write(j, "Markup(", 7);
        repr_str(j, v.str);
        if (v.str->is_markup)
            nano_jinja_write(j, ")", 1);
        break;
    case NANO_BYTES:
        repr_bytes(j, v.str);
        break;
    case NANO_LIST:
        repr_list(j, *v.list, "[", "]");
        break;
    case NANO_TUPLE:
        repr_list(j, *v.list, "(", v.list->num == 1 ? ",)" : ")");
        break;
    case NANO_DICT:
        repr_dict(j, v.dict);
        break;
    case NANO_VIEW:
        repr_view(j, v);
        break;
    case NANO_RANGE:
        repr_range(j, v.range);
        break;
    default:
        repr_other(j, v);
    }
    j->depth--;
}

void nano_value_print(struct nano_jinja *j, struct nano_value v)
{
    if (v.kind == NANO_STR)
        nano_jinja_write(j, v.str->s, v.str->num_bytes);
    else if (v.kind != NANO_UNDEFINED && v.kind != NANO_MISSING)
        nano_value_repr(j, v);
}

struct nano_value nano_value_to_str(struct nano_jinja *j, struct nano_value v)
{
    if (v.kind == NANO_STR)
        return v;
    size_t from = j->out_bytes;
    nano_value_print(j, v);
    return nano_jinja_take(j, from);
}

struct nano_value nano_value_escape(struct nano_jinja *j, struct nano_value v)
{
    v = nano_value_to_str(j, v);
    if (v.str->is_markup)
        return v;
    size_t from = j->out_bytes;
    for (size_t i = 0; i < v.str->num_bytes; i++) {
        char c = v.str->s[i];
        if (c == '&')
            nano_jinja_write(j, "&amp;", 5);
        else if (c == '<')
            nano_jinja_write(j, "&lt;", 4);
        else if (c == '>')
            nano_jinja_write(j, "&gt;", 4);
        else if (c == '\'' || c == '"')
            nano_jinja_write(j, c == '"' ? "&#34;" : "&#39;", 5);
        else
            nano_jinja_write(j, &c, 1);
    }
    v = nano_jinja_take(j, from);
    v.str->is_markup = true;
    return v;
}
