/* Filters that make texts. */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "chat/jinja.h"
#include "chat/unicode.h"

#define FILTER(name)                                                            \
    static struct nano_value name(struct nano_jinja *j, struct nano_value self, \
                                  const struct nano_value *p, const struct nano_args *args)
#define UNUSED (void)j, (void)self, (void)p, (void)args

static int64_t int_or(struct nano_jinja *j, struct nano_value v, int64_t absent, const char *what)
{
    return v.kind == NANO_MISSING ? absent : nano_value_to_int(j, v, what);
}

static const struct nano_str *need_str(struct nano_jinja *j, struct nano_value v, const char *what)
{
    if (v.kind == NANO_UNDEFINED)
        nano_jinja_fail(j, "%s", v.undefined ? v.undefined->why : "undefined");
    if (v.kind != NANO_STR)
        nano_jinja_fail(j, "%s: expected a string, got '%s'", what, nano_value_type(v));
    return v.str;
}

static const struct nano_str *text(struct nano_jinja *j, struct nano_value v)
{
    return nano_value_to_str(j, v).str;
}

#define CASE_FILTER(name, which)                       \
    FILTER(name)                                       \
    {                                                  \
        UNUSED;                                        \
        return nano_str_case(j, text(j, self), which); \
    }
CASE_FILTER(do_upper, NANO_STR_UPPER)
CASE_FILTER(do_lower, NANO_STR_LOWER)
CASE_FILTER(do_capitalize, NANO_STR_CAPITALIZE)

/* Words begin behind white space and opening brackets, and not behind an apostrophe. */
FILTER(do_title)
{
    UNUSED;
    const struct nano_str *str = text(j, self);
    size_t from = j->out_bytes;
    bool inside = false;
    nano_jinja_step(j, str->num_bytes / 2);
    for (size_t i = 0; i < str->num_bytes;) {
        uint32_t c = 0, out[3];
        int num = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
        int n = nano_unicode_to_case(c, inside ? NANO_CASE_LOWER : NANO_CASE_UPPER, out);
        for (int k = 0; k < n; k++)
            nano_jinja_write_char(j, out[k]);
        inside = !(nano_unicode_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c)));
        i += num > 0 ? (size_t)num : 1;
    }
    return nano_jinja_take(j, from);
}

FILTER(do_string)
{
    UNUSED;
    return nano_value_to_str(j, self);
}

FILTER(do_safe)
{
    UNUSED;
    struct nano_value str = nano_value_to_str(j, self);
    str = nano_value_borrow(j, str.str->s, str.str->num_bytes);
    str.str->is_markup = true;
    return str;
}

FILTER(do_escape)
{
    UNUSED;
    return nano_value_escape(j, self);
}

FILTER(do_forceescape)
{
    UNUSED;
    struct nano_value str = nano_value_to_str(j, self);
    return nano_value_escape(j, nano_value_borrow(j, str.str->s, str.str->num_bytes));
}

FILTER(do_trim)
{
    UNUSED;
    bool any = p[0].kind == NANO_MISSING || p[0].kind == NANO_NONE;
    return nano_str_strip(j, text(j, self), NANO_STRIP_LEFT | NANO_STRIP_RIGHT,
                          any ? NULL : need_str(j, p[0], "trim"));
}

FILTER(do_replace)
{
    UNUSED;
    int64_t max = p[2].kind == NANO_NONE ? -1 : int_or(j, p[2], -1, "replace");
    const struct nano_str *str = text(j, self), *old = text(j, p[0]);
    return nano_str_replace(j, str, old, text(j, p[1]), max);
}

FILTER(do_center)
{
    UNUSED;
    struct nano_value str = nano_value_to_str(j, self);
    struct nano_str name = {"center", 6, 6, false};
    struct nano_value width = p[0].kind == NANO_MISSING ? nano_value_int(80) : p[0];
    struct nano_args given = {.items = &width, .num = 1};
    return nano_jinja_call_function(j, nano_jinja_find_method(str, &name), str, &given);
}

FILTER(do_indent)
{
    UNUSED;
    const struct nano_str *str = need_str(j, self, "indent");
    struct nano_value width = p[0].kind == NANO_MISSING ? nano_value_int(4) : p[0];
    bool first = nano_value_truth(j, p[1]), blank = nano_value_truth(j, p[2]);
    if (width.kind != NANO_STR)
        width = nano_value_binary(j, '*', nano_value_borrow(j, " ", 1), width);
    /* Jinja2 adds a newline before it splits, which keeps an empty last line. */
    struct nano_value whole = nano_value_borrow(j, str->s, str->num_bytes);
    whole = nano_value_binary(j, '+', whole, nano_value_borrow(j, "\n", 1));
    struct nano_list lines = *nano_str_lines(j, whole.str, false).list;
    size_t from = j->out_bytes;
    for (size_t i = 0; i < lines.num; i++) {
        const struct nano_str *line = lines.items[i].str;
        if (i)
            nano_jinja_write(j, "\n", 1);
        if (i ? blank || line->num_bytes : first)
            nano_jinja_write(j, width.str->s, width.str->num_bytes);
        nano_jinja_write(j, line->s, line->num_bytes);
    }
    return nano_jinja_take(j, from);
}

