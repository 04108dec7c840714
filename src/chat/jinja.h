/* The interpreter's values and its state while it parses or renders.
 *
 * Everything lives in one arena that ends with the render (or with the template); nothing is
 * released alone. Errors leave through nano_jinja_fail, a longjmp to where the state was set up:
 * between the two there is nothing to release but what the state owns. Rendering has limits on
 * steps, depth, memory and output, which every loop over something of the template's choosing pays
 * into through nano_jinja_step. */
#ifndef NANO_CHAT_JINJA_H
#define NANO_CHAT_JINJA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/arena.h"
#include "base/error.h"

enum nano_kind {
    NANO_MISSING, /* no value: a parameter that was not given */
    NANO_UNDEFINED,
    NANO_NONE,
    NANO_BOOL,
    NANO_INT,
    NANO_BIG, /* an integer beyond 64 bits */
    NANO_FLOAT,
    NANO_STR,
    NANO_BYTES,
    NANO_LIST,
    NANO_TUPLE,
    NANO_DICT,
    NANO_VIEW, /* of a dict: its keys, values or items */
    NANO_RANGE,
    NANO_ITER, /* a generator: runs out when it is read */
    NANO_NAMESPACE,
    NANO_LOOP,
    NANO_MACRO,
    NANO_FUNCTION,
    NANO_METHOD,
    NANO_CYCLER,
    NANO_JOINER,
    NANO_SELF,
    NANO_BLOCK
};

struct nano_value {
    enum nano_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        struct nano_str *str; /* NANO_STR, NANO_BYTES, NANO_BIG (its digits) */
        struct nano_list *list;
        struct nano_dict *dict; /* NANO_DICT, NANO_NAMESPACE */
        struct nano_view *view;
        struct nano_range *range;
        struct nano_iter *iter;
        struct nano_undefined *undefined; /* NULL: nothing is known about it */
        struct nano_loop *loop;
        struct nano_macro *macro;
        const struct nano_function *function;
        struct nano_method *method;
        struct nano_cycler *cycler;
        struct nano_joiner *joiner;
        const struct nano_node *node; /* NANO_BLOCK */
    };
};

struct nano_str {
    const char *s;               /* valid UTF-8, not terminated */
    size_t num_bytes, num_chars; /* nano_str_chars counts them when they are asked for */
    bool is_markup;              /* what the filter safe made: + escapes the other side */
};

struct nano_list {
    struct nano_value *items;
    size_t num;
};

struct nano_entry {
    struct nano_value key, value;
};

struct nano_dict { /* in the order of insertion */
    struct nano_entry *entries;
    size_t num, capacity;
    uint32_t *slots; /* hash table of entry numbers + 1; NULL while there are few */
    size_t num_slots;
};

struct nano_view {
    struct nano_dict *dict;
    enum nano_view_kind { NANO_VIEW_KEYS, NANO_VIEW_VALUES, NANO_VIEW_ITEMS } kind;
};

struct nano_range {
    int64_t start, stop, step, num;
};

/* What a generator will give is computed at once; an error on the way is kept until it is reached.
 */
struct nano_iter {
    struct nano_value *items;
    size_t num, pos;
    const char *type;
    const char *error;
};

struct nano_undefined {
    const char *why;
};

struct nano_cycler {
    struct nano_value *items;
    size_t num, pos;
};

struct nano_joiner {
    struct nano_value separator;
    bool used;
};

struct nano_var {
    uint32_t id;
    struct nano_value value;
};

/* Variables of a block of the template; the outermost one has a place for every name. */
struct nano_scope {
    struct nano_scope *parent;
    struct nano_var *vars;
    size_t num, capacity;
    bool is_indexed; /* vars[id] */
};

struct nano_loop {
    struct nano_value *items;
    size_t num, pos;
    int64_t depth0;
    const struct nano_node *node;
    struct nano_scope *outer;
    struct nano_value changed; /* NANO_MISSING, or the tuple of the last call */
};

