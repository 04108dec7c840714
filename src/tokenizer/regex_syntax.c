/* Oniguruma's syntax (Ruby's) in PCRE2's words, where they differ:
 *
 *   \s \w            Unicode's White_Space; letters, marks, decimal digits and connectors
 *   \h               a hexadecimal digit
 *   \uHHHH           a code point
 *   X{n,m}+          not possessive: the repetition repeated
 *   (?m)             what PCRE2 calls (?s)
 *   \p{Letter} \p{^L} long names of categories, negation
 *   [a[bc]&&[^b]]    classes in classes, intersections */
#include <string.h>

#include "tokenizer/regex.h"

#define SPACES \
    "\\t-\\r " \
    "\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define WORD "\\p{L}\\p{M}\\p{Nd}\\p{Pc}"
#define HEX "0-9A-Fa-f"
#define MAX_DEPTH 64

struct translator {
    const char *in;
    size_t num_bytes, pos;
    struct nano_buffer *out;
    size_t atom; /* where the last atom begins in out; SIZE_MAX: there is none */
    const char *what;
    struct nano_error *err;
    bool failed; /* no memory */
};

static void put(struct translator *t, const char *bytes, size_t num_bytes)
{
    if (!nano_buffer_append(t->out, bytes, num_bytes))
        t->failed = true;
}

static void put_text(struct translator *t, const char *text)
{
    put(t, text, strlen(text));
}

/* Puts "(?:" before what was written from `begin` on. */
static void wrap(struct translator *t, size_t begin)
{
    put_text(t, "(?:");
    if (t->failed)
        return;
    char *data = t->out->data;
    memmove(data + begin + 3, data + begin, t->out->num_bytes - begin - 3);
    memcpy(data + begin, "(?:", 3);
}

static enum nano_status refuse(struct translator *t, const char *problem)
{
    return nano_error_set(t->err, NANO_ERR_UNSUPPORTED, "%s: regular expression: at %zu: %s",
                          t->what, t->pos, problem);
}

static int peek(const struct translator *t, size_t ahead)
{
    return t->pos + ahead < t->num_bytes ? (unsigned char)t->in[t->pos + ahead] : -1;
}

static const char *short_name(const char *name, size_t num_bytes)
{
    static const char *const names[][2] = {
        {"letter", "L"},
        {"uppercaseletter", "Lu"},
        {"lowercaseletter", "Ll"},
        {"titlecaseletter", "Lt"},
        {"modifierletter", "Lm"},
        {"otherletter", "Lo"},
        {"mark", "M"},
        {"nonspacingmark", "Mn"},
        {"spacingmark", "Mc"},
        {"enclosingmark", "Me"},
        {"number", "N"},
        {"decimalnumber", "Nd"},
        {"letternumber", "Nl"},
        {"othernumber", "No"},
        {"punctuation", "P"},
        {"punct", "P"},
        {"symbol", "S"},
        {"mathsymbol", "Sm"},
        {"currencysymbol", "Sc"},
        {"modifiersymbol", "Sk"},
        {"othersymbol", "So"},
        {"separator", "Z"},
        {"spaceseparator", "Zs"},
        {"lineseparator", "Zl"},
        {"paragraphseparator", "Zp"},
        {"other", "C"},
        {"control", "Cc"},
        {"cntrl", "Cc"},
        {"format", "Cf"},
        {"digit", "Nd"},
        {"dashpunctuation", "Pd"},
        {"openpunctuation", "Ps"},
        {"closepunctuation", "Pe"},
        {"connectorpunctuation", "Pc"},
        {"otherpunctuation", "Po"},
        {"upper", "Lu"},
        {"lower", "Ll"},
        {"alpha", "L"},
        {"unassigned", "Cn"},
    };
    char plain[32];
    size_t length = 0;
    for (size_t i = 0; i < num_bytes && length + 1 < sizeof plain; i++)
        if (name[i] != '_' && name[i] != ' ' && name[i] != '-')
            plain[length++] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    plain[length] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(plain, names[i][0]) == 0)
            return names[i][1];
    return NULL;
}

