/* Grown models: metadata from one line of text, tensors from the messages about missing ones. */
#include "tests/grown_model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/little_endian.h"
#include "format/meta_build.h"
#include "models/program.h"
#include "tests/tiny_model.h"

#define MAX_TENSORS 1024
#define MAX_TEXT 2048

static void add_array(struct nano_meta_builder *b, const char *key, const char *text)
{
    size_t count = 1;
    for (const char *c = text; *c; c++)
        count += *c == ',';
    unsigned char *elements = nano_meta_add_numbers(b, key, NANO_META_I32, count);
    cr_assert_not_null(elements);
    for (size_t i = 0; i < count; i++) {
        char *end;
        const int32_t value = (int32_t)strtol(text + 1, &end, 10); /* past '[' or ',' */
        memcpy(elements + i * sizeof value, &value, sizeof value);
        text = end;
    }
}

static void add_value(struct nano_meta_builder *b, const char *key, const char *value)
{
    char *end;
    if (*value == '[') {
        add_array(b, key, value);
        return;
    }
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
        nano_meta_add_bool(b, key, *value == 't');
        return;
    }
    const double number = strtod(value, &end);
    if (*end)
        nano_meta_add_cstring(b, key, value);
    else if (strpbrk(value, ".e"))
        nano_meta_add_f32(b, key, number);
    else
        nano_meta_add_u32(b, key, (uint32_t)number);
}

static void add_metadata(struct nano_weights *w, const struct grown_spec *spec)
{
    struct nano_meta_builder b = {.weights = w, .architecture = spec->architecture};
    char text[MAX_TEXT], key[128], *rest;
    struct nano_error err;
    nano_meta_add_cstring(&b, "general.architecture", spec->architecture);
    cr_assert_lt(snprintf(text, sizeof text, "%s", spec->metadata), MAX_TEXT);
    for (char *item = strtok_r(text, " ", &rest); item; item = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(item, '=');
        cr_assert_not_null(value, "%s: '%s' has no value", spec->name, item);
        *value++ = '\0';
        snprintf(key, sizeof key, ".%s", item);
        add_value(&b, key, value);
    }
    cr_assert_eq(nano_meta_build_finish(&b, &err), NANO_OK, "%s", err.message);
}

static double uniform(uint64_t *state)
{
    return (double)(tiny_random(state) >> 11) / (double)((uint64_t)1 << 52) - 1;
}

/* A value as models of its kind have it: decays negative, norms around 1, biases around 0. */
static float value_of(const char *name, int num_dims, int64_t cols, uint64_t *random)
{
    const double u = uniform(random);
    if (strstr(name, "ssm_a"))
        return (float)(-1.6 + 1.4 * u);
    if (strstr(name, ".bias"))
        return (float)(0.3 * u);
    if (num_dims == 1 || strstr(name, "norm"))
        return (float)(1.1 + 0.4 * u);
    return (float)(1.7 * u / sqrt((double)cols));
}

static void add_tensor(struct nano_weights *w, const char *name, int num_dims, const int64_t *dims,
                       uint64_t *random)
{
    cr_assert_lt(w->num_tensors, MAX_TENSORS);
    struct nano_tensor *t = &w->tensors[w->num_tensors++];
    size_t count = 1;
    *t = (struct nano_tensor){
        .name = {nano_arena_strdup(&w->arena, name, strlen(name)), strlen(name)},
        .format = NANO_FORMAT_F32,
        .num_dims = num_dims,
        .dims = {1, 1, 1, 1}};
    for (int i = 0; i < num_dims; i++) {
        t->dims[i] = dims[i];
        count *= (size_t)dims[i];
    }
    float *data = nano_arena_alloc(&w->arena, count, sizeof *data);
    cr_assert(t->name.bytes && data);
    for (size_t i = 0; i < count; i++)
        data[i] = value_of(name, num_dims, dims[0], random);
    t->data = data;
    t->num_bytes = count * sizeof *data;
}

/* "[64, 96]" or "64x96" */
static int read_dims(const char *text, int64_t dims[NANO_MAX_DIMS])
{
    int count = 0;
    while (count < NANO_MAX_DIMS && *text && *text != ' ' && *text != ']') {
        char *end;
        while (*text && !(*text >= '0' && *text <= '9'))
            text++;
        dims[count++] = strtoll(text, &end, 10);
        text = end;
    }
    return count;
}

static void add_listed(struct nano_weights *w, const struct grown_spec *spec, uint64_t *random)
{
    char text[MAX_TEXT], *rest;
    cr_assert_lt(snprintf(text, sizeof text, "%s", spec->tensors), MAX_TEXT);
    for (char *item = strtok_r(text, " ", &rest); item; item = strtok_r(NULL, " ", &rest)) {
        int64_t dims[NANO_MAX_DIMS];
        char *shape = strchr(item, '=');
        cr_assert_not_null(shape, "%s: '%s' has no shape", spec->name, item);
        *shape++ = '\0';
        const int num_dims = read_dims(shape, dims);
        add_tensor(w, item, num_dims, dims, random);
    }
}

/* Adds what the message says is missing; false if it says something else. */
static bool add_missing(struct nano_weights *w, const char *message, uint64_t *random)
{
    char name[128];
    int64_t dims[NANO_MAX_DIMS];
    const char *quoted = strstr(message, "tensor '"),
               *shape = strstr(message, "is missing, expected shape [");
    if (!quoted || !shape || sscanf(quoted, "tensor '%127[^']'", name) != 1)
        return false;
    const int num_dims = read_dims(strchr(shape, '[') + 1, dims);
    add_tensor(w, name, num_dims, dims, random);
    return true;
}

void grown_model_make(struct nano_weights *w, const struct grown_spec *spec)
{
    struct nano_program *program = NULL;
    struct nano_error err = {0};
    uint64_t random = 77;
    *w = (struct nano_weights){0};
    nano_arena_init(&w->arena);
    w->tensors = nano_arena_alloc(&w->arena, MAX_TENSORS, sizeof *w->tensors);
    cr_assert_not_null(w->tensors);
    add_metadata(w, spec);
    add_listed(w, spec, &random);
    for (;;) {
        cr_assert_eq(nano_weights_finish(w, &err), NANO_OK, "%s: %s", spec->name, err.message);
        if (nano_program_create(&program, w, &err) == NANO_OK)
            break;
        cr_assert(add_missing(w, err.message, &random), "%s: %s", spec->name, err.message);
    }
    nano_program_destroy(program);
}