struct nano_macro {
    const struct nano_node *node;
    struct nano_scope *closure;
};

struct nano_keyword {
    struct nano_str *name;
    struct nano_value value;
};

struct nano_args {
    struct nano_value *items;
    size_t num;
    struct nano_keyword *keywords;
    size_t num_keywords;
};

struct nano_jinja;

#define NANO_MAX_PARAMS 6

/* A function of the language. `params` are its parameters' names separated by spaces: "a b? c?",
 * where "?" marks those that may be left out, a leading "/" says that none may be named, and "*"
 * that the function looks at the arguments itself. What was not given is NANO_MISSING. The first
 * argument is what a filter or a method is applied to. */
struct nano_function {
    const char *name;
    const char *params;
    struct nano_value (*call)(struct nano_jinja *j, struct nano_value self,
                              const struct nano_value *p, const struct nano_args *args);
};

struct nano_method {
    struct nano_value self;
    const struct nano_function *function;
};

struct nano_jinja {
    struct nano_arena arena;
    size_t max_bytes; /* of the arena */
    jmp_buf *unwind;
    struct nano_error *err;
    uint64_t steps_left;
    int depth;
    uint32_t line;
    const struct nano_program *program;
    struct nano_scope *globals, *scope;
    char *out;
    size_t out_bytes, out_capacity, max_out_bytes;
    bool autoescape;
    uint64_t num_closures; /* made so far: a scope that none can have seen is used again */
    struct tm now;
    uint64_t random;
};

/* ---- jinja.c: the state ---------------------------------------------------------------------- */

#define NANO_JINJA_MAX_DEPTH 1200

void nano_jinja_init(struct nano_jinja *j, struct nano_error *err, uint64_t max_steps,
                     size_t max_bytes);
void nano_jinja_deinit(struct nano_jinja *j);

/* The message gets "line N: " before it. */
_Noreturn void nano_jinja_fail(struct nano_jinja *j, const char *fmt, ...) NANO_PRINTF(2, 3);
_Noreturn void nano_jinja_fail_status(struct nano_jinja *j, enum nano_status status,
                                      const char *fmt, ...) NANO_PRINTF(3, 4);

/* Takes `num` steps; about one per value or 64 bytes looked at. */
void nano_jinja_step(struct nano_jinja *j, uint64_t num);

/* One level deeper; the caller goes back with j->depth--. */
void nano_jinja_enter(struct nano_jinja *j);

void *nano_jinja_alloc(struct nano_jinja *j, size_t num, size_t size);

/* Output: a stack of texts; a part of it is taken back as a value. */
void nano_jinja_write(struct nano_jinja *j, const char *s, size_t num_bytes);
struct nano_value nano_jinja_take(struct nano_jinja *j, size_t from);
void nano_jinja_printf(struct nano_jinja *j, const char *fmt, ...) NANO_PRINTF(2, 3);
void nano_jinja_write_char(struct nano_jinja *j, uint32_t codepoint);

/* ---- jinja_value.c --------------------------------------------------------------------------- */

struct nano_value nano_value_none(void);
struct nano_value nano_value_bool(bool b);
struct nano_value nano_value_int(int64_t i);
struct nano_value nano_value_float(double f);
struct nano_value nano_value_undefined(struct nano_jinja *j, const char *fmt, ...)
    NANO_PRINTF(2, 3);
struct nano_value nano_value_str(struct nano_jinja *j, const char *s,
                                 size_t num_bytes); /* copies */
struct nano_value nano_value_borrow(struct nano_jinja *j, const char *s, size_t num_bytes);
struct nano_value nano_value_cstr(struct nano_jinja *j, const char *s);
struct nano_value nano_value_list(struct nano_jinja *j, enum nano_kind kind, size_t num);
struct nano_value nano_value_pair(struct nano_jinja *j, struct nano_value a, struct nano_value b);
struct nano_value nano_value_iter(struct nano_jinja *j, const char *type, struct nano_value *items,
                                  size_t num);

