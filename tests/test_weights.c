/* weights: look-ups of tensors and metadata, and their errors. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "format/gguf.h"
#include "format/little_endian.h"
#include "gguf_builder.h"

/* Opens what the builder has; both are closed with done(). */
static void open_built(struct gguf_builder *builder, struct nano_weights *weights)
{
    struct nano_error err;
    const struct gguf_bytes *file = gguf_builder_finish(builder);
    cr_assert_eq(nano_gguf_open_memory(weights, file->data, file->size, "m.gguf", &err), NANO_OK,
                 "%s", err.message);
}

static void done(struct gguf_builder *builder, struct nano_weights *weights)
{
    nano_weights_close(weights);
    gguf_builder_deinit(builder);
}

Test(weights, tensors_are_found_among_many)
{
    enum { COUNT = 20000 };
    struct gguf_builder builder;
    struct nano_weights weights;
    char name[64];
    gguf_builder_init(&builder);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "blk.%d.weight", i);
        gguf_builder_tensor(&builder, name, 0, 1, (int64_t[]){1 + i % 7}, NULL,
                            4 * (1 + (size_t)i % 7));
    }
    open_built(&builder, &weights);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "blk.%d.weight", i);
        cr_assert_eq(nano_weights_find(&weights, name), &weights.tensors[i]);
        snprintf(name, sizeof name, "blk.%d.weigh", i);
        cr_assert_null(nano_weights_find(&weights, name));
    }
    cr_assert_null(nano_weights_find(&weights, ""));
    done(&builder, &weights);
    cr_assert_null(nano_weights_find(&weights, "blk.0.weight"), "closed weights have no tensors");
    nano_weights_close(&weights);
}

Test(weights, required_tensors_have_the_shape)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    struct nano_error err;
    const struct nano_tensor *tensor = NULL;
    gguf_builder_init(&builder);
    gguf_builder_tensor(&builder, "a.weight", 0, 2, (int64_t[]){64, 63}, NULL, 64 * 63 * 4);
    gguf_builder_tensor(&builder, "b.weight", 0, 3, (int64_t[]){64, 1, 1}, NULL, 64 * 4);
    open_built(&builder, &weights);
    cr_assert_eq(nano_weights_require(&weights, "a.weight", 2, (int64_t[]){64, 63}, &tensor, &err),
                 NANO_OK);
    cr_assert_eq(tensor, &weights.tensors[0]);
    cr_assert_eq(nano_weights_require(&weights, "b.weight", 1, (int64_t[]){64}, &tensor, &err),
                 NANO_OK);
    cr_assert_eq(tensor, &weights.tensors[1]);

    cr_assert_eq(nano_weights_require(&weights, "a.weight", 2, (int64_t[]){64, 64}, &tensor, &err),
                 NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "m.gguf: tensor 'a.weight': shape [64, 63], expected [64, 64]");
    cr_assert_eq(tensor, &weights.tensors[1], "out must not change on failure");
    cr_assert_eq(nano_weights_require(&weights, "a.weight", 1, (int64_t[]){64}, &tensor, &err),
                 NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "m.gguf: tensor 'a.weight': shape [64, 63], expected [64]");
    cr_assert_eq(nano_weights_require(&weights, "c.weight", 2, (int64_t[]){8, 9}, &tensor, &err),
                 NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "m.gguf: tensor 'c.weight' is missing, expected shape [8, 9]");
    done(&builder, &weights);
}

static enum nano_status get_int(const struct nano_weights *weights, const char *key, int64_t *out)
{
    return nano_meta_get_int(weights, key, INT64_MIN, INT64_MAX, out, NULL);
}

