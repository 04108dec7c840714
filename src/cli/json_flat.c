/* JSON in: a walk over the text with the path of the value it stands at. */
#include "cli/json_flat.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define MAX_DEPTH 16
#define MAX_PATH_BYTES 256

struct parser {
    struct nano_json_flat *out;
    const char *name, *text, *next;
    char path[MAX_PATH_BYTES];
    int depth;
    struct nano_error *err;
};

static enum nano_status fail_at(const struct parser *p, const char *expected)
{
    return nano_error_set(p->err, NANO_ERR_FORMAT, "%s: not JSON: byte %td: expected %s", p->name,
                          p->next - p->text, expected);
}

static void skip_space(struct parser *p)
{
    while (*p->next == ' ' || *p->next == '\n' || *p->next == '\r' || *p->next == '\t')
        p->next++;
}

/* The string at p->next, its escapes left as they are but for those of one character. The caller
 * frees it. */
static enum nano_status read_string(struct parser *p, char **out)
{
    const char *begin = p->next + 1, *end = begin;
    while (*end != '"') {
        if (*end == '\\' && end[1])
            end++;
        if ((unsigned char)*end < 32)
            return fail_at(p, "a string that ends");
        end++;
    }
    char *copy = nano_mem_strdup(begin, (size_t)(end - begin)), *write = copy;
    if (!copy)
        return nano_error_no_memory(p->err, p->name, (size_t)(end - begin));
    for (const char *read = copy; *read; read++) {
        if (*read == '\\' && strchr("\"\\/", read[1]))
            read++;
        *write++ = *read;
    }
    *write = '\0';
    p->next = end + 1;
    *out = copy;
    return NANO_OK;
}

/* Takes over `text`. */
static enum nano_status add_item(struct parser *p, char *text, bool is_number)
{
    struct nano_json_flat *flat = p->out;
    void *items = flat->items;
    char *path = nano_mem_strdup(p->path, strlen(p->path));
    if (!path || !text ||
        !nano_mem_grow(&items, &flat->capacity, flat->num + 1, sizeof *flat->items)) {
        nano_mem_free(path);
        nano_mem_free(text);
        return nano_error_no_memory(p->err, p->name, 0);
    }
    flat->items = items;
    flat->items[flat->num++] =
        (struct nano_json_item){.path = path,
                                .text = text,
                                .is_number = is_number,
                                .number = is_number ? strtod(text, NULL) : 0};
    return NANO_OK;
}

static enum nano_status read_value(struct parser *p);

/* The elements of an object or array, each with its key or index at the end of the path. */
static enum nano_status read_container(struct parser *p, bool is_object)
{
    const size_t path_bytes = strlen(p->path);
    const char close = is_object ? '}' : ']';
    enum nano_status status = NANO_OK;
    p->next++;
    skip_space(p);
    for (int index = 0; *p->next != close; index++) {
        char number[16], *key = NULL;
        snprintf(number, sizeof number, "%d", index);
        if (is_object) {
            if (*p->next != '"')
                return fail_at(p, "a key");
            status = read_string(p, &key);
            if (status != NANO_OK)
                return status;
            skip_space(p);
        }
        int written = snprintf(p->path + path_bytes, sizeof p->path - path_bytes, "%s%s",
                               path_bytes ? "/" : "", key ? key : number);
        nano_mem_free(key);
        if (written >= (int)(sizeof p->path - path_bytes))
            return fail_at(p, "a shorter key");
        if (is_object && *p->next != ':')
            return fail_at(p, "':'");
        p->next += is_object;
        status = read_value(p);
        if (status != NANO_OK)
            return status;
        p->path[path_bytes] = '\0';
        skip_space(p);
        if (*p->next == ',') {
            p->next++;
            skip_space(p);
        } else if (*p->next != close) {
            return fail_at(p, is_object ? "',' or '}'" : "',' or ']'");
        }
    }
    p->next++;
    return NANO_OK;
}

static enum nano_status read_value(struct parser *p)
{
    enum nano_status status;
    skip_space(p);
    if (*p->next == '{' || *p->next == '[') {
        if (++p->depth > MAX_DEPTH)
            return fail_at(p, "fewer levels");
        status = read_container(p, *p->next == '{');
        p->depth--;
        return status;
    }
    if (*p->next == '"') {
        char *text;
        status = read_string(p, &text);
        return status == NANO_OK ? add_item(p, text, false) : status;
    }
    const size_t length = strcspn(p->next, ",]} \n\r\t");
    const bool is_number = isdigit((unsigned char)*p->next) || *p->next == '-';
    if (length == 0 || (!is_number && !isalpha((unsigned char)*p->next)))
        return fail_at(p, "a value");
    status = add_item(p, nano_mem_strdup(p->next, length), is_number);
    p->next += length;
    return status;
}

enum nano_status nano_json_flat_parse(struct nano_json_flat *out, const char *name,
                                      const char *text, struct nano_error *err)
{
    struct parser p = {.out = out, .name = name, .text = text, .next = text, .err = err};
    *out = (struct nano_json_flat){0};
    enum nano_status status = read_value(&p);
    if (status != NANO_OK)
        return status;
    skip_space(&p);
    return *p.next ? fail_at(&p, "one value only") : NANO_OK;
}

void nano_json_flat_free(struct nano_json_flat *flat)
{
    for (size_t i = 0; i < flat->num; i++) {
        nano_mem_free(flat->items[i].path);
        nano_mem_free(flat->items[i].text);
    }
    nano_mem_free(flat->items);
    *flat = (struct nano_json_flat){0};
}

const struct nano_json_item *nano_json_flat_find(const struct nano_json_flat *flat,
                                                 const char *path)
{
    for (size_t i = 0; i < flat->num; i++)
        if (strcmp(flat->items[i].path, path) == 0)
            return &flat->items[i];
    return NULL;
}
