/* imatrix: sums against a naive model, the same bits however they are computed, and files of both
 * kinds, good and bad. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/imatrix_collect.h"
#include "format/imatrix.h"
#include "gguf_builder.h"
#include "tests/program.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

#define LENGTH 40

/* ---- sums ---- */

static struct nano_importance naive; /* filled by the naive model */

static void on_naive_linear(const char *weight, const double *x, int cols)
{
    struct nano_importance_entry *entry;
    const struct nano_string name = {weight, strlen(weight)};
    cr_assert_eq(nano_importance_entry(&naive, &name, (size_t)cols, 1, &entry, NULL), NANO_OK);
    for (int i = 0; i < cols; i++)
        entry->sums[i] += x[i] * x[i];
    entry->counts[0]++;
}

static void collect(struct nano_importance *out, const struct nano_weights *weights,
                    const int32_t *tokens, int num_threads, int chunk, bool process_output)
{
    struct nano_error err;
    struct nano_program *program;
    struct nano_imatrix_collector collector;
    cr_assert_eq(nano_program_create(&program, weights, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_imatrix_collector_init(&collector, program, process_output, &err), NANO_OK);
    cr_assert_eq(nano_importance_init(out, LENGTH, &err), NANO_OK);
    const struct harness_config config = {.num_threads = num_threads,
                                          .block_size = 16,
                                          .max_num_batched_tokens = LENGTH,
                                          .max_num_seqs = 1,
                                          .kv_format = NANO_KV_FORMAT_F32,
                                          .on_linear_input = nano_imatrix_on_linear_input,
                                          .on_linear_input_context = &collector};
    free(harness_logits(program, &config, tokens, LENGTH, chunk));
    cr_assert_eq(nano_imatrix_collector_give(&collector, out, &err), NANO_OK, "%s", err.message);
    nano_imatrix_collector_deinit(&collector);
    nano_program_destroy(program);
}

static void compare(const struct nano_importance *got, double tolerance)
{
    for (size_t i = 0; i < got->num_entries; i++) {
        const struct nano_importance_entry *entry = &got->entries[i];
        const struct nano_importance_entry *want = nano_importance_lookup(&naive, &entry->name);
        cr_assert_not_null(want, "%s", entry->name.bytes);
        cr_assert_eq(entry->num_values, want->num_values);
        cr_assert_eq(entry->counts[0], LENGTH, "%s", entry->name.bytes);
        for (size_t k = 0; k < entry->num_values; k++)
            cr_assert_leq(fabs(entry->sums[k] - want->sums[k]), tolerance * want->sums[k],
                          "%s, column %zu: %g, expected %g", entry->name.bytes, k, entry->sums[k],
                          want->sums[k]);
    }
}

static void check_shape(const struct tiny_shape *shape, enum nano_format format)
{
    struct nano_weights weights, plain;
    struct nano_importance got;
    int32_t tokens[LENGTH];
    uint64_t random = 5;
    for (int i = 0; i < LENGTH; i++)
        tokens[i] = (int32_t)(tiny_random(&random) % (uint64_t)shape->vocab_size);
    tiny_model_make(&weights, shape, NULL);
    tiny_model_quantize(&weights, format);
    tiny_model_make(&plain, shape, NULL);
    tiny_model_quantize(&plain, format);
    tiny_model_dequantize(&plain);
    double *logits = calloc((size_t)LENGTH * (size_t)shape->vocab_size, sizeof *logits);
    cr_assert_not_null(logits);
    cr_assert_eq(nano_importance_init(&naive, LENGTH, NULL), NANO_OK);
    tiny_model_on_linear = on_naive_linear;
    tiny_model_forward(&plain, shape, tokens, LENGTH, logits);
    collect(&got, &weights, tokens, 2, LENGTH, true);
    /* the naive model has seen the head in any case, under the embedding's name where it is that */
    cr_assert_eq(got.num_entries, naive.num_entries - shape->tied);
    compare(&got, format == NANO_FORMAT_F32 ? 1e-4 : 0.2);
    free(logits);
    nano_importance_close(&got);
    nano_importance_close(&naive);
    nano_weights_close(&plain);
    nano_weights_close(&weights);
}

Test(imatrix, sums_are_those_of_a_naive_model)
{
    for (int i = 0; i < num_tiny_shapes; i++)
        check_shape(&tiny_shapes[i], NANO_FORMAT_F32);
    check_shape(&tiny_shapes[num_tiny_shapes - 1], NANO_FORMAT_Q8_0);
}

Test(imatrix, neither_threads_nor_steps_change_a_bit)
{
    static const int threads[] = {1, 2, 3}, chunks[] = {LENGTH, 7, 1};
    struct nano_weights weights;
    struct nano_importance first, other;
    int32_t tokens[LENGTH];
    for (int i = 0; i < LENGTH; i++)
        tokens[i] = i * 7 % tiny_shapes[0].vocab_size;
    tiny_model_make(&weights, &tiny_shapes[0], NULL);
    collect(&first, &weights, tokens, 1, LENGTH, false);
    cr_assert_eq(first.num_entries, 7 * (size_t)tiny_shapes[0].num_layers);
    for (int i = 0; i < 9; i++) {
        collect(&other, &weights, tokens, threads[i / 3], chunks[i % 3], false);
        cr_assert_eq(other.num_entries, first.num_entries);
        for (size_t k = 0; k < first.num_entries; k++)
            cr_assert_eq(memcmp(first.entries[k].sums, other.entries[k].sums,
                                first.entries[k].num_values * sizeof(double)),
                         0, "%d threads, pieces of %d", threads[i / 3], chunks[i % 3]);
        nano_importance_close(&other);
    }
    nano_importance_close(&first);
    nano_weights_close(&weights);
}

/* ---- files ---- */

/* A dense weight, and one of two experts of which the second has seen nothing. */
static void make_example(struct nano_importance *out)
{
    struct nano_importance_entry *entry;
    const struct nano_string dense = {"blk.0.b.weight", 14}, experts = {"blk.0.a.weight", 14};
    cr_assert_eq(nano_importance_init(out, 10, NULL), NANO_OK);
    cr_assert_eq(nano_importance_entry(out, &dense, 3, 1, &entry, NULL), NANO_OK);
    for (int i = 0; i < 3; i++)
        entry->sums[i] = 20 * (i + 1);
    entry->counts[0] = 20;
    cr_assert_eq(nano_importance_entry(out, &experts, 4, 2, &entry, NULL), NANO_OK);
    entry->sums[0] = 5;
    entry->sums[1] = 10;
    entry->counts[0] = 5;
    cr_assert_eq(nano_importance_add_dataset(out, "a.txt", 5, NULL), NANO_OK);
    nano_importance_count_chunks(out);
}

static void expect_means(const struct nano_importance *file)
{
    struct nano_error err;
    const float *means;
    cr_assert_eq(file->num_entries, 2);
    cr_assert_eq(file->chunk_count, 2);
    cr_assert_eq(file->num_datasets, 1);
    cr_assert_str_eq(file->datasets[0].bytes, "a.txt");
    cr_assert_eq(nano_importance_find(file, "blk.0.b.weight", 3, 1, &means, &err), NANO_OK);
    cr_assert(means[0] == 1 && means[1] == 2 && means[2] == 3);
    cr_assert_eq(nano_importance_find(file, "blk.0.a.weight", 2, 2, &means, &err), NANO_OK);
    cr_assert(means[0] == 1 && means[1] == 2 && means[2] == 1 && means[3] == 1);
    cr_assert_eq(nano_importance_find(file, "blk.0.c.weight", 2, 2, &means, &err), NANO_OK);
    cr_assert_null(means);
    cr_assert_eq(nano_importance_find(file, "blk.0.b.weight", 4, 1, &means, &err), NANO_ERR_FORMAT);
    cr_assert_not_null(strstr(err.message, "'blk.0.b.weight': 3 values, expected 4 columns"), "%s",
                       err.message);
}

Test(imatrix, files_of_both_kinds_come_back_and_merge)
{
    static const char *const names[] = {"example.gguf", "example.dat"};
    struct nano_importance example, file, sum;
    struct nano_error err;
    make_example(&example);
    for (int i = 0; i < 2; i++) {
        const char *path = program_file(names[i], "", 0);
        cr_assert_eq(nano_importance_save(&example, path, &err), NANO_OK, "%s", err.message);
        cr_assert_eq(nano_importance_open(&file, path, &err), NANO_OK, "%s", err.message);
        cr_assert_eq(file.is_legacy, i == 1);
        expect_means(&file);
        cr_assert_eq(nano_importance_init(&sum, 10, NULL), NANO_OK);
        for (int k = 0; k < 3; k++)
            cr_assert_eq(nano_importance_merge(&sum, &file, &err), NANO_OK, "%s", err.message);
        cr_assert_eq(sum.chunk_count, 6);
        cr_assert_eq(sum.num_datasets, 3);
        cr_assert_eq(sum.entries[1].counts[0], 60);
        cr_assert_eq(sum.entries[1].sums[2], 180);
        struct nano_importance_entry *entry;
        const struct nano_string name = {"blk.0.b.weight", 14};
        cr_assert_eq(nano_importance_entry(&sum, &name, 4, 1, &entry, &err),
                     NANO_ERR_INVALID_ARGUMENT);
        nano_importance_close(&sum);
        nano_importance_close(&file);
    }
    nano_importance_close(&example);
}

static void refused(const char *path, const char *message)
{
    struct nano_importance file;
    struct nano_error err = {0};
    cr_assert_neq(nano_importance_open(&file, path, &err), NANO_OK, "expected: %s", message);
    cr_assert_not_null(strstr(err.message, message), "%s\nexpected: %s", err.message, message);
    cr_assert_eq(strncmp(err.message, path, strlen(path)), 0, "%s", err.message);
}

Test(imatrix, every_truncation_is_refused)
{
    struct nano_importance example;
    make_example(&example);
    static const char *const names[] = {"example.gguf", "example.dat"};
    for (int i = 0; i < 2; i++) {
        char whole[4096];
        const char *path = program_file(names[i], "", 0);
        cr_assert_eq(nano_importance_save(&example, path, NULL), NANO_OK);
        FILE *in = fopen(path, "rb");
        cr_assert_not_null(in);
        size_t num_bytes = fread(whole, 1, sizeof whole, in);
        fclose(in);
        if (i == 1)
            num_bytes -= 4 + 4 + 5; /* calls and dataset may be missing */
        for (size_t n = 0; n + 32 < num_bytes || (i == 1 && n < num_bytes); n++)
            refused(program_file("cut", whole, n), "");
    }
    nano_importance_close(&example);
}

static void start_gguf(struct gguf_builder *builder)
{
    gguf_builder_init(builder);
    gguf_builder_string(builder, "general.type", "imatrix");
    gguf_builder_string_array(builder, "imatrix.datasets", NULL, 0);
    gguf_builder_u32(builder, "imatrix.chunk_count", 1);
}

static void refuse_gguf(struct gguf_builder *builder, const char *message)
{
    const struct gguf_bytes *file = gguf_builder_finish(builder);
    refused(program_file("bad.gguf", file->data, file->size), message);
    gguf_builder_deinit(builder);
}

Test(imatrix, bad_files_are_refused)
{
    static const float nan_sum[] = {1, NAN}, sums[] = {1, 2}, count[] = {3}, negative[] = {-1};
    const struct {
        const char *sum_name, *count_name;
        const float *sums, *counts;
        const char *message;
    } cases[] = {
        {"a.in_sum2", "b.counts", sums, count, "tensor 'a.in_sum2': expected one that ends in"},
        {"a.weight", "a.counts", sums, count, "this is no importance matrix"},
        {"a.in_sum2", "a.counts", nan_sum, count, "value 1 is nan"},
        {"a.in_sum2", "a.counts", sums, negative, "tensor 'a.counts': value 0 is -1"},
    };
    struct gguf_builder builder;
    start_gguf(&builder);
    refuse_gguf(&builder, "key 'imatrix.chunk_size' is missing");
    start_gguf(&builder);
    gguf_builder_u32(&builder, "imatrix.chunk_size", 1);
    refuse_gguf(&builder, "has no entries");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start_gguf(&builder);
        gguf_builder_u32(&builder, "imatrix.chunk_size", 1);
        gguf_builder_tensor(&builder, cases[i].sum_name, 0, 1, (int64_t[]){2}, cases[i].sums, 8);
        gguf_builder_tensor(&builder, cases[i].count_name, 0, 1, (int64_t[]){1}, cases[i].counts,
                            4);
        refuse_gguf(&builder, cases[i].message);
    }
    refused(program_model(), "key 'imatrix.datasets' is missing");
    refused(program_file("text", "\x7F\x7F\x7F\x7Fxxxxxxxx", 12), "the name of entry 1");
    refused("/nonexistent/file", "");
}

