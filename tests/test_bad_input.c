/* Bad files through the program: one line that names the file and what is wrong with it, exit
 * status 1, whatever the command. The files are the built-in model, damaged. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "tests/gguf_builder.h"
#include "tests/program.h"

static unsigned char *read_model(size_t *num_bytes)
{
    FILE *file = fopen(program_model(), "rb");
    cr_assert_not_null(file, "%s", program_model());
    fseek(file, 0, SEEK_END);
    *num_bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*num_bytes);
    cr_assert_eq(fread(bytes, 1, *num_bytes, file), *num_bytes);
    fclose(file);
    return bytes;
}

/* Both commands must refuse the file in the same words. */
static void expect_refused(const char *path, const char *part)
{
    struct program_result run = RUN("run", "-m", path, "-p", "x", "-n", "1");
    cr_assert(strstr(run.err, path), "%s is not named in '%s'", path, run.err);
    cr_assert_eq(run.out_bytes, 0);
    program_expect_error(&run, 1, part);
    struct program_result info = RUN("info", path);
    program_expect_error(&info, 1, part);
}

Test(bad_input, no_model_file)
{
    expect_refused("/nonexistent/model.gguf", "No such file");
    expect_refused("/dev", "neither model.safetensors");
    expect_refused(program_file("empty.gguf", "", 0), "");
    expect_refused(program_file("text.gguf", "This is no model, only a text.\n", 31), "");
}

Test(bad_input, truncated_at_every_64_kib)
{
    size_t num_bytes;
    unsigned char *bytes = read_model(&num_bytes);
    for (size_t size = 65536; size < num_bytes; size += 65536)
        expect_refused(program_file("cut.gguf", bytes, size), "");
    expect_refused(program_file("cut.gguf", bytes, num_bytes - 1), "");
    free(bytes);
}

static void expect_patched(size_t offset, uint64_t value, size_t size, const char *part)
{
    size_t num_bytes;
    unsigned char *bytes = read_model(&num_bytes);
    for (size_t i = 0; i < size; i++)
        bytes[offset + i] = (unsigned char)(value >> (8 * i));
    expect_refused(program_file("patched.gguf", bytes, num_bytes), part);
    free(bytes);
}

/* Header of a GGUF file: magic, u32 version, u64 tensors, u64 metadata entries. */
Test(bad_input, wrong_header)
{
    expect_patched(0, 0x46554746, 4, "expected \"GGUF\"");
    expect_patched(4, 77, 4, "version");
    expect_patched(8, UINT64_C(1) << 60, 8, "");
    expect_patched(8, UINT64_MAX, 8, "");
    expect_patched(16, UINT64_C(1) << 40, 8, "");
    expect_patched(24, UINT64_MAX - 2, 8, ""); /* the length of the first key */
}

/* ---- A model whose parts contradict each other ------------------------------------------------
 */

static struct nano_weights weights;
static struct gguf_builder builder;

static void begin(const char *without)
{
    struct nano_error err;
    cr_assert_eq(nano_gguf_open(&weights, program_model(), &err), NANO_OK, "%s", err.message);
    gguf_builder_init(&builder);
    gguf_builder_weights(&builder, &weights, without);
}

static void expect_built(const char *part)
{
    const char *path = program_file("built.gguf", "", 0);
    gguf_builder_write(&builder, path);
    gguf_builder_deinit(&builder);
    nano_weights_close(&weights);
    expect_refused(path, part);
}

Test(bad_input, unchanged_parts_are_accepted)
{
    begin(NULL);
    const char *path = program_file("built.gguf", "", 0);
    gguf_builder_write(&builder, path);
    gguf_builder_deinit(&builder);
    nano_weights_close(&weights);
    struct program_result r = RUN("run", "-m", path, "-p", "x", "-n", "1");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
}

Test(bad_input, unknown_architecture)
{
    begin("general.architecture");
    gguf_builder_string(&builder, "general.architecture", "perceptron");
    expect_built("perceptron");
}

Test(bad_input, missing_tensor)
{
    begin("blk.2.ffn_down.weight");
    expect_built("blk.2.ffn_down.weight");
}

Test(bad_input, missing_key)
{
    begin("llama.block_count");
    expect_built("llama.block_count");
}

Test(bad_input, wrong_shape)
{
    const int64_t dims[2] = {128, 127};
    begin("blk.1.attn_q.weight");
    gguf_builder_tensor(&builder, "blk.1.attn_q.weight", 0, 2, dims, NULL, 128 * 127 * 4);
    expect_built("blk.1.attn_q.weight");
}

Test(bad_input, unknown_format)
{
    const int64_t dims[2] = {128, 128};
    begin("blk.1.attn_q.weight");
    gguf_builder_tensor(&builder, "blk.1.attn_q.weight", 999, 2, dims, NULL, 128 * 128);
    expect_built("999");
}

Test(bad_input, tensor_past_the_end)
{
    const int64_t dims[2] = {128, 128};
    begin("blk.1.attn_q.weight");
    gguf_builder_tensor_info(&builder, "blk.1.attn_q.weight", 0, 2, dims, (uint64_t)1 << 33);
    expect_built("blk.1.attn_q.weight");
}

Test(bad_input, overlapping_tensors)
{
    const int64_t dims[2] = {128, 128};
    begin("blk.1.attn_q.weight");
    gguf_builder_tensor_info(&builder, "blk.1.attn_q.weight", 0, 2, dims, 0);
    expect_built("overlap");
}

Test(bad_input, absurd_hyper_parameters)
{
    static const char *const keys[] = {"llama.attention.head_count", "llama.embedding_length",
                                       "llama.context_length"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        begin(keys[i]);
        gguf_builder_u32(&builder, keys[i], 0);
        expect_built(keys[i]);
    }
    begin("llama.block_count");
    gguf_builder_u32(&builder, "llama.block_count", 4000000000u);
    expect_built("llama.block_count");
}
