/* The interpreter's state: memory, limits, errors, output. */
#include "chat/jinja.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

void nano_jinja_init(struct nano_jinja *j, struct nano_error *err, uint64_t max_steps,
                     size_t max_bytes)
{
    *j = (struct nano_jinja){0};
    nano_arena_init(&j->arena);
    j->err = err;
    j->steps_left = max_steps;
    j->max_bytes = max_bytes;
    j->max_out_bytes = max_bytes;
}

void nano_jinja_deinit(struct nano_jinja *j)
{
    nano_mem_free(j->out);
    nano_arena_deinit(&j->arena);
}

static _Noreturn void fail(struct nano_jinja *j, enum nano_status status, const char *fmt,
                           va_list args)
{
    char message[sizeof j->err->message];
    vsnprintf(message, sizeof message, fmt, args);
    message[nano_utf8_valid_prefix(message, strlen(message))] = '\0';
    if (j->line > 0)
        nano_error_set(j->err, status, "line %u: %s", j->line, message);
    else
        nano_error_set(j->err, status, "%s", message);
    longjmp(*j->unwind, 1);
}

_Noreturn void nano_jinja_fail(struct nano_jinja *j, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(j, NANO_ERR_INVALID_ARGUMENT, fmt, args);
}

_Noreturn void nano_jinja_fail_status(struct nano_jinja *j, enum nano_status status,
                                      const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(j, status, fmt, args);
}

void nano_jinja_step(struct nano_jinja *j, uint64_t num)
{
    if (num > j->steps_left)
        nano_jinja_fail(j, "the template takes too many steps");
    j->steps_left -= num;
}

void nano_jinja_enter(struct nano_jinja *j)
{
    nano_jinja_step(j, 1);
    if (j->depth >= NANO_JINJA_MAX_DEPTH)
        nano_jinja_fail(j, "nested too deeply");
    j->depth++;
}

void *nano_jinja_alloc(struct nano_jinja *j, size_t num, size_t size)
{
    size_t num_bytes;
    if (!nano_mem_size(num, size, 0, &num_bytes) ||
        num_bytes > j->max_bytes -
                        (j->arena.total_bytes < j->max_bytes ? j->arena.total_bytes : j->max_bytes))
        nano_jinja_fail(j, "the template takes more than %zu MiB of memory", j->max_bytes >> 20);
    nano_jinja_step(j, num_bytes / 64);
    void *memory = nano_arena_alloc(&j->arena, num, size);
    if (!memory)
        nano_jinja_fail_status(j, NANO_ERR_NO_MEMORY, "no memory");
    return memory;
}

static char *make_room(struct nano_jinja *j, size_t num_bytes)
{
    if (num_bytes > j->max_out_bytes - j->out_bytes)
        nano_jinja_fail(j, "the output is longer than %zu bytes", j->max_out_bytes);
    void *out = j->out;
    if (!nano_mem_grow(&out, &j->out_capacity, j->out_bytes + num_bytes + 1, 1))
        nano_jinja_fail_status(j, NANO_ERR_NO_MEMORY, "no memory");
    j->out = out;
    return j->out + j->out_bytes;
}

void nano_jinja_write(struct nano_jinja *j, const char *s, size_t num_bytes)
{
    nano_jinja_step(j, num_bytes / 64);
    char *room = make_room(j, num_bytes);
    if (num_bytes)
        memcpy(room, s, num_bytes);
    j->out_bytes += num_bytes;
}

void nano_jinja_printf(struct nano_jinja *j, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int num_bytes = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (num_bytes > 0) {
        char *room = make_room(j, (size_t)num_bytes);
        vsnprintf(room, (size_t)num_bytes + 1, fmt, again);
        j->out_bytes += (size_t)num_bytes;
    }
    va_end(again);
}

void nano_jinja_write_char(struct nano_jinja *j, uint32_t codepoint)
{
    char bytes[4];
    int num = nano_utf8_encode(codepoint, bytes);
    if (num == 0)
        nano_jinja_fail(j, "U+%04X is no character", codepoint);
    nano_jinja_write(j, bytes, (size_t)num);
}

struct nano_value nano_jinja_take(struct nano_jinja *j, size_t from)
{
    size_t num_bytes = j->out_bytes - from;
    j->out_bytes = from;
    return nano_value_str(j, num_bytes ? j->out + from : "", num_bytes);
}
