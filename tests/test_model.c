/* Models through the public interface: opening, description, metadata, saving, lack of memory. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "engine/meta_print.h"
#include "engine/model.h"
#include "format/gguf.h"
#include "nanovllm.h"
#include "tests/gguf_builder.h"
#include "tests/program.h"

Test(model, the_built_in_one_is_found)
{
    struct nano_error err = {0};
    nano_model *model;
    cr_assert_eq(nano_model_open(&model, NULL, &err), NANO_OK, "%s", err.message);
    const struct nano_model_info *info = nano_model_get_info(model);
    cr_assert_str_eq(info->path, program_model());
    cr_assert_str_eq(info->architecture, "llama");
    cr_assert_str_eq(info->quantization, "Q8_0");
    cr_assert_not_null(info->chat_template);
    cr_assert(info->runnable);
    cr_assert_gt(info->num_params, 100000);
    cr_assert_eq(info->head_dim * info->num_heads, info->hidden_size);
    cr_assert_not_null(nano_model_get_tokenizer(model, &err));
    nano_model_close(model);
}

Test(model, without_a_built_in_one_the_message_says_where_it_was_looked_for)
{
    struct nano_error err = {0};
    nano_model *model = (nano_model *)1;
    setenv("NANOVLLM_DATA_DIR", "/nonexistent/folder", 1);
    if (nano_model_open(&model, NULL, &err) == NANO_OK) /* an installed one was found */
        nano_model_close(model);
    else
        cr_assert(strstr(err.message, "tinymodel.gguf") &&
                      strstr(err.message, "/nonexistent/folder"),
                  "%s", err.message);
}

Test(model, tensors_and_metadata_are_listed_to_the_end)
{
    nano_model *model;
    const char *key, *type, *value;
    struct nano_tensor_info tensor;
    size_t num_metadata = 0, num_tensors = 0;
    uint64_t num_params = 0, num_bytes = 0;
    bool seen_name = false;
    cr_assert_eq(nano_model_open(&model, program_model(), NULL), NANO_OK);
    for (; nano_model_get_metadata(model, num_metadata, &key, &type, &value); num_metadata++) {
        if (strcmp(key, "general.name") == 0) {
            seen_name = true;
            cr_assert_str_eq(type, "string");
            cr_assert_str_eq(value, nano_model_get_info(model)->name);
        }
        if (strcmp(key, "tokenizer.ggml.token_type") == 0) {
            cr_assert_str_eq(type, "i32[1024]");
            cr_assert_eq(strncmp(value, "[1, 1, ", 7), 0);
            cr_assert(strstr(value, "\xE2\x80\xA6]"));
        }
    }
    for (; nano_model_get_tensor(model, num_tensors, &tensor); num_tensors++) {
        num_params += (uint64_t)(tensor.dims[0] * tensor.dims[1] * tensor.dims[2] * tensor.dims[3]);
        num_bytes += tensor.num_bytes;
    }
    cr_assert(seen_name);
    cr_assert_gt(num_metadata, 10);
    cr_assert_gt(num_tensors, 10);
    cr_assert_eq(num_params, nano_model_get_info(model)->num_params);
    cr_assert_eq(num_bytes, nano_model_get_info(model)->weight_bytes);
    nano_model_close(model);
}