Test(weights, integers_of_all_widths_convert)
{
    static const struct {
        const char *key;
        enum nano_meta_type type;
        int64_t value;
    } cases[] = {{"u8", NANO_META_U8, 255},          {"i8", NANO_META_I8, -128},
                 {"u16", NANO_META_U16, 65535},      {"i16", NANO_META_I16, -32768},
                 {"u32", NANO_META_U32, UINT32_MAX}, {"i32", NANO_META_I32, INT32_MIN},
                 {"u64", NANO_META_U64, INT64_MAX},  {"i64", NANO_META_I64, INT64_MIN}};
    enum { COUNT = sizeof cases / sizeof *cases };
    struct gguf_builder builder;
    struct nano_weights weights;
    struct nano_error err;
    gguf_builder_init(&builder);
    for (int i = 0; i < COUNT; i++)
        gguf_builder_scalar(&builder, cases[i].key, cases[i].type, (uint64_t)cases[i].value);
    gguf_builder_scalar(&builder, "big", NANO_META_U64, (uint64_t)INT64_MAX + 1);
    gguf_builder_u32(&builder, "layers", 7);
    open_built(&builder, &weights);
    for (int i = 0; i < COUNT; i++) {
        int64_t value = 0;
        cr_assert_eq(get_int(&weights, cases[i].key, &value), NANO_OK);
        cr_assert_eq(value, cases[i].value, "%s", cases[i].key);
    }
    int64_t value = 42;
    cr_assert_eq(get_int(&weights, "absent", &value), NANO_OK);
    cr_assert_eq(value, 42);
    cr_assert_eq(get_int(&weights, "big", &value), NANO_ERR_FORMAT);
    cr_assert_eq(value, 42);
    cr_assert_eq(nano_meta_get_int(&weights, "layers", 1, 7, &value, &err), NANO_OK);
    cr_assert_eq(value, 7);
    cr_assert_eq(nano_meta_get_int(&weights, "layers", 8, 100, &value, &err), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message,
                     "m.gguf: key 'layers' is u32 7, expected an integer from 8 to 100");
    cr_assert_eq(nano_meta_get_int(&weights, "layers", 1, 6, &value, &err), NANO_ERR_FORMAT);
    done(&builder, &weights);
}

Test(weights, other_kinds_are_errors_that_say_so)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    struct nano_error err;
    int64_t integer = 1;
    double number = 0.25;
    bool truth = false;
    struct nano_string string = {0};
    gguf_builder_init(&builder);
    gguf_builder_string(&builder, "name",
                        "a\nb\xFF"
                        "cdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL");
    gguf_builder_f32(&builder, "eps", 1e-5f);
    gguf_builder_scalar(&builder, "double", NANO_META_F64, nano_le_bits_f64(0.1));
    gguf_builder_scalar(&builder, "flag", NANO_META_BOOL, 1);
    gguf_builder_scalar(&builder, "minus", NANO_META_I8, 0xFF);
    gguf_builder_string_array(&builder, "list", (const char *[]){"x", "y"}, 2);
    open_built(&builder, &weights);

    cr_assert_eq(nano_meta_get_float(&weights, "eps", &number, &err), NANO_OK);
    cr_assert_eq(number, (double)1e-5f);
    cr_assert_eq(nano_meta_get_float(&weights, "double", &number, &err), NANO_OK);
    cr_assert_eq(number, 0.1);
    cr_assert_eq(nano_meta_get_bool(&weights, "flag", &truth, &err), NANO_OK);
    cr_assert(truth);
    cr_assert_eq(nano_meta_get_string(&weights, "name", &string, &err), NANO_OK);
    cr_assert_eq(string.num_bytes, 50);
    cr_assert_eq(nano_meta_get_float(&weights, "absent", &number, &err), NANO_OK);
    cr_assert_eq(nano_meta_get_bool(&weights, "absent", &truth, &err), NANO_OK);
    cr_assert_eq(nano_meta_get_string(&weights, "absent", &string, &err), NANO_OK);
    cr_assert(number == 0.1 && truth && string.num_bytes == 50, "absent keys change nothing");

    cr_assert_eq(nano_meta_get_int(&weights, "eps", 0, 9, &integer, &err), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message,
                     "m.gguf: key 'eps' is f32 1e-05, expected an integer from 0 to 9");
    cr_assert_eq(nano_meta_get_float(&weights, "minus", &number, &err), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "m.gguf: key 'minus' is i8 -1, expected a floating-point number");
    cr_assert_eq(nano_meta_get_bool(&weights, "name", &truth, &err), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "m.gguf: key 'name' is string "
                                  "'a?b?cdefghijklmnopqrstuvwxyz0123456789AB', expected a bool");
    cr_assert_eq(nano_meta_get_string(&weights, "flag", &string, &err), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "m.gguf: key 'flag' is bool true, expected a string");
    cr_assert_eq(nano_meta_get_string(&weights, "list", &string, &err), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "m.gguf: key 'list' is array of 2 string, expected a string");
    cr_assert(integer == 1 && number == 0.1 && truth, "errors change nothing");
    done(&builder, &weights);
}

