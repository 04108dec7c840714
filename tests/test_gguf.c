/* gguf: what is written comes back, and every way in which a file can be wrong is refused. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "format/gguf.h"
#include "format/little_endian.h"
#include "gguf_builder.h"

enum { ID_F32 = 0, ID_F16 = 1, ID_Q4_0 = 2, ID_Q8_0 = 8, ID_Q4_K = 12, ID_Q8_K = 15 };

/* The file in an allocation of its exact size, so that sanitizers see one byte too many. */
static enum nano_status open_exact(struct nano_weights *out, void **copy, const void *data,
                                   size_t size, struct nano_error *err)
{
    *copy = malloc(size ? size : 1);
    cr_assert_not_null(*copy);
    if (size)
        memcpy(*copy, data, size);
    return nano_gguf_open_memory(out, *copy, size, "test.gguf", err);
}

static enum nano_status try_open(const void *data, size_t size, struct nano_error *err)
{
    static const struct nano_weights nothing;
    struct nano_weights weights;
    void *copy;
    enum nano_status status = open_exact(&weights, &copy, data, size, err);
    if (status == NANO_OK) {
        nano_weights_close(&weights);
    } else {
        cr_assert_eq(memcmp(&weights, &nothing, sizeof weights), 0, "something is left");
        cr_assert_eq(strncmp(err->message, "test.gguf: ", 11), 0, "%s", err->message);
        cr_assert_null(strchr(err->message, '\n'));
        cr_assert_eq(err->status, status);
        cr_assert_eq(nano_gguf_open_memory(&weights, copy, size, "test.gguf", NULL), status);
    }
    free(copy);
    return status;
}

/* Finishes the file and expects it to be refused; the builder is done afterwards. */
static void refused(struct gguf_builder *builder, enum nano_status expected, const char *message)
{
    struct nano_error err;
    const struct gguf_bytes *file = gguf_builder_finish(builder);
    enum nano_status status = try_open(file->data, file->size, &err);
    cr_assert_neq(status, NANO_OK, "accepted, expected: %s", message);
    cr_assert_not_null(strstr(err.message, message), "\n%s\nexpected: %s", err.message, message);
    cr_assert_eq(status, expected, "%s: %s", nano_status_name(status), err.message);
    gguf_builder_deinit(builder);
}

static void start(struct gguf_builder *builder)
{
    gguf_builder_init(builder);
    gguf_builder_string(builder, "general.architecture", "llama");
}

static const int64_t shape_64_2[] = {64, 2};
static const float values_128[128] = {1, 2, 3};

static void add_f32(struct gguf_builder *builder, const char *name)
{
    gguf_builder_tensor(builder, name, ID_F32, 2, shape_64_2, values_128, sizeof values_128);
}

/* Something of everything that a file can hold; the same bytes every time. */
static void build_everything(struct gguf_builder *builder)
{
    static const enum nano_meta_type scalars[] = {
        NANO_META_U8,  NANO_META_I8,  NANO_META_U16,  NANO_META_I16, NANO_META_U32, NANO_META_I32,
        NANO_META_F32, NANO_META_F64, NANO_META_BOOL, NANO_META_U64, NANO_META_I64};
    static const char *const strings[] = {"", "a", "two words", "\xC4\xA0the", "line\nbreak"};
    start(builder);
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        enum nano_meta_type type = scalars[i];
        size_t bytes = nano_meta_type_bytes(type);
        unsigned char array[3 * 8];
        char key[64];
        uint64_t highest = UINT64_MAX >> (64 - 8 * bytes);
        if (type == NANO_META_F32)
            highest = nano_le_bits_f32(-1.5f);
        else if (type == NANO_META_F64)
            highest = nano_le_bits_f64(1e300);
        else if (type == NANO_META_BOOL)
            highest = 1;
        snprintf(key, sizeof key, "test.%s", nano_meta_type_name(type));
        gguf_builder_scalar(builder, key, type, highest);
        for (size_t k = 0; k < 3; k++)
            nano_le_store(array + k * bytes, k == 1 ? highest : 0, bytes);
        snprintf(key, sizeof key, "test.array.%s", nano_meta_type_name(type));
        gguf_builder_array(builder, key, type, array, 3);
    }
    gguf_builder_string_array(builder, "test.array.string", strings, 5);
    gguf_builder_string_array(builder, "test.array.empty", NULL, 0);
    gguf_builder_string(builder, "test.empty", "");
    unsigned char bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7);
    gguf_builder_tensor(builder, "vector.weight", ID_F32, 1, (int64_t[]){3}, bytes, 12);
    gguf_builder_tensor(builder, "matrix.weight", ID_Q4_0, 2, (int64_t[]){64, 3}, bytes, 3 * 36);
    gguf_builder_tensor(builder, "experts.weight", ID_Q8_0, 3, (int64_t[]){32, 2, 2}, bytes,
                        4 * 34);
    gguf_builder_tensor(builder, "super.weight", ID_Q4_K, 2, (int64_t[]){256, 2}, bytes, 2 * 144);
    gguf_builder_tensor(builder, "four.weight", ID_F16, 4, (int64_t[]){2, 2, 2, 4}, bytes, 64);
}