/* \p{Name} or \P{Name} at pos. */
static void put_property(struct translator *t)
{
    bool negative = t->in[t->pos + 1] == 'P';
    const char *brace = t->in + t->pos + 2;
    const char *close = peek(t, 2) == '{' ? memchr(brace, '}', t->num_bytes - t->pos - 2) : NULL;
    if (!close) { /* \pL */
        put(t, t->in + t->pos, 2);
        t->pos += 2;
        return;
    }
    const char *name = brace + 1;
    if (*name == '^') {
        negative = !negative;
        name++;
    }
    size_t length = (size_t)(close - name);
    const char *known = short_name(name, length);
    put_text(t, negative ? "\\P{" : "\\p{");
    if (known)
        put_text(t, known);
    else
        put(t, name, length);
    put_text(t, "}");
    t->pos = (size_t)(close - t->in) + 1;
}

/* An escape at pos, inside a class or outside. */
static void put_escape(struct translator *t, bool in_class)
{
    static const struct {
        char letter;
        const char *set;
        bool negative;
    } sets[] = {{'s', SPACES, false}, {'S', SPACES, true}, {'w', WORD, false},
                {'W', WORD, true},    {'h', HEX, false},   {'H', HEX, true}};
    int letter = peek(t, 1);
    if (letter == 'p' || letter == 'P') {
        put_property(t);
        return;
    }
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (sets[i].letter != letter || (in_class && sets[i].negative))
            continue;
        if (!in_class)
            put_text(t, sets[i].negative ? "[^" : "[");
        put_text(t, sets[i].set);
        if (!in_class)
            put_text(t, "]");
        t->pos += 2;
        return;
    }
    if (letter == 'u' && t->pos + 6 <= t->num_bytes && peek(t, 2) != '{') {
        put_text(t, "\\x{");
        put(t, t->in + t->pos + 2, 4);
        put_text(t, "}");
        t->pos += 6;
        return;
    }
    size_t length = letter < 0 ? 1 : 2;
    put(t, t->in + t->pos, length);
    t->pos += length;
}

static bool is_posix_class(const struct translator *t)
{
    return peek(t, 0) == '[' && peek(t, 1) == ':' &&
           memchr(t->in + t->pos + 2, ']', t->num_bytes - t->pos - 2);
}

/* Whether the class at pos contains another one, or an intersection. */
static bool is_plain_class(const struct translator *t)
{
    size_t i = t->pos + 1;
    if (i < t->num_bytes && t->in[i] == '^')
        i++;
    if (i < t->num_bytes && t->in[i] == ']')
        i++;
    for (; i < t->num_bytes && t->in[i] != ']'; i++) {
        if (t->in[i] == '\\') {
            i++;
        } else if (t->in[i] == '[' && i + 1 < t->num_bytes && t->in[i + 1] == ':') {
            const char *close = memchr(t->in + i, ']', t->num_bytes - i);
            if (!close)
                return true;
            i = (size_t)(close - t->in);
        } else if (t->in[i] == '[' ||
                   (t->in[i] == '&' && i + 1 < t->num_bytes && t->in[i + 1] == '&')) {
            return false;
        }
    }
    return true;
}

/* The items of a class up to ']', '[', or "&&"; classes of POSIX belong to them. */
static void put_items(struct translator *t, bool may_begin_with_bracket)
{
    for (bool first = may_begin_with_bracket; t->pos < t->num_bytes; first = false) {
        char c = t->in[t->pos];
        if (c == ']' && !first)
            return;
        if (is_posix_class(t)) {
            const char *close = memchr(t->in + t->pos, ']', t->num_bytes - t->pos);
            size_t length = (size_t)(close - t->in) + 1 - t->pos;
            put(t, t->in + t->pos, length);
            t->pos += length;
        } else if (c == '[' || (c == '&' && peek(t, 1) == '&')) {
            return;
        } else if (c == '\\') {
            put_escape(t, true);
        } else {
            put(t, &c, 1);
            t->pos++;
        }
    }
}

static enum nano_status put_class(struct translator *t, int depth);

/* One operand of an intersection: its items and the classes in it, as alternatives. */
static enum nano_status put_operand(struct translator *t, bool first, int depth)
{
    bool any = false;
    put_text(t, "(?:");
    while (t->pos < t->num_bytes && t->in[t->pos] != ']' &&
           !(t->in[t->pos] == '&' && peek(t, 1) == '&')) {
        if (any)
            put_text(t, "|");
        any = true;
        if (t->in[t->pos] == '[' && !is_posix_class(t)) {
            enum nano_status status = put_class(t, depth + 1);
            if (status != NANO_OK)
                return status;
        } else {
            put_text(t, "[");
            put_items(t, first);
            put_text(t, "]");
        }
        first = false;
    }
    put_text(t, any ? ")" : "(?!))");
    return NANO_OK;
}