FILTER(do_truncate)
{
    UNUSED;
    struct nano_value end = p[2].kind == NANO_MISSING ? nano_value_borrow(j, "...", 3) : p[2];
    int64_t end_chars = (int64_t)nano_str_chars(nano_value_to_str(j, end).str);
    int64_t length = int_or(j, p[0], 255, "truncate");
    int64_t leeway = p[3].kind == NANO_NONE ? 5 : int_or(j, p[3], 5, "truncate");
    struct nano_args none = {0};
    int64_t num = nano_jinja_call_function(j, nano_jinja_find_filter("length", 6), self, &none).i;
    if (length < end_chars || leeway < 0)
        nano_jinja_fail(j, "truncate: the length is smaller than what is put at the end");
    if (num - length <= leeway)
        return self;
    const struct nano_str *str = need_str(j, self, "truncate");
    struct nano_value part = nano_str_slice(j, str, 0, (size_t)(length - end_chars));
    if (!nano_value_truth(j, p[1])) {
        const char *space = NULL;
        for (size_t i = part.str->num_bytes; i-- > 0 && !space;)
            space = part.str->s[i] == ' ' ? part.str->s + i : NULL;
        if (space)
            part = nano_str_range(j, part.str, 0, (size_t)(space - part.str->s));
    }
    return nano_value_binary(j, '+', part, nano_value_to_str(j, end));
}

static bool is_word(uint32_t c)
{
    return c == '_' || nano_unicode_is_alpha(c) || nano_unicode_is_decimal(c);
}

FILTER(do_wordcount)
{
    UNUSED;
    const struct nano_str *str = text(j, self);
    int64_t num_words = 0;
    bool inside = false;
    nano_jinja_step(j, str->num_bytes / 2);
    for (size_t i = 0; i < str->num_bytes;) {
        uint32_t c = 0;
        int num = nano_utf8_decode(str->s + i, str->num_bytes - i, &c);
        num_words += !inside && is_word(c);
        inside = is_word(c);
        i += num > 0 ? (size_t)num : 1;
    }
    return nano_value_int(num_words);
}

/* One line of text into lines of at most `width` characters, broken at white space. */
static void wrap_line(struct nano_jinja *j, struct nano_value line, int64_t width, bool break_words,
                      const struct nano_str *newline)
{
    struct nano_list chars = nano_value_items(j, line);
    size_t at = 0, num = chars.num;
    bool first = true;
    while (at < num) {
        while (!first && at < num && *chars.items[at].str->s == ' ')
            at++;
        size_t end = at + (size_t)width, last = at;
        if (at >= num)
            break;
        for (size_t i = at; i < num && i <= end; i++)
            if (i > at && chars.items[i].str->s[0] == ' ')
                last = i;
        if (num - at <= (size_t)width)
            last = num;
        if (last == at && break_words)
            last = end;
        while (last == at && ++end < num)
            last = chars.items[end].str->s[0] == ' ' ? end : at;
        if (last == at)
            last = num;
        size_t stop = last;
        while (stop > at && chars.items[stop - 1].str->s[0] == ' ')
            stop--;
        if (!first)
            nano_jinja_write(j, newline->s, newline->num_bytes);
        for (size_t i = at; i < stop; i++)
            nano_value_print(j, chars.items[i]);
        at = last;
        first = false;
    }
}

FILTER(do_wordwrap)
{
    UNUSED;
    struct nano_value newline = p[2].kind == NANO_STR ? p[2] : nano_value_borrow(j, "\n", 1);
    int64_t width = int_or(j, p[0], 79, "wordwrap");
    bool break_words = p[1].kind == NANO_MISSING || nano_value_truth(j, p[1]);
    struct nano_list lines = *nano_str_lines(j, need_str(j, self, "wordwrap"), false).list;
    size_t from = j->out_bytes;
    if (width <= 0 || width > 1000000)
        nano_jinja_fail(j, "wordwrap: a width of %lld", (long long)width);
    for (size_t i = 0; i < lines.num; i++) {
        if (i)
            nano_value_print(j, newline);
        wrap_line(j, lines.items[i], width, break_words, newline.str);
    }
    return nano_jinja_take(j, from);
}