static void assert_same_string(const struct nano_string *a, const struct nano_string *b)
{
    cr_assert_eq(a->num_bytes, b->num_bytes);
    cr_assert(a->num_bytes == 0 || memcmp(a->bytes, b->bytes, a->num_bytes) == 0);
}

static void assert_same_meta(const struct nano_meta *a, const struct nano_meta *b)
{
    assert_same_string(&a->key, &b->key);
    cr_assert_eq(a->key.bytes[a->key.num_bytes], '\0');
    cr_assert_eq(a->type, b->type);
    if (a->type == NANO_META_STRING) {
        assert_same_string(&a->value.string, &b->value.string);
    } else if (a->type != NANO_META_ARRAY) {
        cr_assert_eq(a->value.u, b->value.u, "%s", a->key.bytes);
    } else {
        cr_assert_eq(a->element_type, b->element_type);
        cr_assert_eq(a->num_elements, b->num_elements);
        size_t size = a->num_elements * nano_meta_type_bytes(a->element_type);
        if (size)
            cr_assert_eq(memcmp(a->elements, b->elements, size), 0);
        for (size_t i = 0; i < a->num_elements && a->element_type == NANO_META_STRING; i++)
            assert_same_string(&a->strings[i], &b->strings[i]);
    }
}

/* Keys of split files are not compared. */
static void assert_same_weights(const struct nano_weights *a, const struct nano_weights *b)
{
    size_t k = 0;
    for (size_t i = 0; i < a->num_metadata; i++) {
        if (strncmp(a->metadata[i].key.bytes, "split.", 6) == 0)
            continue;
        cr_assert_lt(k, b->num_metadata);
        assert_same_meta(&a->metadata[i], &b->metadata[k++]);
    }
    cr_assert_eq(k, b->num_metadata);
    cr_assert_eq(a->num_tensors, b->num_tensors);
    for (size_t i = 0; i < a->num_tensors; i++) {
        const struct nano_tensor *s = &a->tensors[i], *t = &b->tensors[i];
        assert_same_string(&s->name, &t->name);
        cr_assert_eq(s->format, t->format);
        cr_assert_eq(s->num_dims, t->num_dims);
        cr_assert_eq(memcmp(s->dims, t->dims, sizeof s->dims), 0);
        cr_assert_eq(s->num_bytes, t->num_bytes);
        cr_assert_eq(memcmp(s->data, t->data, s->num_bytes), 0);
    }
}

/* A new empty folder, and paths in it: each is good until the fourth call after. */
enum { PATH_BYTES = 512 };
static char folder[] = "/tmp/nano_test_gguf_XXXXXX";

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
}

static const char *in_folder(const char *name)
{
    static char paths[4][PATH_BYTES];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return path;
}

static void remove_folder(void)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.')
            cr_expect_eq(remove(in_folder(entry->d_name)), 0);
    }
    closedir(dir);
    cr_expect_eq(rmdir(folder), 0);
}