Test(model, saving_keeps_everything)
{
    struct nano_error err = {0};
    nano_model *model, *again;
    cr_assert_eq(nano_model_open_synthetic(&model, "qwen2-0.5b:tar.gz", 1, &err),
                 NANO_ERR_INVALID_ARGUMENT);
    cr_assert_null(model);
    cr_assert_eq(nano_model_open(&model, program_model(), &err), NANO_OK);
    const char *path = program_file("saved.gguf", "", 0);
    cr_assert_eq(nano_model_save_gguf(model, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_model_open(&again, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_model_get_info(again)->weight_bytes,
                 nano_model_get_info(model)->weight_bytes);
    char *program = NULL, *program_again = NULL;
    cr_assert_eq(nano_model_print_program(model, &program, &err), NANO_OK);
    cr_assert_eq(nano_model_print_program(again, &program_again, &err), NANO_OK);
    cr_assert_str_eq(program, program_again);
    nano_free(program);
    nano_free(program_again);
    nano_model_close(model);
    nano_model_close(again);
}

/* Every allocation fails once; the message is there and nothing leaks (checked by the sanitizers).
 */
Test(model, opening_without_memory)
{
    struct nano_error err;
    nano_model *model;
    char path[4096];
    snprintf(path, sizeof path, "%s", program_model());
    for (uint64_t n = 1;; n++) {
        err = (struct nano_error){0};
        nano_mem_fail_after(n);
        enum nano_status status = nano_model_open(&model, path, &err);
        uint64_t num_allocations = nano_mem_fail_after(0);
        if (status == NANO_OK) { /* some memory only makes it faster */
            cr_assert_not_null(nano_model_get_tokenizer(model, NULL));
            cr_assert_eq(nano_model_get_info(model)->vocab_size, 1024);
            cr_assert_eq(nano_model_get_info(model)->num_layers, 5);
            nano_model_close(model);
            if (num_allocations < n)
                break;
            continue;
        }
        cr_assert_eq(status, NANO_ERR_NO_MEMORY, "allocation %d: %s", (int)n, err.message);
        cr_assert_null(model);
        cr_assert_gt(strlen(err.message), 0);
    }
}

/* ---- Files of other kinds ---------------------------------------------------------------------
 */

static nano_model *open_built(struct gguf_builder *builder)
{
    struct nano_error err = {0};
    nano_model *model;
    const char *path = program_file("built.gguf", "", 0);
    gguf_builder_write(builder, path);
    gguf_builder_deinit(builder);
    cr_assert_eq(nano_model_open(&model, path, &err), NANO_OK, "%s", err.message);
    return model;
}

Test(model, a_file_without_tokenizer_or_tensors_opens)
{
    struct gguf_builder builder;
    struct nano_error err = {0};
    gguf_builder_init(&builder);
    gguf_builder_string(&builder, "general.architecture", "unheard-of");
    nano_model *model = open_built(&builder);
    cr_assert_not(nano_model_get_info(model)->runnable);
    cr_assert_str_eq(nano_model_get_info(model)->quantization, "");
    cr_assert_null(nano_model_get_info(model)->chat_template);
    cr_assert_null(nano_model_get_tokenizer(model, &err));
    cr_assert_neq(err.status, NANO_OK);
    cr_assert_gt(strlen(err.message), 0);
    char *program = (char *)1;
    cr_assert_neq(nano_model_print_program(model, &program, &err), NANO_OK);
    cr_assert_null(program);
    nano_model_close(model);
    nano_model_close(NULL);
}

Test(model, a_mix_has_the_name_of_its_file_type)
{
    static const struct {
        uint32_t file_type;
        const char *name;
    } cases[] = {{15, "Q4_K_M"}, {11, "Q3_K_S"}, {7, "F16"}, {UINT32_MAX, "F16"}};
    const int64_t small[1] = {32}, large[2] = {64, 4};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gguf_builder builder;
        gguf_builder_init(&builder);
        gguf_builder_string(&builder, "general.architecture", "llama");
        gguf_builder_u32(&builder, "general.file_type", cases[i].file_type);
        gguf_builder_tensor(&builder, "a", 0, 1, small, NULL, 128);        /* F32 */
        gguf_builder_tensor(&builder, "b", 1, 2, large, NULL, 64 * 4 * 2); /* F16 */
        nano_model *model = open_built(&builder);
        cr_assert_str_eq(nano_model_get_info(model)->quantization, cases[i].name);
        nano_model_close(model);
    }
}

/* ---- Printed values ---------------------------------------------------------------------------
 */

static void expect_printed(const struct nano_meta *meta, size_t out_bytes, const char *expected)
{
    char out[256];
    memset(out, 'x', sizeof out);
    nano_meta_print_value(meta, out, out_bytes);
    cr_assert_str_eq(out, expected);
    cr_assert_lt(strlen(out), out_bytes);
}

Test(meta_print, values_are_short_exact_and_harmless)
{
    struct nano_meta meta = {.type = NANO_META_F32, .value.f = (double)1e-5f};
    expect_printed(&meta, 64, "1e-05");
    meta.value.f = (double)0.1f;
    expect_printed(&meta, 64, "0.1");
    meta = (struct nano_meta){.type = NANO_META_F64, .value.f = 0.1f};
    expect_printed(&meta, 64, "0.10000000149011612");
    meta = (struct nano_meta){.type = NANO_META_U64, .value.u = UINT64_MAX};
    expect_printed(&meta, 64, "18446744073709551615");
    meta = (struct nano_meta){.type = NANO_META_I8, .value.i = -5};
    expect_printed(&meta, 64, "-5");
    meta = (struct nano_meta){.type = NANO_META_BOOL, .value.u = 1};
    expect_printed(&meta, 64, "true");
    meta =
        (struct nano_meta){.type = NANO_META_STRING, .value.string = {"a\n\x1b[1m\xC3\xA9\xFF", 9}};
    expect_printed(&meta, 64, "a\\n\\x1b[1m\xC3\xA9\\xff");
    meta.value.string = (struct nano_string){"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 8};
    expect_printed(&meta, 9, "\xC3\xA9\xC3\xA9\xE2\x80\xA6"); /* cut between characters */
    meta.value.string = (struct nano_string){"", 0};
    expect_printed(&meta, 8, "");
}
