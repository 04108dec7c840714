/* Operators: arithmetic with Python's rules, concatenation, slices. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "chat/jinja.h"

static _Noreturn void unsupported(struct nano_jinja *j, const char *op, struct nano_value a,
                                  struct nano_value b)
{
    nano_jinja_fail(j, "unsupported operands for %s: '%s' and '%s'", op, nano_value_type(a),
                    nano_value_type(b));
}

static const char *op_name(char op)
{
    static const char names[][3] = {"+", "-", "*", "/", "//", "%", "**"};
    return names[strchr("+-*/f%p", op) - "+-*/f%p"];
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static struct nano_value int_power(struct nano_jinja *j, int64_t a, int64_t b)
{
    int64_t result = 1, base = a;
    if (b < 0 && a == 0)
        nano_jinja_fail(j, "0 cannot be raised to a negative power");
    if (b < 0)
        return nano_value_float(pow((double)a, (double)b));
    for (int64_t exponent = b; exponent > 0; exponent >>= 1)
        if (((exponent & 1) && __builtin_mul_overflow(result, base, &result)) ||
            (exponent > 1 && __builtin_mul_overflow(base, base, &base)))
            return nano_big_binary(j, 'p', nano_value_int(a), nano_value_int(b));
    return nano_value_int(result);
}

static struct nano_value int_binary(struct nano_jinja *j, char op, int64_t a, int64_t b)
{
    int64_t result = 0;
    bool overflow = false;
    if (b == 0 && strchr("/f%", op))
        nano_jinja_fail(j, "division by zero");
    switch (op) {
    case '+':
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case '-':
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case '*':
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    case '/':
        return nano_value_float((double)a / (double)b);
    case 'p':
        return int_power(j, a, b);
    default:
        if (b == -1) { /* INT64_MIN / -1 does not fit */
            overflow = op == 'f' && __builtin_sub_overflow(0, a, &result);
            break;
        }
        result = op == 'f' ? a / b : a % b;
        if (a % b != 0 && (a < 0) != (b < 0)) /* towards minus infinity */
            result += op == 'f' ? -1 : b;
    }
    if (overflow)
        return nano_big_binary(j, op == 'f' ? '*' : op, nano_value_int(a), nano_value_int(b));
    return nano_value_int(result);
}

static struct nano_value float_binary(struct nano_jinja *j, char op, double a, double b)
{
    double rest;
    if (b == 0 && strchr("/f%", op))
        nano_jinja_fail(j, "division by zero");
    switch (op) {
    case '+':
        return nano_value_float(a + b);
    case '-':
        return nano_value_float(a - b);
    case '*':
        return nano_value_float(a * b);
    case '/':
        return nano_value_float(a / b);
    case 'p':
        rest = pow(a, b);
        if ((a == 0 && b < 0) || (isnan(rest) && !isnan(a) && !isnan(b)) ||
            (isinf(rest) && !isinf(a) && !isinf(b)))
            nano_jinja_fail(j, "the result of ** is no real number or too large");
        return nano_value_float(rest);
    default:
        rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0))
            rest += b;
        if (op == '%')
            return nano_value_float(rest == 0 ? copysign(0, b) : rest);
        return nano_value_float(floor((a - rest) / b + 0.5));
    }
}

/* ---- Sequences ------------------------------------------------------------------------------- */

static struct nano_value add_strings(struct nano_jinja *j, struct nano_value a, struct nano_value b)
{
    if (a.str->is_markup != b.str->is_markup) {
        a = nano_value_escape(j, a);
        b = nano_value_escape(j, b);
    }
    char *text = nano_jinja_alloc(j, a.str->num_bytes + b.str->num_bytes, 1);
    if (a.str->num_bytes)
        memcpy(text, a.str->s, a.str->num_bytes);
    if (b.str->num_bytes)
        memcpy(text + a.str->num_bytes, b.str->s, b.str->num_bytes);
    struct nano_value sum = nano_value_borrow(j, text, a.str->num_bytes + b.str->num_bytes);
    sum.str->is_markup = a.str->is_markup;
    return sum;
}