Test(gguf, everything_is_read_as_written)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    struct nano_error err;
    void *copy;
    build_everything(&builder);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    cr_assert_eq(open_exact(&weights, &copy, file->data, file->size, &err), NANO_OK, "%s",
                 err.message);
    cr_assert_eq(weights.num_metadata, builder.num_metadata);
    cr_assert_str_eq(weights.path, "test.gguf");

    cr_assert_eq(nano_weights_meta(&weights, "test.u8")->value.u, UINT8_MAX);
    cr_assert_eq(nano_weights_meta(&weights, "test.u16")->value.u, UINT16_MAX);
    cr_assert_eq(nano_weights_meta(&weights, "test.u32")->value.u, UINT32_MAX);
    cr_assert_eq(nano_weights_meta(&weights, "test.u64")->value.u, UINT64_MAX);
    cr_assert_eq(nano_weights_meta(&weights, "test.bool")->value.u, 1);
    cr_assert_eq(nano_weights_meta(&weights, "test.i8")->value.i, -1);
    cr_assert_eq(nano_weights_meta(&weights, "test.i64")->value.i, -1);
    cr_assert_eq(nano_weights_meta(&weights, "test.f32")->value.f, -1.5);
    cr_assert_eq(nano_weights_meta(&weights, "test.f64")->value.f, 1e300);
    cr_assert_eq(nano_weights_meta(&weights, "test.empty")->value.string.num_bytes, 0);
    const struct nano_meta *strings = nano_weights_meta(&weights, "test.array.string");
    cr_assert_eq(strings->num_elements, 5);
    cr_assert_eq(strings->strings[2].num_bytes, 9);
    cr_assert_eq(memcmp(strings->strings[2].bytes, "two words", 9), 0);
    cr_assert_eq(nano_weights_meta(&weights, "test.array.empty")->num_elements, 0);
    cr_assert_eq(nano_meta_array_int(nano_weights_meta(&weights, "test.array.i16"), 1), -1);
    cr_assert_eq(nano_meta_array_int(nano_weights_meta(&weights, "test.array.u16"), 1), UINT16_MAX);
    cr_assert_eq(nano_meta_array_int(nano_weights_meta(&weights, "test.array.u64"), 1), INT64_MAX);
    cr_assert_eq(nano_meta_array_float(nano_weights_meta(&weights, "test.array.f32"), 1), -1.5);
    cr_assert_eq(nano_meta_array_int(nano_weights_meta(&weights, "test.array.f64"), 1), 0);

    const struct nano_tensor *tensor = nano_weights_find(&weights, "experts.weight");
    cr_assert_eq(tensor->format, NANO_FORMAT_Q8_0);
    cr_assert_eq(tensor->num_dims, 3);
    cr_assert_eq(tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3], 128);
    cr_assert_eq(tensor->num_bytes, 4 * 34);
    cr_assert_eq(((const unsigned char *)tensor->data)[5], 35);
    nano_weights_close(&weights);
    free(copy);
    gguf_builder_deinit(&builder);
}