/* The class at pos. Intersections become look-aheads before the last operand. */
static enum nano_status put_class(struct translator *t, int depth)
{
    if (depth > MAX_DEPTH)
        return refuse(t, "classes are nested too deeply");
    bool plain = is_plain_class(t);
    t->pos++;
    bool negative = peek(t, 0) == '^';
    t->pos += negative;
    if (plain) {
        put_text(t, negative ? "[^" : "[");
        put_items(t, true);
        put_text(t, "]");
    } else {
        put_text(t, negative ? "(?:(?!" : "(?:");
        for (bool first = true;; first = false) {
            put_text(t, "(?=");
            enum nano_status status = put_operand(t, first, depth);
            if (status != NANO_OK)
                return status;
            put_text(t, ")");
            if (peek(t, 0) != '&')
                break;
            t->pos += 2;
        }
        put_text(t, negative ? ")(?s:.))" : "(?s:.))");
    }
    if (peek(t, 0) != ']')
        return refuse(t, "expected ']'");
    t->pos++;
    return NANO_OK;
}

/* "(" and what says which kind of group it is. */
static void put_group_start(struct translator *t)
{
    put(t, "(", 1);
    t->pos++;
    if (peek(t, 0) != '?')
        return;
    size_t end = t->pos + 1;
    while (end < t->num_bytes && (t->in[end] == '-' || (t->in[end] >= 'a' && t->in[end] <= 'z')))
        end++;
    if (end == t->num_bytes || (t->in[end] != ':' && t->in[end] != ')'))
        return;
    for (; t->pos < end; t->pos++) { /* options: (?mi-x: */
        char c = t->in[t->pos] == 'm' ? 's' : t->in[t->pos];
        put(t, &c, 1);
    }
}

/* {n,m} at pos with a quantifier behind it that PCRE2 would read as possessive. */
static size_t interval_bytes(const struct translator *t)
{
    size_t i = t->pos + 1;
    while (i < t->num_bytes && ((t->in[i] >= '0' && t->in[i] <= '9') || t->in[i] == ','))
        i++;
    return i < t->num_bytes && i > t->pos + 1 && t->in[i] == '}' ? i + 1 - t->pos : 0;
}

static void put_interval(struct translator *t, size_t length)
{
    const char *text = t->in + t->pos;
    t->pos += length;
    if (length > 3 && text[1] == ',') { /* {,m} */
        put_text(t, "{0");
        put(t, text + 1, length - 1);
    } else {
        put(t, text, length);
    }
    if (peek(t, 0) == '+' && t->atom != SIZE_MAX) {
        wrap(t, t->atom);
        put_text(t, ")");
    }
}

enum nano_status nano_regex_translate(struct nano_buffer *out, const char *pattern,
                                      size_t num_bytes, const char *what, struct nano_error *err)
{
    enum nano_status status;
    struct translator t = {pattern, num_bytes, 0, out, SIZE_MAX, what, err, false};
    size_t groups[MAX_DEPTH];
    int depth = 0;
    while (t.pos < num_bytes) {
        size_t begin = out->num_bytes;
        char c = pattern[t.pos];
        if (c == '\\') {
            put_escape(&t, false);
            t.atom = begin;
        } else if (c == '[') {
            NANO_TRY(put_class(&t, 0));
            t.atom = begin;
        } else if (c == '(') {
            if (depth == MAX_DEPTH)
                return refuse(&t, "groups are nested too deeply");
            groups[depth++] = begin;
            put_group_start(&t);
            t.atom = SIZE_MAX;
        } else if (c == '{' && interval_bytes(&t)) {
            put_interval(&t, interval_bytes(&t));
        } else {
            put(&t, &c, 1);
            t.pos++;
            if (c == ')')
                t.atom = depth > 0 ? groups[--depth] : SIZE_MAX;
            else if (c != '*' && c != '+' && c != '?' && ((unsigned char)c & 0xC0) != 0x80)
                t.atom = begin;
        }
        if (t.failed)
            return nano_error_no_memory(err, "regular expression", num_bytes);
    }
    return NANO_OK;
fail:
    return status;
}
