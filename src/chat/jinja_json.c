/* JSON to values and back.
 *
 * Not through jansson: integers beyond 64 bits, NaN and zero characters are values here as they are
 * in Python, and a request is read straight into the arena of its render. */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "chat/jinja.h"

#define MAX_JSON_DEPTH 256

struct reader {
    struct nano_jinja *j;
    const char *s;
    size_t num_bytes, pos;
    int depth;
};

static struct nano_value read_value(struct reader *r);

static _Noreturn void bad(struct reader *r, const char *what)
{
    nano_jinja_fail(r->j, "JSON: %s at byte %zu", what, r->pos);
}

static void skip_space(struct reader *r)
{
    while (r->pos < r->num_bytes && strchr(" \t\r\n", r->s[r->pos]) && r->s[r->pos])
        r->pos++;
}

static char peek(struct reader *r)
{
    skip_space(r);
    return r->pos < r->num_bytes ? r->s[r->pos] : '\0';
}

static bool skip_word(struct reader *r, const char *word)
{
    size_t num = strlen(word);
    if (r->num_bytes - r->pos < num || memcmp(r->s + r->pos, word, num) != 0)
        return false;
    r->pos += num;
    return true;
}

/* ---- Strings --------------------------------------------------------------------------------- */

static uint32_t read_hex(struct reader *r)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, r->pos++) {
        char c = r->pos < r->num_bytes ? r->s[r->pos] : '\0';
        uint32_t digit = c >= '0' && c <= '9'                 ? (uint32_t)(c - '0')
                         : (c | 32) >= 'a' && (c | 32) <= 'f' ? (uint32_t)((c | 32) - 'a' + 10)
                                                              : 16;
        if (digit == 16)
            bad(r, "expected four hexadecimal digits");
        code = code << 4 | digit;
    }
    return code;
}

/* A surrogate without its partner is no character and becomes U+FFFD. */
static uint32_t read_unicode(struct reader *r)
{
    uint32_t code = read_hex(r);
    if (code < 0xD800 || code > 0xDFFF)
        return code;
    size_t before = r->pos;
    if (code < 0xDC00 && skip_word(r, "\\u")) {
        uint32_t low = read_hex(r);
        if (low >= 0xDC00 && low <= 0xDFFF)
            return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        r->pos = before;
    }
    return 0xFFFD;
}

static void read_escape(struct reader *r)
{
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = r->pos < r->num_bytes ? r->s[r->pos] : '\0';
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        r->pos++;
        nano_jinja_write(r->j, values + (letter - letters), 1);
    } else if (c == 'u') {
        r->pos++;
        nano_jinja_write_char(r->j, read_unicode(r));
    } else {
        bad(r, "unknown escape");
    }
}