Test(gguf, saved_files_are_the_same)
{
    struct gguf_builder builder;
    struct nano_weights first, second;
    struct nano_error err;
    make_folder();
    const char *path = in_folder("a.gguf"), *saved = in_folder("b.gguf");
    build_everything(&builder);
    gguf_builder_write(&builder, path);
    cr_assert_eq(nano_gguf_open(&first, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_gguf_save(&first, saved, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_gguf_open(&second, saved, &err), NANO_OK, "%s", err.message);
    assert_same_weights(&first, &second);
    nano_weights_close(&second);

    /* Onto the file that is mapped. */
    cr_assert_eq(nano_gguf_save(&first, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_gguf_open(&second, path, &err), NANO_OK, "%s", err.message);
    assert_same_weights(&first, &second);
    nano_weights_close(&second);
    nano_weights_close(&first);
    gguf_builder_deinit(&builder);
    remove_folder();
}

Test(gguf, alignment_is_kept_and_version_2_is_read)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    struct nano_error err;
    make_folder();
    const char *path = in_folder("a.gguf");
    for (size_t alignment = 8; alignment <= 4096; alignment *= 8) {
        start(&builder);
        builder.version = 2;
        builder.alignment = alignment;
        gguf_builder_u32(&builder, "general.alignment", (uint32_t)alignment);
        gguf_builder_tensor(&builder, "short", ID_F32, 1, (int64_t[]){1}, values_128, 4);
        add_f32(&builder, "long");
        gguf_builder_write(&builder, path);
        for (int saved = 0; saved < 2; saved++) {
            cr_assert_eq(nano_gguf_open(&weights, path, &err), NANO_OK, "%s", err.message);
            const struct nano_tensor *tensor = nano_weights_find(&weights, "long");
            cr_assert_eq(memcmp(tensor->data, values_128, sizeof values_128), 0);
            cr_assert_eq(
                (size_t)((const char *)tensor->data - (const char *)weights.files[0].data) %
                    alignment,
                0);
            cr_assert_eq(nano_gguf_save(&weights, path, &err), NANO_OK, "%s", err.message);
            nano_weights_close(&weights);
        }
        gguf_builder_deinit(&builder);
    }
    remove_folder();
}

Test(gguf, failed_saves_say_why_and_leave_nothing)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    struct nano_error err;
    void *copy;
    make_folder();
    build_everything(&builder);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    cr_assert_eq(open_exact(&weights, &copy, file->data, file->size, &err), NANO_OK);
    cr_assert_eq(nano_gguf_save(&weights, in_folder("no/such/folder.gguf"), &err), NANO_ERR_IO);
    cr_assert_not_null(strstr(err.message, "No such file"), "%s", err.message);

    cr_assert_eq(mkdir(in_folder("taken"), 0700), 0);
    cr_assert_eq(nano_gguf_save(&weights, in_folder("taken"), &err), NANO_ERR_IO);
    cr_assert_not_null(strstr(err.message, "irectory"), "%s", err.message);
    cr_assert_neq(access(in_folder("taken.tmp"), F_OK), 0);

    if (access("/dev/full", W_OK) == 0) {
        cr_assert_eq(symlink("/dev/full", in_folder("full.tmp")), 0);
        cr_assert_eq(nano_gguf_save(&weights, in_folder("full"), &err), NANO_ERR_IO);
        cr_assert_not_null(strstr(err.message, "No space left"), "%s", err.message);
        cr_assert_neq(access(in_folder("full"), F_OK), 0);
    }
    nano_weights_close(&weights);
    free(copy);
    gguf_builder_deinit(&builder);
    remove_folder();
}

Test(gguf, what_is_no_gguf_file_is_refused)
{
    struct nano_error err;
    struct nano_weights weights;
    struct gguf_builder builder;
    cr_assert_eq(try_open("", 0, &err), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "test.gguf: has 0 bytes, expected a GGUF file");
    cr_assert_eq(try_open("PK\3\4 something else", 20, &err), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "test.gguf: begins with bytes 50 4B 03 04, expected \"GGUF\"");
    cr_assert_eq(nano_gguf_open(&weights, "/nonexistent.gguf", &err), NANO_ERR_IO);
    cr_assert_not_null(strstr(err.message, "/nonexistent.gguf"));
    cr_assert_eq(nano_gguf_open(&weights, "/tmp", &err), NANO_ERR_IO);
    cr_assert_not_null(strstr(err.message, "directory"));

    start(&builder);
    builder.version = 1;
    refused(&builder, NANO_ERR_UNSUPPORTED, "has GGUF version 1, expected 2 or 3");
    start(&builder);
    builder.version = 4;
    refused(&builder, NANO_ERR_UNSUPPORTED, "has GGUF version 4");
    start(&builder);
    builder.version = 3u << 24;
    refused(&builder, NANO_ERR_UNSUPPORTED, "is a big-endian GGUF file");
}

Test(gguf, absurd_counts_are_refused_before_they_are_believed)
{
    struct gguf_builder builder;
    static const uint64_t absurd[] = {UINT64_C(1) << 60, UINT64_MAX, INT64_MAX, 1000000};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        start(&builder);
        builder.num_tensors = absurd[i];
        refused(&builder, NANO_ERR_FORMAT, "tensors, but only 0 bytes are left");
        start(&builder);
        builder.num_metadata = absurd[i];
        refused(&builder, NANO_ERR_FORMAT, "keys, but only");
        for (int type = NANO_META_U8; type <= NANO_META_F64; type++) {
            if (type == NANO_META_ARRAY)
                continue;
            start(&builder);
            gguf_builder_array(&builder, "test.array", (enum nano_meta_type)type, NULL, 0);
            nano_le_store(builder.metadata.data + builder.metadata.size - 8, absurd[i], 8);
            refused(&builder, NANO_ERR_FORMAT, "key 'test.array' is an array of");
        }
        start(&builder);
        gguf_builder_string(&builder, "test.string", "");
        nano_le_store(builder.metadata.data + builder.metadata.size - 8, absurd[i], 8);
        refused(&builder, NANO_ERR_FORMAT, "string of key 'test.string'");
    }
    /* Counts that the bytes left could hold only if entries were smaller than they are. */
    start(&builder);
    gguf_put(&builder.tensors, NULL, 1000);
    builder.num_tensors = 31;
    refused(&builder, NANO_ERR_FORMAT, "announces 31 tensors, but only 1000 bytes are left");
    start(&builder);
    gguf_put(&builder.metadata, NULL, 1000);
    builder.num_metadata = 75;
    refused(&builder, NANO_ERR_FORMAT, "announces 75 keys, but only");
    start(&builder);
    gguf_builder_array(&builder, "test.array", NANO_META_U64, NULL, 0);
    nano_le_store(builder.metadata.data + builder.metadata.size - 8, 9, 8);
    gguf_put(&builder.metadata, NULL, 71);
    refused(&builder, NANO_ERR_FORMAT, "'test.array' is an array of 9 elements, but only 71 bytes");
    start(&builder);
    gguf_put_number(&builder.metadata, UINT64_C(1) << 63, 8);
    builder.num_metadata++;
    gguf_put(&builder.metadata, NULL, 100);
    refused(&builder, NANO_ERR_FORMAT, "key 1 has a name of 9223372036854775808 bytes");
}