Test(weights, arrays_convert_at_any_alignment)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    unsigned char bytes[24];
    gguf_builder_init(&builder);
    nano_le_store(bytes, (uint64_t)-5, 4);
    nano_le_store(bytes + 4, 1u << 30, 4);
    gguf_builder_array(&builder, "odd_key", NANO_META_I32, bytes, 2);
    nano_le_store(bytes, nano_le_bits_f64(-2.75), 8);
    nano_le_store(bytes + 8, nano_le_bits_f64(1e30), 8);
    nano_le_store(bytes + 16, UINT64_C(0x7FF8000000000000), 8); /* NaN */
    gguf_builder_array(&builder, "floats", NANO_META_F64, bytes, 3);
    gguf_builder_array(&builder, "bools", NANO_META_BOOL, "\0\1", 2);
    open_built(&builder, &weights);
    const struct nano_meta *meta = nano_weights_meta(&weights, "odd_key");
    cr_assert_eq(nano_meta_array_int(meta, 0), -5);
    cr_assert_eq(nano_meta_array_int(meta, 1), 1 << 30);
    cr_assert_eq(nano_meta_array_float(meta, 0), -5.0);
    meta = nano_weights_meta(&weights, "floats");
    cr_assert_eq(nano_meta_array_float(meta, 0), -2.75);
    cr_assert_eq(nano_meta_array_int(meta, 0), -2);
    cr_assert_eq(nano_meta_array_int(meta, 1), 0);
    cr_assert_eq(nano_meta_array_int(meta, 2), 0);
    meta = nano_weights_meta(&weights, "bools");
    cr_assert_eq(nano_meta_array_int(meta, 0), 0);
    cr_assert_eq(nano_meta_array_int(meta, 1), 1);
    done(&builder, &weights);
}

Test(weights, zeroed_ones_close_and_find_nothing)
{
    struct nano_weights weights = {0};
    cr_assert_null(nano_weights_find(&weights, "x"));
    cr_assert_null(nano_weights_meta(&weights, "x"));
    cr_assert_str_eq(nano_weights_label(&weights), "weights in memory");
    nano_weights_close(&weights);
    nano_weights_close(&weights);
}

/* Other modules' tests make broken models of good ones this way. */
Test(weights, builder_copies_all_but_one)
{
    struct gguf_builder builder, other;
    struct nano_weights weights, copy;
    gguf_builder_init(&builder);
    gguf_builder_u32(&builder, "x.count", 3);
    gguf_builder_f32(&builder, "x.eps", 0.5f);
    gguf_builder_string_array(&builder, "x.list", (const char *[]){"p", "q"}, 2);
    gguf_builder_tensor(&builder, "a", 0, 1, (int64_t[]){8}, NULL, 32);
    gguf_builder_tensor(&builder, "b", 0, 1, (int64_t[]){8}, NULL, 32);
    open_built(&builder, &weights);
    gguf_builder_init(&other);
    gguf_builder_weights(&other, &weights, "a");
    open_built(&other, &copy);
    cr_assert_eq(copy.num_metadata, 3);
    cr_assert_eq(copy.num_tensors, 1);
    cr_assert_not_null(nano_weights_find(&copy, "b"));
    const struct nano_meta *list = nano_weights_meta(&copy, "x.list");
    cr_assert_eq(list->num_elements, 2);
    cr_assert_eq(list->strings[1].bytes[0], 'q');
    done(&other, &copy);
    done(&builder, &weights);
}