static struct nano_value read_string(struct reader *r)
{
    size_t start = ++r->pos, from = r->j->out_bytes;
    bool has_escapes = false;
    for (;;) {
        size_t run = r->pos;
        while (r->pos < r->num_bytes && r->s[r->pos] != '"' && r->s[r->pos] != '\\' &&
               (unsigned char)r->s[r->pos] >= 0x20)
            r->pos++;
        if (r->pos >= r->num_bytes || (unsigned char)r->s[r->pos] < 0x20)
            bad(r,
                r->pos >= r->num_bytes ? "unterminated string" : "control character in a string");
        bool ends = r->s[r->pos] == '"';
        if (ends && !has_escapes) {
            nano_jinja_step(r->j, (r->pos - start) / 64);
            return nano_value_str(r->j, r->s + start, r->pos++ - start);
        }
        has_escapes = true;
        nano_jinja_write(r->j, r->s + run, r->pos - run);
        r->pos++;
        if (ends)
            return nano_jinja_take(r->j, from);
        read_escape(r);
    }
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static size_t skip_digits(struct reader *r)
{
    size_t start = r->pos;
    while (r->pos < r->num_bytes && r->s[r->pos] >= '0' && r->s[r->pos] <= '9')
        r->pos++;
    return r->pos - start;
}

static struct nano_value read_number(struct reader *r)
{
    size_t start = r->pos;
    bool is_float = false;
    r->pos += r->s[r->pos] == '-';
    bool zero = r->pos < r->num_bytes && r->s[r->pos] == '0';
    size_t num_digits = skip_digits(r);
    if (num_digits == 0 || (zero && num_digits > 1))
        bad(r, "unexpected character");
    if (r->pos < r->num_bytes && r->s[r->pos] == '.') {
        r->pos++;
        is_float = true;
        if (skip_digits(r) == 0)
            bad(r, "expected digits");
    }
    if (r->pos < r->num_bytes && (r->s[r->pos] | 32) == 'e') {
        r->pos++;
        is_float = true;
        if (r->pos < r->num_bytes && (r->s[r->pos] == '+' || r->s[r->pos] == '-'))
            r->pos++;
        if (skip_digits(r) == 0)
            bad(r, "expected digits");
    }
    if (is_float)
        return nano_value_float(nano_jinja_parse_double(r->s + start, r->pos - start));
    struct nano_value v = nano_jinja_parse_int(r->j, r->s + start, r->pos - start, 10);
    if (v.kind == NANO_MISSING)
        bad(r, "a number of too many digits");
    return v;
}

/* ---- Everything ------------------------------------------------------------------------------ */

static struct nano_value read_array(struct reader *r)
{
    struct nano_value list = nano_value_list(r->j, NANO_LIST, 0);
    size_t capacity = 0;
    r->pos++;
    while (peek(r) != ']') {
        if (list.list->num) {
            if (peek(r) != ',')
                bad(r, "expected ',' or ']'");
            r->pos++;
        }
        struct nano_value item = read_value(r);
        if (list.list->num == capacity) {
            capacity = capacity ? capacity * 2 : 4;
            struct nano_value *items = nano_jinja_alloc(r->j, capacity, sizeof *items);
            if (list.list->num)
                memcpy(items, list.list->items, list.list->num * sizeof *items);
            list.list->items = items;
        }
        list.list->items[list.list->num++] = item;
    }
    r->pos++;
    return list;
}

static struct nano_value read_object(struct reader *r)
{
    struct nano_value dict = nano_dict_create(r->j, 4);
    bool first = true;
    r->pos++;
    while (peek(r) != '}') {
        if (!first) {
            if (peek(r) != ',')
                bad(r, "expected ',' or '}'");
            r->pos++;
        }
        if (peek(r) != '"')
            bad(r, "expected a string as key");
        struct nano_value key = read_string(r);
        if (peek(r) != ':')
            bad(r, "expected ':'");
        r->pos++;
        nano_dict_set(r->j, dict.dict, key, read_value(r));
        first = false;
    }
    r->pos++;
    return dict;
}

static struct nano_value read_value(struct reader *r)
{
    struct nano_value v = nano_value_none();
    char c = peek(r);
    nano_jinja_step(r->j, 1);
    if (++r->depth > MAX_JSON_DEPTH)
        bad(r, "nested too deeply");
    if (c == '{')
        v = read_object(r);
    else if (c == '[')
        v = read_array(r);
    else if (c == '"')
        v = read_string(r);
    else if (skip_word(r, "true"))
        v = nano_value_bool(true);
    else if (skip_word(r, "false"))
        v = nano_value_bool(false);
    else if (skip_word(r, "NaN"))
        v = nano_value_float(NAN);
    else if (skip_word(r, "Infinity"))
        v = nano_value_float(INFINITY);
    else if (skip_word(r, "-Infinity"))
        v = nano_value_float(-INFINITY);
    else if (!skip_word(r, "null")) {
        if (r->pos >= r->num_bytes)
            bad(r, "unexpected end");
        v = read_number(r);
    }
    r->depth--;
    return v;
}

struct nano_value nano_json_parse(struct nano_jinja *j, const char *text, size_t num_bytes)
{
    struct reader r = {.j = j, .s = text, .num_bytes = num_bytes};
    size_t valid = nano_utf8_valid_prefix(text, num_bytes);
    if (valid < num_bytes) {
        r.pos = valid;
        bad(&r, "invalid UTF-8");
    }
    struct nano_value v = read_value(&r);
    if (peek(&r) != '\0' || r.pos < r.num_bytes)
        bad(&r, "unexpected text behind the value");
    return v;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void write_string(struct nano_jinja *j, const struct nano_str *str, bool ensure_ascii)
{
    static const char special[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    size_t run = 0;
    nano_jinja_write(j, "\"", 1);
    for (size_t i = 0; i < str->num_bytes;) {
        unsigned char byte = (unsigned char)str->s[i];
        uint32_t c = byte;
        int num = 1;
        bool plain = byte >= 0x20 && byte != '"' && byte != '\\' && (byte < 0x80 || !ensure_ascii);
        if (ensure_ascii && byte == 0x7F)
            plain = true;
        if (plain) {
            i++;
            continue;
        }
        nano_jinja_write(j, str->s + run, i - run);
        if (byte >= 0x80)
            num = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
        const char *letter = byte ? strchr(special, byte) : NULL;
        if (letter)
            nano_jinja_printf(j, "\\%c", letters[letter - special]);
        else if (c >= 0x10000)
            nano_jinja_printf(j, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                              0xDC00 + ((c - 0x10000) & 0x3FF));
        else
            nano_jinja_printf(j, "\\u%04x", c);
        i += num > 0 ? (size_t)num : 1;
        run = i;
    }
    nano_jinja_write(j, str->s + run, str->num_bytes - run);
    nano_jinja_write(j, "\"", 1);
}

static void write_newline(struct nano_jinja *j, const struct nano_json_style *style, int depth)
{
    if (!style->indent)
        return;
    nano_jinja_write(j, "\n", 1);
    for (int i = 0; i < depth; i++)
        nano_jinja_write(j, style->indent->s, style->indent->num_bytes);
}

static void write_separator(struct nano_jinja *j, const struct nano_json_style *style, int depth)
{
    if (style->item_separator)
        nano_jinja_write(j, style->item_separator->s, style->item_separator->num_bytes);
    else
        nano_jinja_write(j, ", ", style->indent ? 1 : 2);
    write_newline(j, style, depth);
}

static void write_scalar(struct nano_jinja *j, struct nano_value v)
{
    switch (v.kind) {
    case NANO_NONE:
        nano_jinja_write(j, "null", 4);
        return;
    case NANO_BOOL:
        nano_jinja_printf(j, v.b ? "true" : "false");
        return;
    case NANO_INT:
    case NANO_BIG:
        nano_value_repr(j, v);
        return;
    case NANO_FLOAT:
        if (isnan(v.f))
            nano_jinja_write(j, "NaN", 3);
        else if (isinf(v.f))
            nano_jinja_printf(j, v.f < 0 ? "-Infinity" : "Infinity");
        else
            nano_float_print(j, v.f);
        return;
    default:
        nano_jinja_fail(j, "object of type '%s' is not JSON serializable", nano_value_type(v));
    }
}

static void write_key(struct nano_jinja *j, struct nano_value key,
                      const struct nano_json_style *style)
{
    if (key.kind == NANO_STR) {
        write_string(j, key.str, style->ensure_ascii);
    } else if (key.kind == NANO_NONE || key.kind == NANO_BIG || nano_value_is_number(key)) {
        nano_jinja_write(j, "\"", 1);
        write_scalar(j, key);
        nano_jinja_write(j, "\"", 1);
    } else {
        nano_jinja_fail(j, "keys must be strings or numbers, not '%s'", nano_value_type(key));
    }
    if (style->key_separator)
        nano_jinja_write(j, style->key_separator->s, style->key_separator->num_bytes);
    else
        nano_jinja_write(j, ": ", 2);
}

static void write_any(struct nano_jinja *j, struct nano_value v,
                      const struct nano_json_style *style, int depth);

static void write_list(struct nano_jinja *j, struct nano_list list,
                       const struct nano_json_style *style, int depth)
{
    nano_jinja_write(j, "[", 1);
    for (size_t i = 0; i < list.num; i++) {
        if (i)
            write_separator(j, style, depth + 1);
        else
            write_newline(j, style, depth + 1);
        write_any(j, list.items[i], style, depth + 1);
    }
    if (list.num)
        write_newline(j, style, depth);
    nano_jinja_write(j, "]", 1);
}

static const struct nano_entry *ordered(struct nano_jinja *j, const struct nano_dict *dict,
                                        bool sort)
{
    if (!sort)
        return dict->entries;
    struct nano_entry *entries = nano_jinja_alloc(j, dict->num, sizeof *entries);
    for (size_t i = 0; i < dict->num; i++) {
        size_t k = i;
        for (; k > 0 && nano_value_compare(j, dict->entries[i].key, entries[k - 1].key, "<") == -1;
             k--)
            entries[k] = entries[k - 1];
        entries[k] = dict->entries[i];
    }
    return entries;
}

static void write_dict(struct nano_jinja *j, const struct nano_dict *dict,
                       const struct nano_json_style *style, int depth)
{
    const struct nano_entry *entries = ordered(j, dict, style->sort_keys);
    nano_jinja_write(j, "{", 1);
    for (size_t i = 0; i < dict->num; i++) {
        if (i)
            write_separator(j, style, depth + 1);
        else
            write_newline(j, style, depth + 1);
        write_key(j, entries[i].key, style);
        write_any(j, entries[i].value, style, depth + 1);
    }
    if (dict->num)
        write_newline(j, style, depth);
    nano_jinja_write(j, "}", 1);
}

static void write_any(struct nano_jinja *j, struct nano_value v,
                      const struct nano_json_style *style, int depth)
{
    nano_jinja_enter(j);
    if (v.kind == NANO_STR)
        write_string(j, v.str, style->ensure_ascii);
    else if (v.kind == NANO_LIST || v.kind == NANO_TUPLE)
        write_list(j, *v.list, style, depth);
    else if (v.kind == NANO_DICT)
        write_dict(j, v.dict, style, depth);
    else
        write_scalar(j, v);
    j->depth--;
}

void nano_json_write(struct nano_jinja *j, struct nano_value v, const struct nano_json_style *style)
{
    write_any(j, v, style, 0);
}