Test(gguf, wrong_metadata_is_refused)
{
    struct gguf_builder builder;
    start(&builder);
    gguf_builder_scalar(&builder, "test.key", (enum nano_meta_type)13, 0);
    refused(&builder, NANO_ERR_FORMAT, "key 'test.key' has unknown type 13");
    start(&builder);
    gguf_builder_array(&builder, "test.key", (enum nano_meta_type)77, NULL, 0);
    refused(&builder, NANO_ERR_FORMAT, "array of unknown type 77");
    start(&builder);
    gguf_builder_array(&builder, "test.key", NANO_META_ARRAY, NULL, 0);
    refused(&builder, NANO_ERR_UNSUPPORTED, "'test.key' is an array of arrays");
    start(&builder);
    gguf_builder_scalar(&builder, "test.key", NANO_META_BOOL, 2);
    refused(&builder, NANO_ERR_FORMAT, "'test.key' has bool 2");
    start(&builder);
    gguf_builder_array(&builder, "test.key", NANO_META_BOOL, "\0\1\3", 3);
    refused(&builder, NANO_ERR_FORMAT, "'test.key' has bool 3");
    start(&builder);
    gguf_builder_u32(&builder, "test.key", 1);
    gguf_builder_u32(&builder, "test.key", 2);
    refused(&builder, NANO_ERR_FORMAT, "key 'test.key' occurs twice");
    start(&builder);
    gguf_builder_u32(&builder, "", 1);
    refused(&builder, NANO_ERR_FORMAT, "key 1 has a name of 0 bytes");
    start(&builder);
    gguf_builder_u32(&builder, "new\nline", 1);
    refused(&builder, NANO_ERR_FORMAT, "key 1 has byte 0x0A in its name");

    static const uint32_t alignments[] = {0, 1, 4, 12, 33, 0xFFFFFFFF};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        start(&builder);
        gguf_builder_u32(&builder, "general.alignment", alignments[i]);
        refused(&builder, NANO_ERR_FORMAT, "a power of two and at least 8");
    }
    start(&builder);
    gguf_builder_string(&builder, "general.alignment", "32");
    refused(&builder, NANO_ERR_FORMAT, "'general.alignment' is string, expected u32");
}

Test(gguf, wrong_tensors_are_refused)
{
    struct gguf_builder builder;
    static const int64_t huge[] = {INT64_C(1) << 40, INT64_C(1) << 40};
    static const int64_t large[] = {INT64_C(1) << 31, INT64_C(1) << 31, 2};
    static const int64_t five[] = {1, 1, 1, 1, 1};
    start(&builder);
    gguf_builder_tensor(&builder, "x", 99, 2, shape_64_2, NULL, 512);
    refused(&builder, NANO_ERR_UNSUPPORTED, "tensor 'x': format 99 is unknown");
    start(&builder);
    gguf_builder_tensor(&builder, "x", ID_Q8_K, 2, shape_64_2, NULL, 512);
    refused(&builder, NANO_ERR_UNSUPPORTED, "tensor 'x': format Q8_K is not supported");
    start(&builder);
    gguf_builder_tensor(&builder, "x", 28, 2, shape_64_2, NULL, 512);
    refused(&builder, NANO_ERR_UNSUPPORTED, "tensor 'x': format F64 is not supported");
    start(&builder);
    gguf_builder_tensor(&builder, "x", ID_F32, 5, five, NULL, 4);
    refused(&builder, NANO_ERR_FORMAT, "tensor 'x' has 5 dimensions, expected 1 to 4");
    start(&builder);
    gguf_builder_tensor(&builder, "x", ID_F32, 0, five, NULL, 32);
    refused(&builder, NANO_ERR_FORMAT, "tensor 'x' has 0 dimensions");
    start(&builder);
    gguf_builder_tensor(&builder, "x", ID_F32, 2, (int64_t[]){64, 0}, NULL, 32);
    refused(&builder, NANO_ERR_FORMAT, "tensor 'x': dimension 1 is 0");
    start(&builder);
    gguf_builder_tensor(&builder, "x", ID_F32, 2, (int64_t[]){-1, 1}, NULL, 32);
    refused(&builder, NANO_ERR_FORMAT, "dimension 0 is 18446744073709551615");
    start(&builder);
    gguf_builder_tensor(&builder, "x", ID_F32, 2, huge, NULL, 32);
    refused(&builder, NANO_ERR_FORMAT, "overflows");
    start(&builder);
    gguf_builder_tensor(&builder, "x", ID_Q4_0, 3, large, NULL, 32);
    refused(&builder, NANO_ERR_FORMAT, "overflows");
    start(&builder);
    gguf_builder_tensor(&builder, "x", ID_Q4_0, 2, (int64_t[]){48, 2}, NULL, 54);
    refused(&builder, NANO_ERR_FORMAT, "rows of 48 are not whole Q4_0 blocks of 32");
    start(&builder);
    add_f32(&builder, "x");
    add_f32(&builder, "y");
    add_f32(&builder, "x");
    refused(&builder, NANO_ERR_FORMAT, "tensor 'x' occurs twice");
}