/* ---- released tensors ---- */

enum { BIG_BYTES = 6 << 20 }; /* so that memory of its own would be mapped pages as well */

/* Bytes of the mapping that holds `address` which are in memory and this process's. */
static long resident_bytes(const void *address)
{
    char line[4096];
    unsigned long long begin, end;
    long kib = -1;
    bool inside = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    while (file && kib < 0 && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%llx-%llx ", &begin, &end) == 2)
            inside = (uintptr_t)address >= begin && (uintptr_t)address < end;
        else if (inside)
            sscanf(line, "Rss: %ld kB", &kib);
    }
    if (file)
        fclose(file);
    return kib < 0 ? -1 : kib * 1024;
}

static void build_big(struct gguf_builder *builder, const unsigned char *content)
{
    gguf_builder_init(builder);
    gguf_builder_tensor(builder, "small", 0, 1, (int64_t[]){3}, content, 12);
    gguf_builder_tensor(builder, "big", 0, 1, (int64_t[]){BIG_BYTES / 4}, content, BIG_BYTES);
    gguf_builder_tensor(builder, "last", 0, 1, (int64_t[]){5}, content, 20);
}

static unsigned char *make_content(void)
{
    unsigned char *content = malloc(BIG_BYTES);
    cr_assert_not_null(content);
    for (size_t i = 0; i < BIG_BYTES; i++)
        content[i] = (unsigned char)(1 + i % 251);
    return content;
}

static void release_all(const struct nano_weights *weights, const unsigned char *content)
{
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor *tensor = &weights->tensors[i];
        nano_weights_will_read(weights, tensor);
        cr_expect_eq(memcmp(tensor->data, content, tensor->num_bytes), 0);
        nano_weights_release(weights, tensor);
    }
}

static void all_is_there(const struct nano_weights *weights, const unsigned char *content)
{
    for (size_t i = 0; i < weights->num_tensors; i++)
        cr_expect_eq(memcmp(weights->tensors[i].data, content, weights->tensors[i].num_bytes), 0,
                     "tensor %zu", i);
}

Test(weights, released_tensors_of_a_file_leave_memory_and_can_be_read_again)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    unsigned char *content = make_content();
    char path[] = "/tmp/nano_test_weights_XXXXXX";
    const int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
    build_big(&builder, content);
    gguf_builder_write(&builder, path);
    cr_assert_eq(nano_gguf_open(&weights, path, NULL), NANO_OK);
    unlink(path);
    all_is_there(&weights, content);
    if (resident_bytes(weights.files[0].data) >= 0)
        cr_expect_geq(resident_bytes(weights.files[0].data), BIG_BYTES);
    release_all(&weights, content);
    if (resident_bytes(weights.files[0].data) >= 0)
        cr_expect_lt(resident_bytes(weights.files[0].data), BIG_BYTES / 8);
    all_is_there(&weights, content);
    done(&builder, &weights);
    free(content);
}

Test(weights, tensors_in_memory_are_not_released)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    unsigned char *content = make_content();
    build_big(&builder, content);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    void *copy = nano_mem_alloc_aligned(file->size); /* pages that could be given up */
    memcpy(copy, file->data, file->size);
    cr_assert_eq(nano_gguf_open_memory(&weights, copy, file->size, "m.gguf", NULL), NANO_OK);
    release_all(&weights, content);
    all_is_there(&weights, content);
    nano_mem_free_aligned(copy, file->size);
    done(&builder, &weights);
    free(content);
}