Test(imatrix, survives_failing_allocations)
{
    struct nano_importance example, file;
    make_example(&example);
    const char *path = program_file("example.gguf", "", 0);
    cr_assert_eq(nano_importance_save(&example, path, NULL), NANO_OK);
    bool complete = false;
    for (uint64_t n = 1; !complete; n++) {
        cr_assert_lt(n, 1000);
        nano_mem_fail_after(n);
        enum nano_status status = nano_importance_open(&file, path, NULL);
        if (status == NANO_OK) {
            status = nano_importance_save(&file, path, NULL);
            nano_importance_close(&file);
        }
        complete = nano_mem_fail_after(0) < n;
        cr_assert_eq(status, complete ? NANO_OK : NANO_ERR_NO_MEMORY);
    }
    nano_importance_close(&example);
}

/* ---- the program ---- */

Test(imatrix, sizes_are_checked)
{
    nano_imatrix *imatrix;
    struct nano_error err = {0};
    struct nano_imatrix_params params = nano_imatrix_params_default();
    params.max_num_batched_tokens = 0;
    cr_expect_eq(nano_imatrix_create(&imatrix, &params, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_expect_str_eq(err.message, "max_num_batched_tokens is 0, expected at least 1");
    params = nano_imatrix_params_default();
    params.chunk_size = 3;
    cr_expect_eq(nano_imatrix_create(&imatrix, &params, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_expect_str_eq(err.message, "chunk_size is 3, expected at least 4");
}

Test(imatrix, program)
{
    char text[4096] = "", path[4096], other[4096];
    for (int i = 0; i < 40; i++)
        strcat(text, "Once upon a time there was a little girl. ");
    snprintf(path, sizeof path, "%s", program_file("a.gguf", "", 0));
    snprintf(other, sizeof other, "%s", program_file("b.gguf", "", 0));
    const char *args[] = {"imatrix", "-c", "32", "-o", path, "--chunks", "3", NULL};
    struct program_result r = program_run(text, args);
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert_not_null(strstr(r.out, "3 chunks of 32 tokens"), "%s", r.out);
    program_free(&r);
    struct nano_importance a, b;
    cr_assert_eq(nano_importance_open(&a, path, NULL), NANO_OK);
    cr_assert_eq(a.chunk_count, 3);
    cr_assert_eq(a.entries[0].counts[0], 96);
    r = RUN("imatrix", "--in-file", path, "--in-file", path, "-o", other, "-c", "32");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    cr_assert_eq(nano_importance_open(&b, other, NULL), NANO_OK);
    cr_assert_eq(b.chunk_count, 6);
    cr_assert_eq(b.entries[0].sums[0], 2 * a.entries[0].sums[0]);
    nano_importance_close(&a);
    nano_importance_close(&b);
    r = RUN("info", path);
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert_not_null(strstr(r.out, "this is no model"));
    program_free(&r);
    r = RUN("imatrix", "-f", "/nonexistent", "-o", other);
    program_expect_error(&r, 1, "/nonexistent");
    program_free(&r);
}