Test(gguf, wrong_offsets_are_refused)
{
    struct gguf_builder builder;
    static const uint64_t far[] = {544, 1u << 20, UINT64_MAX - 31, UINT64_MAX / 2 + 1, 1024};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        start(&builder);
        add_f32(&builder, "x");
        gguf_builder_tensor_info(&builder, "y", ID_F32, 2, shape_64_2, far[i]);
        gguf_put(&builder.data, NULL, sizeof values_128);
        refused(&builder, NANO_ERR_FORMAT, "tensor 'y'");
    }
    start(&builder);
    gguf_builder_tensor_info(&builder, "x", ID_F32, 2, shape_64_2, 4);
    gguf_put(&builder.data, NULL, 4096);
    refused(&builder, NANO_ERR_FORMAT, "tensor 'x': offset 4 is not a multiple of 32");
    start(&builder);
    builder.alignment = 64;
    gguf_builder_u32(&builder, "general.alignment", 64);
    gguf_builder_tensor_info(&builder, "x", ID_F32, 2, shape_64_2, 32);
    gguf_put(&builder.data, NULL, 4096);
    refused(&builder, NANO_ERR_FORMAT, "tensor 'x': offset 32 is not a multiple of 64");

    /* In any order of the infos, by one block and as a whole. */
    static const uint64_t pairs[][2] = {{0, 480}, {480, 0}, {32, 32}, {0, 0}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        start(&builder);
        gguf_builder_tensor_info(&builder, "x", ID_F32, 2, shape_64_2, pairs[i][0]);
        gguf_builder_tensor_info(&builder, "z", ID_F32, 2, shape_64_2, 1024);
        gguf_builder_tensor_info(&builder, "y", ID_F32, 2, shape_64_2, pairs[i][1]);
        gguf_put(&builder.data, NULL, 4096);
        refused(&builder, NANO_ERR_FORMAT, "overlap");
    }
    /* Neighbours, out of order, do not overlap. */
    struct nano_error err;
    start(&builder);
    gguf_builder_tensor_info(&builder, "x", ID_F32, 2, shape_64_2, 512);
    gguf_builder_tensor_info(&builder, "y", ID_F32, 2, shape_64_2, 0);
    gguf_put(&builder.data, NULL, 1024);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    cr_assert_eq(try_open(file->data, file->size, &err), NANO_OK, "%s", err.message);
    gguf_builder_deinit(&builder);
}

Test(gguf, truncation_at_every_byte_is_refused)
{
    struct gguf_builder builder;
    struct nano_error err;
    build_everything(&builder);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    cr_assert_eq(try_open(file->data, file->size, &err), NANO_OK, "%s", err.message);
    for (size_t size = 0; size < file->size; size++)
        cr_assert_eq(try_open(file->data, size, &err), NANO_ERR_FORMAT, "%zu of %zu bytes", size,
                     file->size);
    cr_assert_not_null(strstr(err.message, "tensor 'four.weight' ends at byte"), "%s", err.message);
    gguf_builder_deinit(&builder);
}

Test(gguf, vocabulary_only_files_need_no_data)
{
    struct gguf_builder builder;
    struct nano_error err;
    start(&builder);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    cr_assert_eq(try_open(file->data, file->size, &err), NANO_OK, "%s", err.message);
    gguf_builder_deinit(&builder);
    gguf_builder_init(&builder);
    file = gguf_builder_finish(&builder);
    cr_assert_eq(file->size, 24);
    cr_assert_eq(try_open(file->data, file->size, &err), NANO_OK, "%s", err.message);
    gguf_builder_deinit(&builder);
}

/* One part of three; `no` counts from 0, and the numbers are what the file says. */
static void write_part(const char *path, int no, int count, int total, const char *tensor)
{
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    if (no == 0)
        gguf_builder_string(&builder, "general.architecture", "llama");
    gguf_builder_scalar(&builder, "split.no", NANO_META_U16, (uint64_t)no);
    gguf_builder_scalar(&builder, "split.count", NANO_META_U16, (uint64_t)count);
    gguf_builder_scalar(&builder, "split.tensors.count", NANO_META_I32, (uint64_t)total);
    float data[128] = {(float)no};
    gguf_builder_tensor(&builder, tensor, ID_F32, 2, shape_64_2, data, sizeof data);
    gguf_builder_write(&builder, path);
    gguf_builder_deinit(&builder);
}

static const char *part_path(int no)
{
    char name[64];
    snprintf(name, sizeof name, "m-%05d-of-00003.gguf", no + 1);
    return in_folder(name);
}

static void part_refused(const char *path, enum nano_status expected, const char *message)
{
    struct nano_weights weights;
    struct nano_error err;
    enum nano_status status = nano_gguf_open(&weights, path, &err);
    cr_assert_neq(status, NANO_OK);
    cr_assert_not_null(strstr(err.message, message), "\n%s\nexpected: %s", err.message, message);
    cr_assert_eq(status, expected);
}