bool nano_value_is_number(struct nano_value v); /* bool, int, float */
bool nano_value_is_str(struct nano_value v, const char *text);
bool nano_value_truth(struct nano_jinja *j, struct nano_value v);
double nano_value_to_double(struct nano_value v);

/* The integer that v is (an int or a bool), else an error that names `what`. */
int64_t nano_value_to_int(struct nano_jinja *j, struct nano_value v, const char *what);
const char *nano_value_type(struct nano_value v); /* Python's name of it */

/* Length, or SIZE_MAX for what has none. */
size_t nano_value_length(struct nano_jinja *j, struct nano_value v);

/* What iterating over v gives; reads an iterator to its end. */
struct nano_list nano_value_items(struct nano_jinja *j, struct nano_value v);
bool nano_value_is_iterable(struct nano_value v);

/* ---- jinja_compare.c ------------------------------------------------------------------------- */

bool nano_value_equal(struct nano_jinja *j, struct nano_value a, struct nano_value b);
/* -1, 0, 1; 2 where one is no number. `op` is for the message when they have no order. */
int nano_value_compare(struct nano_jinja *j, struct nano_value a, struct nano_value b,
                       const char *op);
bool nano_value_contains(struct nano_jinja *j, struct nano_value container, struct nano_value item);
uint64_t nano_value_hash(struct nano_jinja *j, struct nano_value v);

/* ---- jinja_dict.c ---------------------------------------------------------------------------- */

struct nano_value nano_dict_create(struct nano_jinja *j, size_t capacity);
void nano_dict_set(struct nano_jinja *j, struct nano_dict *dict, struct nano_value key,
                   struct nano_value value);
struct nano_value *nano_dict_find(struct nano_jinja *j, const struct nano_dict *dict,
                                  struct nano_value key);
struct nano_value *nano_dict_find_str(struct nano_jinja *j, const struct nano_dict *dict,
                                      const char *key);

/* ---- jinja_print.c --------------------------------------------------------------------------- */

struct nano_value nano_value_to_str(struct nano_jinja *j, struct nano_value v); /* Python's str() */
void nano_value_print(struct nano_jinja *j, struct nano_value v);
void nano_value_repr(struct nano_jinja *j, struct nano_value v);
void nano_float_print(struct nano_jinja *j, double f);
struct nano_value nano_value_escape(struct nano_jinja *j, struct nano_value v); /* HTML */

/* ---- jinja_str.c: characters ----------------------------------------------------------------- */

size_t nano_str_chars(struct nano_str *str);

/* Byte at which character `index` (0 … num_chars) begins. */
size_t nano_str_offset(const struct nano_str *str, size_t index);
struct nano_value nano_str_slice(struct nano_jinja *j, const struct nano_str *str, size_t first,
                                 size_t last); /* characters first … last */
struct nano_value nano_str_range(struct nano_jinja *j, const struct nano_str *str, size_t from,
                                 size_t to); /* bytes from … to */
enum nano_strip { NANO_STRIP_LEFT = 1, NANO_STRIP_RIGHT = 2 };
struct nano_value nano_str_strip(struct nano_jinja *j, const struct nano_str *str, unsigned sides,
                                 const struct nano_str *chars); /* NULL: white space */
const char *nano_str_find(struct nano_jinja *j, const char *s, size_t num_bytes, const char *part,
                          size_t part_bytes);
enum nano_str_case {
    NANO_STR_UPPER,
    NANO_STR_LOWER,
    NANO_STR_CAPITALIZE,
    NANO_STR_TITLE,
    NANO_STR_SWAP,
    NANO_STR_FOLD
};
struct nano_value nano_str_case(struct nano_jinja *j, const struct nano_str *str,
                                enum nano_str_case which);
struct nano_value nano_str_replace(struct nano_jinja *j, const struct nano_str *str,
                                   const struct nano_str *old, const struct nano_str *to,
                                   int64_t max);
struct nano_value nano_str_lines(struct nano_jinja *j, const struct nano_str *str, bool keep_ends);