static struct nano_value add_lists(struct nano_jinja *j, struct nano_value a, struct nano_value b)
{
    struct nano_value sum = nano_value_list(j, a.kind, a.list->num + b.list->num);
    if (a.list->num)
        memcpy(sum.list->items, a.list->items, a.list->num * sizeof a);
    if (b.list->num)
        memcpy(sum.list->items + a.list->num, b.list->items, b.list->num * sizeof b);
    return sum;
}

static struct nano_value repeat(struct nano_jinja *j, struct nano_value v, struct nano_value times)
{
    int64_t num = times.kind == NANO_BOOL ? times.b : times.i;
    bool is_str = v.kind == NANO_STR;
    size_t length = is_str ? v.str->num_bytes : v.list->num, total;
    if (num < 0)
        num = 0;
    if (__builtin_mul_overflow(length, (size_t)num, &total))
        total = SIZE_MAX / 2;
    if (is_str) {
        char *text = nano_jinja_alloc(j, total, 1);
        for (size_t i = 0; length > 0 && i < total; i += length)
            memcpy(text + i, v.str->s, length);
        return nano_value_borrow(j, text, total);
    }
    struct nano_value list = nano_value_list(j, v.kind, total);
    for (size_t i = 0; length > 0 && i < total; i += length)
        memcpy(list.list->items + i, v.list->items, length * sizeof v);
    return list;
}

static bool is_sequence(struct nano_value v)
{
    return v.kind == NANO_STR || v.kind == NANO_LIST || v.kind == NANO_TUPLE;
}

static bool is_integer(struct nano_value v)
{
    return v.kind == NANO_INT || v.kind == NANO_BOOL;
}

struct nano_value nano_value_binary(struct nano_jinja *j, char op, struct nano_value a,
                                    struct nano_value b)
{
    if (a.kind == NANO_STR && op == '%')
        return nano_str_percent(j, a.str, b);
    if (a.kind == NANO_UNDEFINED || b.kind == NANO_UNDEFINED) {
        struct nano_value v = a.kind == NANO_UNDEFINED ? a : b;
        nano_jinja_fail(j, "%s", v.undefined ? v.undefined->why : "undefined");
    }
    if (is_integer(a) && is_integer(b))
        return int_binary(j, op, a.kind == NANO_BOOL ? a.b : a.i, b.kind == NANO_BOOL ? b.b : b.i);
    if (nano_value_is_number(a) && nano_value_is_number(b))
        return float_binary(j, op, nano_value_to_double(a), nano_value_to_double(b));
    if ((a.kind == NANO_BIG && (is_integer(b) || b.kind == NANO_BIG)) ||
        (b.kind == NANO_BIG && is_integer(a)))
        return nano_big_binary(j, op, a, b);
    if (op == '+' && a.kind == NANO_STR && b.kind == NANO_STR)
        return add_strings(j, a, b);
    if (op == '+' && a.kind == b.kind && is_sequence(a))
        return add_lists(j, a, b);
    if (op == '*' && is_sequence(a) && is_integer(b))
        return repeat(j, a, b);
    if (op == '*' && is_sequence(b) && is_integer(a))
        return repeat(j, b, a);
    unsupported(j, op_name(op), a, b);
}