Test(gguf, split_models_are_put_together)
{
    static const char *const names[] = {"a", "b", "c"};
    struct nano_weights weights, merged;
    struct nano_error err;
    make_folder();
    for (int no = 0; no < 3; no++)
        write_part(part_path(no), no, 3, 3, names[no]);
    for (int no = 0; no < 3; no++) {
        cr_assert_eq(nano_gguf_open(&weights, part_path(no), &err), NANO_OK, "%s", err.message);
        cr_assert_eq(weights.num_tensors, 3);
        cr_assert_eq(weights.num_files, 3);
        cr_assert_not_null(nano_weights_meta(&weights, "general.architecture"));
        for (int i = 0; i < 3; i++) {
            cr_assert_str_eq(weights.tensors[i].name.bytes, names[i]);
            cr_assert_eq(nano_le_load_f32(weights.tensors[i].data), (float)i);
        }
        cr_assert_eq(nano_gguf_save(&weights, in_folder("merged"), &err), NANO_OK, "%s",
                     err.message);
        cr_assert_eq(nano_gguf_open(&merged, in_folder("merged"), &err), NANO_OK, "%s",
                     err.message);
        cr_assert_eq(merged.num_metadata, 1);
        assert_same_weights(&weights, &merged);
        nano_weights_close(&merged);
        nano_weights_close(&weights);
    }
    remove_folder();
}

Test(gguf, incomplete_and_mixed_parts_are_refused)
{
    struct gguf_builder builder;
    make_folder();
    write_part(part_path(0), 0, 3, 3, "a");
    write_part(part_path(2), 2, 3, 3, "c");
    part_refused(part_path(2), NANO_ERR_IO, "m-00003-of-00003.gguf: part 2 of 3 is missing: ");
    write_part(part_path(1), 2, 3, 3, "b");
    part_refused(part_path(0), NANO_ERR_FORMAT, "m-00002-of-00003.gguf: is part 3 of 3");
    write_part(part_path(1), 1, 4, 3, "b");
    part_refused(part_path(0), NANO_ERR_FORMAT, "m-00002-of-00003.gguf: is part 2 of 4");
    part_refused(part_path(1), NANO_ERR_FORMAT, "its name must end in '-00002-of-00004.gguf'");
    write_part(part_path(1), 1, 3, 9, "b");
    part_refused(part_path(0), NANO_ERR_FORMAT, "is part 2 of 3 with 9 tensors in all, expected");
    write_part(part_path(1), 1, 3, 3, "a");
    part_refused(part_path(0), NANO_ERR_FORMAT, "tensor 'a' occurs twice");
    for (int no = 0; no < 3; no++)
        write_part(part_path(no), no, 3, 5, no == 0 ? "a" : no == 1 ? "b" : "c");
    part_refused(part_path(0), NANO_ERR_FORMAT,
                 "'split.tensors.count' is 5, but the 3 parts have 3");
    write_part(part_path(1), 3, 3, 5, "b");
    part_refused(part_path(1), NANO_ERR_FORMAT,
                 "key 'split.no' is u16 3, expected an integer from 0 to 2");
    cr_assert_eq(truncate(part_path(1), 300), 0);
    part_refused(part_path(0), NANO_ERR_FORMAT, "m-00002-of-00003.gguf: tensor 'b' ends at byte");

    start(&builder);
    gguf_builder_scalar(&builder, "split.count", NANO_META_U16, 2);
    refused(&builder, NANO_ERR_UNSUPPORTED, "is part 1 of 2, which can only be opened from a file");
    struct nano_error err;
    start(&builder);
    gguf_builder_scalar(&builder, "split.count", NANO_META_U16, 1);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    cr_assert_eq(try_open(file->data, file->size, &err), NANO_OK, "%s", err.message);
    gguf_builder_deinit(&builder);
    remove_folder();
}

Test(gguf, any_failed_allocation_is_an_error_without_a_leak)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    struct nano_error err;
    enum nano_status status = NANO_ERR_NO_MEMORY;
    static const char *const names[] = {"a", "b", "c"};
    make_folder();
    for (int no = 0; no < 3; no++)
        write_part(part_path(no), no, 3, 3, names[no]);
    uint64_t n = 0;
    while (status != NANO_OK) {
        nano_mem_fail_after(++n);
        status = nano_gguf_open(&weights, part_path(1), &err);
        nano_mem_fail_after(0);
        cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY, "%s", err.message);
        cr_assert_lt(n, 100);
    }
    cr_assert_gt(n, 5);
    status = NANO_ERR_NO_MEMORY;
    for (n = 0; status != NANO_OK;) {
        nano_mem_fail_after(++n);
        status = nano_gguf_save(&weights, in_folder("merged"), &err);
        nano_mem_fail_after(0);
        cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY, "%s", err.message);
    }
    cr_assert_eq(n, 3);
    nano_weights_close(&weights);

    build_everything(&builder);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    status = NANO_ERR_NO_MEMORY;
    for (n = 0; status != NANO_OK;) {
        nano_mem_fail_after(++n);
        status = nano_gguf_open_memory(&weights, file->data, file->size, "test.gguf", &err);
        nano_mem_fail_after(0);
        cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY, "%s", err.message);
        cr_assert_lt(n, 100);
    }
    nano_weights_close(&weights);
    gguf_builder_deinit(&builder);
    remove_folder();
}

