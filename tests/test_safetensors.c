/* safetensors: what is read from a header, and every way in which a file can be wrong. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "format/safetensors.h"

struct file {
    unsigned char bytes[4096];
    size_t size;
};

static struct file make(const char *header, size_t num_data)
{
    struct file file = {.size = 8 + strlen(header) + num_data};
    const uint64_t length = strlen(header);
    memcpy(file.bytes, &length, 8);
    memcpy(file.bytes + 8, header, length);
    for (size_t i = 0; i < num_data; i++)
        file.bytes[8 + length + i] = (unsigned char)i;
    return file;
}

static void refused(const struct file *file, const char *expected)
{
    struct nano_safetensor *tensors;
    struct nano_arena arena;
    struct nano_error err = {0};
    size_t count;
    nano_arena_init(&arena);
    cr_expect_neq(nano_safetensors_read(&tensors, &count, file->bytes, file->size, "f.safetensors",
                                        &arena, &err),
                  NANO_OK);
    cr_expect(strstr(err.message, expected), "'%s' is not in '%s'", expected, err.message);
    cr_expect(strncmp(err.message, "f.safetensors: ", 15) == 0, "%s", err.message);
    nano_arena_deinit(&arena);
}

Test(safetensors, header_is_read)
{
    struct file file = make("{\"__metadata__\":{\"format\":\"pt\"},"
                            "\"z\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                            "\"a\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[8,14]},"
                            "\"s\":{\"dtype\":\"F8_E4M3\",\"shape\":[],\"data_offsets\":[14,15]},"
                            "\"n\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[8,8]}}",
                            15);
    struct nano_safetensor *t;
    struct nano_arena arena;
    size_t count;
    nano_arena_init(&arena);
    cr_assert_eq(
        nano_safetensors_read(&t, &count, file.bytes, file.size, "f.safetensors", &arena, NULL),
        NANO_OK);
    cr_assert_eq(count, 4);
    cr_assert_str_eq(t[0].name.bytes, "z");
    cr_assert_eq(t[0].type, NANO_STORED_F32);
    cr_assert_eq(t[0].num_dims, 2);
    cr_assert_eq(t[0].dims[0], 2);
    cr_assert_eq(t[0].data[3], 3);
    cr_assert_str_eq(t[1].name.bytes, "n");
    cr_assert_eq(t[1].num_bytes, 0);
    cr_assert_eq(t[2].type, NANO_STORED_BF16);
    cr_assert_eq(t[2].data[0], 8);
    cr_assert_eq(t[3].num_dims, 0);
    cr_assert_eq(t[3].num_bytes, 1);
    nano_arena_deinit(&arena);
}

Test(safetensors, bad_entries)
{
    static const struct {
        const char *entry;
        size_t num_data;
        const char *expected;
    } cases[] = {
        {"7", 0, "tensor 'a': is no object"},
        {"{\"shape\":[1],\"data_offsets\":[0,4]}", 4, "tensor 'a': dtype is missing"},
        {"{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}", 4, "dtype 'F31' is unknown"},
        {"{\"dtype\":\"F32\",\"data_offsets\":[0,4]}", 4, "shape is missing"},
        {"{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}", 4, "shape has an element"},
        {"{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}", 4, "shape has an element"},
        {"{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}", 4,
         "shape overflows"},
        {"{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}", 1, "no whole number of bytes"},
        {"{\"dtype\":\"F32\",\"shape\":[1]}", 4, "data_offsets are missing"},
        {"{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}", 4, "data_offsets are missing"},
        {"{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}", 4,
         "data_offsets are missing"},
        {"{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}", 4,
         "data_offsets end at 8, but 4 bytes follow"},
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}", 4,
         "data_offsets hold 4 bytes, expected 8 for its shape and dtype F32"},
        {"{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[1,3]}", 3,
         "data_offsets begin at 1, unaligned: expected a multiple of 2"},
        {"{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}", 8,
         "data_offsets begin at 4, which leaves a gap: expected 0"},
        {"{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 5,
         "5 bytes follow the header, but its data_offsets end at 4"},
        {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}",
         12, "tensors 'a' and 'b': data_offsets overlap"},
        {"{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{}", 4,
         "no JSON object: duplicate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[1024];
        snprintf(header, sizeof header, "{\"a\":%s}", cases[i].entry);
        struct file file = make(header, cases[i].num_data);
        refused(&file, cases[i].expected);
    }
}

Test(safetensors, what_is_no_safetensors_file_is_refused)
{
    struct file file = make("{}", 0);
    file.size = 7;
    refused(&file, "has 7 bytes, too few");
    file = make("{}", 0);
    file.bytes[0] = 3;
    refused(&file, "the header is 3 bytes long, but the file has 10");
    memset(file.bytes, 0xFF, 8);
    refused(&file, "the header is 18446744073709551615 bytes long");
    file = make("[]", 0);
    refused(&file, "the header is no JSON object");
    file = make("{\"a\":", 0);
    refused(&file, "the header is no JSON object");
    file = make("", 0);
    refused(&file, "the header is no JSON object");
}

Test(safetensors, without_memory)
{
    struct file file = make("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    enum nano_status status = NANO_ERR_NO_MEMORY;
    uint64_t n = 0;
    while (status != NANO_OK) {
        struct nano_safetensor *tensors;
        struct nano_arena arena;
        size_t count;
        nano_arena_init(&arena);
        nano_mem_fail_after(++n);
        status = nano_safetensors_read(&tensors, &count, file.bytes, file.size, "f", &arena, NULL);
        nano_mem_fail_after(0);
        cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY);
        nano_arena_deinit(&arena);
    }
    cr_assert_gt(n, 1);
}