struct nano_value nano_value_negate(struct nano_jinja *j, struct nano_value v, bool negative)
{
    if (v.kind == NANO_FLOAT)
        return nano_value_float(negative ? -v.f : v.f);
    if (is_integer(v)) {
        int64_t i = v.kind == NANO_BOOL ? v.b : v.i;
        return negative ? int_binary(j, '-', 0, i) : nano_value_int(i);
    }
    if (v.kind == NANO_UNDEFINED)
        nano_jinja_fail(j, "%s", v.undefined ? v.undefined->why : "undefined");
    if (v.kind != NANO_BIG)
        nano_jinja_fail(j, "bad operand for a sign: '%s'", nano_value_type(v));
    if (!negative)
        return v;
    const struct nano_str *big = v.str;
    if (big->s[0] == '-')
        return nano_jinja_parse_int(j, big->s + 1, big->num_bytes - 1, 10);
    char *text = nano_jinja_alloc(j, big->num_bytes + 1, 1);
    text[0] = '-';
    memcpy(text + 1, big->s, big->num_bytes);
    return nano_jinja_parse_int(j, text, big->num_bytes + 1, 10);
}

/* ---- Slices ---------------------------------------------------------------------------------- */

static int64_t bound(struct nano_jinja *j, struct nano_value v, int64_t absent)
{
    if (v.kind == NANO_NONE)
        return absent;
    return nano_value_to_int(j, v, "a slice");
}

/* As Python's slice.indices. */
static void slice_indices(struct nano_jinja *j, const struct nano_value bounds[3], int64_t length,
                          int64_t out[3])
{
    int64_t step = bound(j, bounds[2], 1);
    if (step == 0)
        nano_jinja_fail(j, "the step of a slice cannot be zero");
    if (step < -INT64_MAX)
        step = -INT64_MAX;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
    for (int i = 0; i < 2; i++) {
        int64_t absent = (step < 0) == (i == 0) ? high : low;
        int64_t at = bound(j, bounds[i], absent);
        if (bounds[i].kind != NANO_NONE && at < 0)
            at = at < -length ? low : at + length;
        out[i] = at < low ? low : at > high ? high : at;
    }
    out[2] = step;
}

static size_t slice_length(const int64_t at[3])
{
    int64_t from = at[0], to = at[1], step = at[2];
    if (step > 0)
        return from < to ? (size_t)((to - from - 1) / step) + 1 : 0;
    return from > to ? (size_t)((from - to - 1) / -step) + 1 : 0;
}

static struct nano_value slice_str(struct nano_jinja *j, struct nano_value v, const int64_t at[3],
                                   size_t num)
{
    if (at[2] == 1)
        return nano_str_slice(j, v.str, (size_t)at[0], (size_t)at[0] + num);
    struct nano_list characters = nano_value_items(j, v);
    size_t from = j->out_bytes;
    for (size_t i = 0; i < num; i++)
        nano_value_print(j, characters.items[at[0] + (int64_t)i * at[2]]);
    return nano_jinja_take(j, from);
}

struct nano_value nano_value_slice(struct nano_jinja *j, struct nano_value v,
                                   const struct nano_value bounds[3])
{
    int64_t at[3];
    if (v.kind == NANO_UNDEFINED)
        nano_jinja_fail(j, "%s", v.undefined ? v.undefined->why : "undefined");
    if (!is_sequence(v) && v.kind != NANO_RANGE)
        nano_jinja_fail(j, "'%s' object has no slices", nano_value_type(v));
    slice_indices(j, bounds, (int64_t)nano_value_length(j, v), at);
    size_t num = slice_length(at);
    if (v.kind == NANO_STR)
        return slice_str(j, v, at, num);
    if (v.kind == NANO_RANGE) {
        struct nano_range *range = nano_jinja_alloc(j, 1, sizeof *range);
        uint64_t start = (uint64_t)v.range->start, step = (uint64_t)v.range->step;
        *range = (struct nano_range){(int64_t)(start + (uint64_t)at[0] * step),
                                     (int64_t)(start + (uint64_t)at[1] * step),
                                     (int64_t)(step * (uint64_t)at[2]), (int64_t)num};
        return (struct nano_value){.kind = NANO_RANGE, .range = range};
    }
    struct nano_value list = nano_value_list(j, v.kind, num);
    for (size_t i = 0; i < num; i++)
        list.list->items[i] = v.list->items[at[0] + (int64_t)i * at[2]];
    return list;
}