FILTER(do_striptags)
{
    UNUSED;
    static const char *const entities[][2] = {{"&amp;", "&"}, {"&lt;", "<"},   {"&gt;", ">"},
                                              {"&#39;", "'"}, {"&#34;", "\""}, {"&quot;", "\""}};
    const struct nano_str *str = text(j, self);
    size_t from = j->out_bytes;
    bool in_tag = false;
    for (size_t i = 0; i < str->num_bytes; i++) {
        char c = str->s[i];
        in_tag |= c == '<' && memchr(str->s + i, '>', str->num_bytes - i) != NULL;
        nano_jinja_step(j, c == '<' ? (str->num_bytes - i) / 64 : 0);
        if (!in_tag)
            nano_jinja_write(j, &c, 1);
        in_tag &= c != '>';
    }
    struct nano_value words = nano_jinja_take(j, from);
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++) {
        struct nano_value old = nano_value_cstr(j, entities[i][0]);
        words = nano_str_replace(j, words.str, old.str, nano_value_cstr(j, entities[i][1]).str, -1);
    }
    struct nano_str split = {"split", 5, 5, false}, join = {"join", 4, 4, false};
    struct nano_value space = nano_value_borrow(j, " ", 1);
    struct nano_args none = {0}, one = {.num = 1};
    struct nano_value list =
        nano_jinja_call_function(j, nano_jinja_find_method(words, &split), words, &none);
    one.items = &list;
    return nano_jinja_call_function(j, nano_jinja_find_method(space, &join), space, &one);
}