/* ---- jinja_ops.c ----------------------------------------------------------------------------- */

struct nano_value nano_value_binary(struct nano_jinja *j, char op, struct nano_value a,
                                    struct nano_value b); /* + - * / f(loor) % p(ower) */
struct nano_value nano_value_negate(struct nano_jinja *j, struct nano_value v, bool negative);
struct nano_value nano_value_slice(struct nano_jinja *j, struct nano_value v,
                                   const struct nano_value bounds[3]);

/* The same for integers whose result (or one of which) has more than 64 bits. */
struct nano_value nano_big_binary(struct nano_jinja *j, char op, struct nano_value a,
                                  struct nano_value b);

/* ---- jinja_access.c -------------------------------------------------------------------------- */

struct nano_value nano_value_attribute(struct nano_jinja *j, struct nano_value v,
                                       const struct nano_str *name);
struct nano_value nano_value_item(struct nano_jinja *j, struct nano_value v, struct nano_value key);
bool nano_value_is_callable(struct nano_value v);

/* ---- jinja_call.c ---------------------------------------------------------------------------- */

struct nano_value nano_jinja_call(struct nano_jinja *j, struct nano_value f,
                                  const struct nano_args *args);
struct nano_value nano_jinja_call_function(struct nano_jinja *j,
                                           const struct nano_function *function,
                                           struct nano_value self, const struct nano_args *args);

/* ---- Tables of functions: sorted by nobody, found by name ------------------------------------ */

const struct nano_function *nano_jinja_find_filter(const char *name, size_t num_bytes);
const struct nano_function *nano_jinja_find_test(const char *name, size_t num_bytes);
const struct nano_function *nano_jinja_find_global(const char *name, size_t num_bytes);
const struct nano_function *nano_jinja_find_method(struct nano_value self,
                                                   const struct nano_str *name);
const struct nano_function *nano_jinja_find(const struct nano_function *table, size_t num,
                                            const char *name, size_t num_bytes);

/* item.a.b for the path "a.b", as filters take it; none: the item itself. */
struct nano_value nano_jinja_path(struct nano_jinja *j, struct nano_value item,
                                  struct nano_value path);

extern const struct nano_function nano_text_filters[], nano_list_filters[], nano_number_filters[],
    nano_select_filters[], nano_str_methods[], nano_str_more_methods[];
extern const size_t nano_num_text_filters, nano_num_list_filters, nano_num_number_filters,
    nano_num_select_filters, nano_num_str_methods, nano_num_str_more_methods;

/* ---- Formats --------------------------------------------------------------------------------- */

struct nano_value nano_str_percent(struct nano_jinja *j, const struct nano_str *format,
                                   struct nano_value arg); /* format % arg */
struct nano_value nano_str_format(struct nano_jinja *j, const struct nano_str *format,
                                  const struct nano_args *args); /* format.format(…) */
void nano_jinja_format_spec(struct nano_jinja *j, struct nano_value v, const char *spec,
                            size_t num_bytes);
struct nano_value nano_jinja_strftime(struct nano_jinja *j, const struct nano_str *format);

/* Parses a number of `num_bytes` bytes that is one (digits checked by the caller). */
double nano_jinja_parse_double(const char *s, size_t num_bytes);
struct nano_value nano_jinja_parse_int(struct nano_jinja *j, const char *s, size_t num_bytes,
                                       int base); /* NANO_MISSING: no integer */

/* ---- jinja_json.c ---------------------------------------------------------------------------- */

struct nano_value nano_json_parse(struct nano_jinja *j, const char *text, size_t num_bytes);

struct nano_json_style {
    bool ensure_ascii, sort_keys;
    const struct nano_str *indent;                         /* NULL: one line */
    const struct nano_str *item_separator, *key_separator; /* NULL: the usual ones */
};
void nano_json_write(struct nano_jinja *j, struct nano_value v,
                     const struct nano_json_style *style);

#endif