/* The fuzzers' seeds. With NANOVLLM_WRITE_CORPUS=1 they are written anew. */
static void check_seed(struct gguf_builder *builder, const char *name)
{
    char path[1024];
    const char *srcdir = getenv("srcdir");
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/gguf/%s", srcdir ? srcdir : ".", name);
    const struct gguf_bytes *file = gguf_builder_finish(builder);
    if (getenv("NANOVLLM_WRITE_CORPUS"))
        gguf_builder_write(builder, path);
    struct nano_os_file seed;
    struct nano_error err;
    cr_assert_eq(nano_os_file_open(&seed, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(seed.num_bytes, file->size);
    cr_assert_eq(memcmp(seed.data, file->data, file->size), 0);
    nano_os_file_close(&seed);
    gguf_builder_deinit(builder);
}

Test(gguf, fuzz_corpus_is_what_the_builder_makes)
{
    struct gguf_builder builder;
    build_everything(&builder);
    check_seed(&builder, "everything.gguf");
    start(&builder);
    builder.version = 2;
    builder.alignment = 64;
    gguf_builder_u32(&builder, "general.alignment", 64);
    add_f32(&builder, "x");
    add_f32(&builder, "y");
    check_seed(&builder, "version2.gguf");
    start(&builder);
    gguf_builder_string_array(&builder, "tokenizer.ggml.tokens", (const char *[]){"a", "b", "ab"},
                              3);
    check_seed(&builder, "vocabulary.gguf");
    start(&builder);
    gguf_builder_scalar(&builder, "split.count", NANO_META_U16, 2);
    add_f32(&builder, "x");
    check_seed(&builder, "part.gguf");
}

/* ---- Shared data ------------------------------------------------------------------------------
 */

static const char *test_data(void)
{
    const char *data = getenv("NANOVLLM_TEST_DATA");
    if (!data)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    return data;
}

static int check_folder(const char *data, const char *name)
{
    char path[1024];
    struct nano_weights weights, again;
    struct nano_error err;
    int count = 0;
    snprintf(path, sizeof path, "%s/%s", data, name);
    DIR *dir = opendir(path);
    cr_assert_not_null(dir, "%s", path);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 5, ".gguf") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", data, name, entry->d_name);
        count++;
        enum nano_status status = nano_gguf_open(&weights, path, &err);
        cr_assert_eq(status, NANO_OK, "%s", err.message);
        cr_assert_not_null(nano_weights_meta(&weights, "general.architecture"));
        cr_assert_eq(nano_gguf_save(&weights, in_folder("saved"), &err), NANO_OK, "%s",
                     err.message);
        cr_assert_eq(nano_gguf_open(&again, in_folder("saved"), &err), NANO_OK, "%s", err.message);
        assert_same_weights(&weights, &again);
        nano_weights_close(&again);
        nano_weights_close(&weights);
    }
    closedir(dir);
    return count;
}

Test(gguf, files_of_other_tools_open_and_round_trip)
{
    const char *data = test_data();
    make_folder();
    cr_assert_geq(check_folder(data, "zoo"), 6);
    cr_assert_geq(check_folder(data, "zoo/gguf"), 30);
    cr_assert_geq(check_folder(data, "vocab"), 7);
    remove_folder();
}

Test(gguf, truncation_of_a_real_file_is_refused)
{
    char path[1024];
    struct nano_os_file file;
    struct nano_error err;
    snprintf(path, sizeof path, "%s/zoo/stories260K-F32.gguf", test_data());
    cr_assert_eq(nano_os_file_open(&file, path, &err), NANO_OK, "%s", err.message);
    int refusals = 0;
    for (size_t size = 0; size < file.num_bytes; size += 65536, refusals++) {
        cr_assert_eq(try_open(file.data, size, &err), NANO_ERR_FORMAT, "%zu bytes", size);
        cr_assert(size == 0 || strstr(err.message, "(truncated?)"), "%s", err.message);
    }
    cr_assert_gt(refusals, 10);
    cr_assert_eq(try_open(file.data, file.num_bytes, &err), NANO_OK, "%s", err.message);
    nano_os_file_close(&file);
}