static void write_quoted(struct nano_jinja *j, struct nano_value v, bool for_query)
{
    const struct nano_str *str = text(j, v);
    for (size_t i = 0; i < str->num_bytes; i++) {
        unsigned char c = (unsigned char)str->s[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                     (c && strchr("-._~", c)) || (c == '/' && !for_query);
        if (plain)
            nano_jinja_write(j, str->s + i, 1);
        else if (c == ' ' && for_query)
            nano_jinja_write(j, "+", 1);
        else
            nano_jinja_printf(j, "%%%02X", c);
    }
}

FILTER(do_urlencode)
{
    UNUSED;
    size_t from = j->out_bytes;
    if (self.kind == NANO_STR || !nano_value_is_iterable(self)) {
        write_quoted(j, self, false);
        return nano_jinja_take(j, from);
    }
    struct nano_view view = {self.dict, NANO_VIEW_ITEMS};
    struct nano_list pairs = nano_value_items(
        j, self.kind == NANO_DICT ? (struct nano_value){.kind = NANO_VIEW, .view = &view} : self);
    for (size_t i = 0; i < pairs.num; i++) {
        struct nano_list pair = nano_value_items(j, pairs.items[i]);
        if (pair.num != 2)
            nano_jinja_fail(j, "urlencode: expected pairs");
        if (i)
            nano_jinja_write(j, "&", 1);
        write_quoted(j, pair.items[0], true);
        nano_jinja_write(j, "=", 1);
        write_quoted(j, pair.items[1], true);
    }
    return nano_jinja_take(j, from);
}

FILTER(do_xmlattr)
{
    UNUSED;
    size_t from = j->out_bytes;
    bool space = p[0].kind == NANO_MISSING || nano_value_truth(j, p[0]);
    if (self.kind != NANO_DICT)
        nano_jinja_fail(j, "xmlattr: expected a mapping");
    for (size_t i = 0; i < self.dict->num; i++) {
        struct nano_entry entry = self.dict->entries[i];
        const struct nano_str *name = need_str(j, entry.key, "xmlattr");
        if (entry.value.kind == NANO_NONE || entry.value.kind == NANO_UNDEFINED)
            continue;
        for (size_t k = 0; k < name->num_bytes; k++)
            if (strchr(" \t\n\r\f\v/>=", name->s[k]))
                nano_jinja_fail(j, "xmlattr: invalid character in a name");
        if (j->out_bytes > from || space)
            nano_jinja_write(j, " ", 1);
        nano_value_print(j, nano_value_escape(j, entry.key));
        nano_jinja_write(j, "=\"", 2);
        nano_value_print(j, nano_value_escape(j, entry.value));
        nano_jinja_write(j, "\"", 1);
    }
    return nano_jinja_take(j, from);
}

FILTER(do_format)
{
    UNUSED;
    const struct nano_str *format = text(j, self);
    struct nano_value arg;
    if (args->num && args->num_keywords)
        nano_jinja_fail(j, "format: expected arguments in order or named ones, not both");
    if (args->num_keywords) {
        arg = nano_dict_create(j, args->num_keywords);
        for (size_t i = 0; i < args->num_keywords; i++)
            nano_dict_set(j, arg.dict,
                          (struct nano_value){.kind = NANO_STR, .str = args->keywords[i].name},
                          args->keywords[i].value);
    } else {
        arg = nano_value_list(j, NANO_TUPLE, args->num);
        if (args->num)
            memcpy(arg.list->items, args->items, args->num * sizeof arg);
    }
    return nano_str_percent(j, format, arg);
}

FILTER(do_tojson)
{
    UNUSED;
    struct nano_json_style style = {.ensure_ascii = nano_value_truth(j, p[0]),
                                    .sort_keys = nano_value_truth(j, p[3])};
    if (p[1].kind != NANO_MISSING && p[1].kind != NANO_NONE)
        style.indent = p[1].kind == NANO_STR
                           ? p[1].str
                           : nano_value_binary(j, '*', nano_value_borrow(j, " ", 1), p[1]).str;
    if (p[2].kind != NANO_MISSING && p[2].kind != NANO_NONE) {
        struct nano_list pair = nano_value_items(j, p[2]);
        if (pair.num != 2)
            nano_jinja_fail(j, "tojson: separators are two strings");
        style.item_separator = need_str(j, pair.items[0], "tojson");
        style.key_separator = need_str(j, pair.items[1], "tojson");
    }
    size_t from = j->out_bytes;
    nano_json_write(j, self, &style);
    return nano_jinja_take(j, from);
}

/* One word of a text: an address becomes a link, without the punctuation around it. */
static void urlize_word(struct nano_jinja *j, const struct nano_str *word, bool nofollow,
                        const struct nano_str *target)
{
    size_t from = 0, to = word->num_bytes;
    while (from < to && strchr("(<[", word->s[from]) && word->s[from])
        from++;
    while (to > from && strchr(".,!?:;)>]", word->s[to - 1]) && word->s[to - 1])
        to--;
    bool has_scheme = (to - from > 7 && memcmp(word->s + from, "http://", 7) == 0) ||
                      (to - from > 8 && memcmp(word->s + from, "https://", 8) == 0);
    bool is_address = has_scheme || (to - from > 4 && memcmp(word->s + from, "www.", 4) == 0);
    struct nano_value parts[3] = {nano_str_range(j, word, 0, from),
                                  nano_str_range(j, word, from, to),
                                  nano_str_range(j, word, to, word->num_bytes)};
    for (int i = 0; i < 3; i++)
        parts[i] = nano_value_escape(j, parts[i]);
    nano_value_print(j, parts[0]);
    if (is_address) {
        nano_jinja_printf(j, "<a href=\"%s", has_scheme ? "" : "https://");
        nano_value_print(j, parts[1]);
        nano_jinja_printf(j, "\" rel=\"%snoopener\"", nofollow ? "nofollow " : "");
        if (target) {
            nano_jinja_printf(j, " target=\"");
            nano_jinja_write(j, target->s, target->num_bytes);
            nano_jinja_write(j, "\"", 1);
        }
        nano_jinja_write(j, ">", 1);
    }
    nano_value_print(j, parts[1]);
    nano_jinja_printf(j, "%s", is_address ? "</a>" : "");
    nano_value_print(j, parts[2]);
}

FILTER(do_urlize)
{
    UNUSED;
    const struct nano_str *str = text(j, self);
    const struct nano_str *target = p[2].kind == NANO_STR ? p[2].str : NULL;
    size_t from = j->out_bytes, start = 0;
    for (size_t i = 0; i <= str->num_bytes; i++) {
        bool ends = i == str->num_bytes || ((unsigned char)str->s[i] < 0x80 &&
                                            nano_unicode_is_space((unsigned char)str->s[i]));
        if (ends && i > start)
            urlize_word(j, nano_str_range(j, str, start, i).str, nano_value_truth(j, p[1]), target);
        if (ends && i < str->num_bytes)
            nano_jinja_write(j, str->s + i, 1);
        start = ends ? i + 1 : start;
    }
    return nano_jinja_take(j, from);
}

const struct nano_function nano_text_filters[] = {
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", do_tojson},
    {"trim", "chars?", do_trim},
    {"string", "", do_string},
    {"upper", "", do_upper},
    {"lower", "", do_lower},
    {"title", "", do_title},
    {"capitalize", "", do_capitalize},
    {"replace", "old new count?", do_replace},
    {"indent", "width? first? blank?", do_indent},
    {"safe", "", do_safe},
    {"e", "", do_escape},
    {"escape", "", do_escape},
    {"forceescape", "", do_forceescape},
    {"center", "width?", do_center},
    {"format", "*", do_format},
    {"truncate", "length? killwords? end? leeway?", do_truncate},
    {"wordcount", "", do_wordcount},
    {"wordwrap", "width? break_long_words? wrapstring? break_on_hyphens?", do_wordwrap},
    {"striptags", "", do_striptags},
    {"urlencode", "", do_urlencode},
    {"urlize", "trim_url_limit? nofollow? target? rel?", do_urlize},
    {"xmlattr", "autospace?", do_xmlattr},
};
const size_t nano_num_text_filters = sizeof nano_text_filters / sizeof *nano_text_filters;
