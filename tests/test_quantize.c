/* quantize: which formats are chosen, what is written, what is refused and what is left behind. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "engine/quantize_plan.h"
#include "format/gguf.h"
#include "format/imatrix.h"
#include "format/quant_mix.h"
#include "tests/gguf_builder.h"
#include "tests/program.h"

/* ---- Models ---- */

/* As a file's header says it; matrices have two rows, since formats depend on columns only. */
struct shape {
    const char *architecture;
    int num_layers, num_heads, num_kv_heads, num_experts;
    bool tied;
};

static void add(struct gguf_builder *builder, int layer, const char *name, int64_t cols,
                int64_t rows, int64_t matrices)
{
    char full[64];
    const int64_t dims[3] = {cols, rows, matrices};
    const int num_dims = matrices > 1 ? 3 : rows > 1 ? 2 : 1;
    const size_t count = (size_t)(cols * rows * matrices);
    float *data = malloc(count * sizeof *data);
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    for (size_t i = 0; i < count; i++) /* sums of sines: neither equal nor regular in a block */
        data[i] =
            sinf((float)i * 0.7f + (float)layer) * 0.1f + sinf((float)(i % 977) * 3.1f) * 0.05f;
    gguf_builder_tensor(builder, full, 0, num_dims, dims, data, count * sizeof *data);
    free(data);
}

static void add_number(struct gguf_builder *builder, const struct shape *shape, const char *suffix,
                       int value)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", shape->architecture, suffix);
    gguf_builder_u32(builder, key, (uint32_t)value);
}

static void add_layer(struct gguf_builder *builder, const struct shape *shape, int layer,
                      int64_t cols)
{
    const bool falcon = strcmp(shape->architecture, "falcon") == 0;
    const int experts = shape->num_experts ? shape->num_experts : 1;
    add(builder, layer, "attn_norm.weight", cols, 1, 1);
    if (falcon) {
        add(builder, layer, "attn_qkv.weight", cols, 2, 1);
    } else {
        add(builder, layer, "attn_q.weight", cols, 2, 1);
        add(builder, layer, "attn_k.weight", cols, 2, 1);
        add(builder, layer, "attn_v.weight", cols, 2, 1);
        add(builder, layer, "attn_v.bias", cols, 1, 1);
        add(builder, layer, experts > 1 ? "ffn_gate_exps.weight" : "ffn_gate.weight", cols, 2,
            experts);
    }
    add(builder, layer, "attn_output.weight", cols, 2, 1);
    if (experts > 1)
        add(builder, layer, "ffn_gate_inp.weight", cols, experts, 1);
    add(builder, layer, experts > 1 ? "ffn_up_exps.weight" : "ffn_up.weight", cols, 2, experts);
    add(builder, layer, experts > 1 ? "ffn_down_exps.weight" : "ffn_down.weight", cols, 2, experts);
}

static void build(struct gguf_builder *builder, const struct shape *shape, int64_t cols)
{
    gguf_builder_init(builder);
    gguf_builder_string(builder, "general.architecture", shape->architecture);
    add_number(builder, shape, "block_count", shape->num_layers);
    add_number(builder, shape, "attention.head_count", shape->num_heads);
    add_number(builder, shape, "attention.head_count_kv", shape->num_kv_heads);
    if (shape->num_experts)
        add_number(builder, shape, "expert_count", shape->num_experts);
    add(builder, -1, "token_embd.weight", cols, 2, 1);
    add(builder, -1, "output_norm.weight", cols, 1, 1);
    if (!shape->tied)
        add(builder, -1, "output.weight", cols, 2, 1);
    for (int layer = 0; layer < shape->num_layers; layer++)
        add_layer(builder, shape, layer, cols);
}

static const struct shape small_shape = {"llama", 2, 4, 2, 0, false};

/* A folder of this test's own. */
static char folder[] = "/tmp/nano_test_quantize_XXXXXX";

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[80];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

/* The same name gives the same pointer, which lives as long as the test. */
static const char *in_folder(const char *name)
{
    static char paths[8][96];
    static int num_paths;
    char path[96];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (int i = 0; i < num_paths; i++) {
        if (strcmp(paths[i], path) == 0)
            return paths[i];
    }
    cr_assert_lt(num_paths, 8);
    return memcpy(paths[num_paths++], path, sizeof path);
}

static const char *write_shape(const struct shape *shape, int64_t cols)
{
    struct gguf_builder builder;
    const char *path = in_folder("in.gguf");
    build(&builder, shape, cols);
    gguf_builder_write(&builder, path);
    gguf_builder_deinit(&builder);
    return path;
}

static nano_model *open_model(const char *path)
{
    struct nano_error err;
    nano_model *model;
    cr_assert_eq(nano_model_open(&model, path, &err), NANO_OK, "%s", err.message);
    return model;
}

static const char *data_path(const char *relative)
{
    static char paths[4][1024];
    static int next;
    char *path = paths[next++ % 4];
    const char *data = getenv("NANOVLLM_TEST_DATA");
    if (!data)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    snprintf(path, sizeof paths[0], "%s/zoo/%s", data, relative);
    return path;
}

/* ---- The choice of formats ---- */

/* "Q4_K 193, Q6_K 33": how many tensors get another format, and which. */
static void count_formats(char *out, size_t out_bytes, const struct shape *shape, const char *type)
{
    struct gguf_builder builder;
    struct nano_weights weights;
    struct nano_quantize_plan plan;
    struct nano_error err;
    struct nano_quantize_params params = nano_quantize_params_default();
    int counts[NANO_NUM_FORMATS] = {0};
    size_t used = 0;
    build(&builder, shape, 256);
    const struct gguf_bytes *file = gguf_builder_finish(&builder);
    cr_assert_eq(nano_gguf_open_memory(&weights, file->data, file->size, "test", &err), NANO_OK);
    params.type = type;
    params.dry_run = true;
    cr_assert_eq(nano_quantize_plan_create(&plan, &weights, &params, &err), NANO_OK, "%s",
                 err.message);
    for (size_t i = 0; i < plan.to.num_tensors; i++)
        counts[plan.to.tensors[i].format] +=
            plan.to.tensors[i].format != plan.steps[i].from->format;
    out[0] = '\0';
    for (int f = 0; f < NANO_NUM_FORMATS; f++) {
        if (counts[f])
            used += (size_t)snprintf(out + used, out_bytes - used, "%s%s %d", used ? ", " : "",
                                     nano_format_traits((enum nano_format)f)->name, counts[f]);
    }
    nano_quantize_plan_destroy(&plan);
    nano_weights_close(&weights);
    gguf_builder_deinit(&builder);
}

/* What llama-quantize --dry-run lists for files of these shapes. */
Test(quantize, mixes_choose_as_llama_quantize_does)
{
    static const struct shape gqa = {"llama", 32, 32, 8, 0, false};
    static const struct shape mha = {"llama", 33, 32, 32, 0, true};
    static const struct shape large = {"llama", 80, 64, 8, 0, false};
    static const struct shape falcon = {"falcon", 32, 64, 1, 0, true};
    static const struct shape experts = {"llama", 32, 32, 8, 8, false};
    static const struct {
        const struct shape *shape;
        const char *type, *counts;
    } cases[] = {
        {&gqa, "Q8_0", "Q8_0 226"},
        {&gqa, "Q5_K_M", "Q5_K 193, Q6_K 33"},
        {&gqa, "q5_k", "Q5_K 193, Q6_K 33"},
        {&gqa, "Q4_K_M", "Q4_K 193, Q6_K 33"},
        {&gqa, "Q4_K_S", "Q4_K 217, Q5_K 8, Q6_K 1"},
        {&gqa, "Q3_K_L", "Q3_K 129, Q5_K 96, Q6_K 1"},
        {&gqa, "Q3_K", "Q3_K 129, Q4_K 92, Q5_K 4, Q6_K 1"},
        {&gqa, "Q2_K", "Q2_K 129, Q3_K 64, Q4_K 32, Q6_K 1"},
        {&gqa, "Q2_K_S", "Q2_K 189, Q4_K 36, Q6_K 1"},
        {&gqa, "IQ4_XS", "Q5_K 36, Q6_K 1, IQ4_XS 189"},
        {&gqa, "Q4_0", "Q4_0 225, Q6_K 1"},
        {&gqa, "BF16", "BF16 226"},
        {&mha, "Q4_K_M", "Q4_K 197, Q6_K 35"},
        {&mha, "Q3_K_M", "Q3_K 132, Q4_K 95, Q5_K 4, Q6_K 1"},
        {&mha, "Q2_K", "Q2_K 132, Q3_K 99, Q6_K 1"},
        {&mha, "Q2_K_S", "Q2_K 227, Q4_K 4, Q6_K 1"},
        {&mha, "IQ4_XS", "Q5_K 4, Q6_K 1, IQ4_XS 227"},
        {&large, "Q4_K_M", "Q4_K 441, Q5_K 40, Q6_K 81"},
        {&large, "Q4_K_S", "Q4_K 471, Q5_K 90, Q6_K 1"},
        {&large, "Q3_K_M", "Q3_K 321, Q4_K 155, Q5_K 85, Q6_K 1"},
        {&large, "Q2_K", "Q2_K 321, Q3_K 160, Q5_K 80, Q6_K 1"},
        {&falcon, "Q5_K_M", "Q8_0 1, Q5_K 96, Q6_K 32"},
        {&falcon, "Q4_K_M", "Q8_0 1, Q4_K 96, Q5_K 14, Q6_K 18"},
        {&falcon, "Q4_K_S", "Q8_0 1, Q4_K 124, Q5_K 4"},
        {&falcon, "Q3_K_L", "Q8_0 1, Q3_K 32, Q4_K 64, Q5_K 32"},
        {&falcon, "Q3_K_M", "Q8_0 1, Q3_K 80, Q4_K 44, Q5_K 4"},
        {&experts, "Q8_0", "Q8_0 226"},
        {&experts, "Q4_K_M", "Q8_0 64, Q4_K 113, Q5_K 32, Q6_K 17"},
        {&experts, "Q3_K_M", "Q8_0 64, Q3_K 97, Q4_K 30, Q5_K 34, Q6_K 1"},
        {&experts, "Q2_K", "Q8_0 64, Q2_K 97, Q3_K 32, Q5_K 32, Q6_K 1"},
        {&experts, "IQ4_XS", "Q8_0 64, Q5_K 36, Q6_K 1, IQ4_XS 125"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char counts[256];
        count_formats(counts, sizeof counts, cases[i].shape, cases[i].type);
        cr_expect_str_eq(counts, cases[i].counts, "%zu: %s: %s, expected %s", i, cases[i].type,
                         counts, cases[i].counts);
    }
}

/* A file that llama-quantize made has the formats that are chosen for it. */
Test(quantize, goldens_have_the_chosen_formats)
{
    static const struct {
        const char *file, *type, *rule;
    } cases[] = {
        {"stories260K-Q8_0.gguf", "Q8_0", "ffn_down=F16"},
        {"stories260K-Q4_0.gguf", "Q4_0", "FFN_DOWN=f16"},
        {"stories260K-Q4_K_M.gguf", "Q4_K_M", NULL},
        {"gguf/llama-k256-Q2_K.gguf", "Q2_K", NULL},
        {"gguf/llama-k256-Q4_K_M.gguf", "Q4_K", NULL},
        {"gguf/llama-k256-IQ4_XS.gguf", "IQ4_XS", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = data_path(cases[i].file);
        struct program_result r =
            cases[i].rule
                ? RUN("quantize", path, cases[i].type, "--dry-run", "--allow-requantize", "--json",
                      "--tensor-type", cases[i].rule)
                : RUN("quantize", path, cases[i].type, "--dry-run", "--allow-requantize", "--json");
        cr_assert_eq(r.status, 0, "%s", r.err);
        json_t *json = program_json(&r, 0), *tensors = json_object_get(json, "tensors");
        size_t index;
        json_t *tensor;
        cr_assert_gt(json_array_size(tensors), 10);
        json_array_foreach(tensors, index, tensor)
        {
            cr_expect(json_equal(json_object_get(tensor, "from"), json_object_get(tensor, "to")),
                      "%s: %s is %s, chosen %s", path,
                      json_string_value(json_object_get(tensor, "name")),
                      json_string_value(json_object_get(tensor, "from")),
                      json_string_value(json_object_get(tensor, "to")));
        }
        cr_assert_eq(json_integer_value(json_object_get(json, "num_converted")), 0);
        json_decref(json);
        program_free(&r);
    }
}

Test(quantize, every_mix_has_one_name_and_number)
{
    for (int i = 0; i < NANO_NUM_MIXES; i++) {
        const struct nano_quant_mix *mix = nano_quant_mix((enum nano_mix_id)i);
        cr_assert_eq(nano_quant_mix_of_file(mix->file_type), (enum nano_mix_id)i, "%s", mix->name);
        cr_assert_str_eq(nano_quantize_type_name((size_t)i), mix->name);
    }
    cr_assert_null(nano_quantize_type_name(NANO_NUM_MIXES));
    cr_assert_eq(nano_quant_mix_find("q4_k"), NANO_MIX_Q4_K_M);
    cr_assert_eq(nano_quant_mix_find("Q4_K_"), NANO_NUM_MIXES);
    cr_assert_eq(nano_quant_mix_find(""), NANO_NUM_MIXES);
}

Test(quantize, small_and_sensitive_tensors_are_kept)
{
    static const struct {
        const char *name;
        int64_t rows;
        bool allowed;
    } cases[] = {
        {"blk.0.attn_q.weight", 2, true},
        {"blk.0.attn_q.weight", 1, false},
        {"blk.0.attn_q.bias", 2, false},
        {"blk.0.ffn_gate_inp.weight", 8, false},
        {"blk.0.ffn_gate_exps.weight", 8, true},
        {"blk.0.ssm_conv1d.weight", 4, false},
        {"position_embd.weight", 9, false},
        {"blk.1.attn_norm.weight", 2, false},
        {"weight", 2, true},
        {"w", 2, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct nano_tensor tensor = {.name = {cases[i].name, strlen(cases[i].name)},
                                           .dims = {64, cases[i].rows, 1, 1}};
        cr_expect_eq(nano_quant_allows(&tensor), cases[i].allowed, "%s", cases[i].name);
    }
    cr_expect_eq(nano_tensor_layer("blk.17.x"), 17);
    cr_expect_eq(nano_tensor_layer("blk.x"), -1);
    cr_expect_eq(nano_tensor_layer("blk.-3.x"), -1);
    cr_expect_eq(nano_quant_fit(NANO_FORMAT_Q4_K, 64), NANO_FORMAT_Q5_0);
    cr_expect_eq(nano_quant_fit(NANO_FORMAT_Q4_K, 172), NANO_FORMAT_F16);
    cr_expect_eq(nano_quant_fit(NANO_FORMAT_Q8_0, 172), NANO_FORMAT_F16);
    cr_expect_eq(nano_quant_fit(NANO_FORMAT_Q6_K, 512), NANO_FORMAT_Q6_K);
}

/* ---- What is written ---- */

static void assert_same_tensors(const char *path, const char *expected_path)
{
    struct nano_weights got, want;
    struct nano_error err;
    cr_assert_eq(nano_gguf_open(&got, path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_gguf_open(&want, expected_path, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(got.num_tensors, want.num_tensors);
    for (size_t i = 0; i < want.num_tensors; i++) {
        const struct nano_tensor *w = &want.tensors[i];
        const struct nano_tensor *g = nano_weights_find(&got, w->name.bytes);
        cr_assert_not_null(g, "%s", w->name.bytes);
        cr_assert_eq(g->format, w->format, "%s", w->name.bytes);
        cr_assert_eq(memcmp(g->data, w->data, w->num_bytes), 0, "%s: %s", path, w->name.bytes);
    }
    int64_t got_type = -1, want_type = -2;
    nano_meta_get_int(&got, "general.file_type", 0, 100, &got_type, NULL);
    nano_meta_get_int(&want, "general.file_type", 0, 100, &want_type, NULL);
    cr_assert_eq(got_type, want_type);
    nano_weights_close(&want);
    nano_weights_close(&got);
}

Test(quantize, bytes_are_those_of_the_goldens)
{
    static const char *const types[] = {"Q8_0", "Q4_0", "F16", "BF16"};
    const char *source = data_path("stories260K-F32.gguf");
    make_folder();
    for (size_t i = 0; i < 4; i++) {
        char golden[64];
        snprintf(golden, sizeof golden, "stories260K-%s.gguf", types[i]);
        const char *out = in_folder("out.gguf");
        struct program_result r = i < 2 ? RUN("quantize", source, out, types[i], "-t", "2",
                                              "--tensor-type", "ffn_down=f16")
                                        : RUN("quantize", source, out, types[i]);
        cr_assert_eq(r.status, 0, "%s", r.err);
        cr_assert_not_null(strstr(r.out, "bits per weight"), "%s", r.out);
        program_free(&r);
        assert_same_tensors(out, data_path(golden));
    }
    remove_folder();
}

/* Sets of threads divide the work differently; chunks end inside matrices and rows are odd. */
Test(quantize, threads_do_not_change_a_byte)
{
    static const struct shape shape = {"llama", 3, 4, 2, 4, false};
    char *first = NULL, *next;
    size_t first_bytes = 0, next_bytes;
    make_folder();
    nano_model *model = open_model(write_shape(&shape, 96));
    for (int threads = 1; threads <= 7; threads += 2) {
        struct nano_error err;
        struct nano_quantize_params params = nano_quantize_params_default();
        struct nano_quantize_result result;
        const char *out = in_folder("out.gguf");
        params.type = "Q5_1";
        params.num_threads = threads;
        cr_assert_eq(nano_model_quantize(model, out, &params, &result, &err), NANO_OK, "%s",
                     err.message);
        cr_assert_gt(result.num_converted, 20);
        cr_assert_lt(result.to_bytes, result.from_bytes / 3);
        FILE *file = fopen(out, "rb");
        next = malloc(1 << 20);
        next_bytes = fread(next, 1, 1 << 20, file);
        fclose(file);
        if (first) {
            cr_assert_eq(next_bytes, first_bytes);
            cr_assert_eq(memcmp(next, first, first_bytes), 0);
            free(next);
        } else {
            first = next;
            first_bytes = next_bytes;
        }
    }
    free(first);
    nano_model_close(model);
    remove_folder();
}

/* The built-in model as F32 and back to Q8_0 is itself, and so is its copy. */
Test(quantize, what_is_written_runs_and_comes_back)
{
    make_folder();
    const char *model = program_model();
    const char *f32 = in_folder("f32.gguf"), *again = in_folder("q8.gguf");
    struct program_result r = RUN("quantize", model, f32, "f32", "--allow-requantize");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    r = RUN("quantize", f32, again, "q8_0");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    assert_same_tensors(again, model);
    r = RUN("quantize", model, f32, "copy");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    assert_same_tensors(f32, model);

    struct program_result want = RUN("run", "-m", model, "-p", "Once", "-n", "20", "--temp", "0");
    struct program_result got = RUN("run", "-m", again, "-p", "Once", "-n", "20", "--temp", "0");
    cr_assert_eq(got.status, 0, "%s", got.err);
    cr_assert_str_eq(got.out, want.out);
    program_free(&want);
    program_free(&got);
    remove_folder();
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

/* Goldens are llama.cpp's figures of its own files of these types (1 %); of the types that it gives
 * none of, the bound is 6 % over F32. */
Test(quantize, perplexities_are_those_of_the_goldens)
{
    static const char *const types[] = {"F16",  "BF16", "Q8_0", "Q4_0",   "Q4_K_M",
                                        "Q5_0", "Q5_1", "Q4_1", "IQ4_NL", "NVFP4"};
    data_path(""); /* skips */
    make_folder();
    const char *out = in_folder("out.gguf");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char golden[64];
        struct program_result r = RUN("quantize", data_path("stories260K-F32.gguf"), out, types[i]);
        cr_assert_eq(r.status, 0, "%s", r.err);
        program_free(&r);
        r = RUN("perplexity", "-m", out, "-f", data_path("stories.txt"), "-c", "256", "--json");
        cr_assert_eq(r.status, 0, "%s", r.err);
        json_t *json = program_json(&r, 0);
        const double found = json_number_value(json_object_get(json, "perplexity"));
        json_decref(json);
        program_free(&r);
        double expected = 3.3265, tolerance = 0.06;
        snprintf(golden, sizeof golden, "golden/stories260K-%s.json", types[i]);
        if (i < 5) {
            json = json_load_file(data_path(golden), 0, NULL);
            expected =
                json_number_value(json_object_get(json_object_get(json, "perplexity"), "ppl"));
            json_decref(json);
            tolerance = 0.01;
        }
        cr_expect(fabs(found / expected - 1) < tolerance, "%s: perplexity %g, expected %g",
                  types[i], found, expected);
    }
    remove_folder();
}

static const char *format_of(const char *path, const char *tensor)
{
    struct nano_weights weights;
    struct nano_error err;
    cr_assert_eq(nano_gguf_open(&weights, path, &err), NANO_OK, "%s", err.message);
    const struct nano_tensor *found = nano_weights_find(&weights, tensor);
    const char *name = found ? nano_format_traits(found->format)->name : "";
    nano_weights_close(&weights);
    return name;
}

Test(quantize, the_caller_chooses_formats)
{
    make_folder();
    const char *in = write_shape(&small_shape, 64), *out = in_folder("out.gguf");
    struct program_result r =
        RUN("quantize", in, out, "Q4_1", "--tensor-type", "blk\\.[0-9]+\\.ffn_(up|down)=q8_0",
            "--tensor-type", "ffn=q5_0", "--token-embedding-type", "q5_1", "--leave-output-tensor");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    cr_assert_str_eq(format_of(out, "blk.1.ffn_up.weight"), "Q8_0");
    cr_assert_str_eq(format_of(out, "blk.1.ffn_gate.weight"), "Q5_0");
    cr_assert_str_eq(format_of(out, "token_embd.weight"), "Q5_1");
    cr_assert_str_eq(format_of(out, "output.weight"), "F32");
    cr_assert_str_eq(format_of(out, "blk.0.attn_v.weight"), "Q4_1");
    cr_assert_str_eq(format_of(out, "blk.0.attn_norm.weight"), "F32");
    r = RUN("quantize", in, out, "Q4_1", "--pure", "--output-tensor-type", "bf16");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    cr_assert_str_eq(format_of(out, "output.weight"), "BF16");
    cr_assert_str_eq(format_of(out, "token_embd.weight"), "Q4_1");
    remove_folder();
}

/* Sum over a tensor of (a - b)^2, each column weighted with its importance. */
static double weighted_error(const char *a_path, const char *b_path, const char *tensor,
                             const struct nano_importance *importance)
{
    struct nano_weights weights[2];
    struct nano_error err;
    const struct nano_tensor *tensors[2];
    const char *const paths[2] = {a_path, b_path};
    const float *means;
    float *rows[2];
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(nano_gguf_open(&weights[i], paths[i], &err), NANO_OK, "%s", err.message);
        tensors[i] = nano_weights_find(&weights[i], tensor);
        const int64_t cols = tensors[i]->dims[0], num_rows = tensors[i]->dims[1];
        rows[i] = malloc((size_t)(cols * num_rows) * sizeof **rows);
        nano_tensor_read_rows_f32(tensors[i], 0, num_rows, rows[i]);
    }
    const int64_t cols = tensors[0]->dims[0], count = cols * tensors[0]->dims[1];
    cr_assert_eq(nano_importance_find(importance, tensor, cols, 1, &means, &err), NANO_OK, "%s",
                 err.message);
    cr_assert_not_null(means);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const double error = (double)rows[0][i] - (double)rows[1][i];
        sum += (double)means[i % cols] * error * error;
    }
    for (int i = 0; i < 2; i++) {
        free(rows[i]);
        nano_weights_close(&weights[i]);
    }
    return sum;
}

Test(quantize, an_importance_matrix_lowers_the_error_that_counts)
{
    make_folder();
    const char *model = program_model(), *f32 = in_folder("f32.gguf");
    const char *matrix = in_folder("matrix.gguf"), *text = in_folder("text.txt");
    const char *plain = in_folder("plain.gguf"), *better = in_folder("better.gguf");
    char *words = malloc(20000);
    for (int i = 0, used = 0; used < 19000; i++)
        used += sprintf(words + used, "Once there was a %s who liked to %s.\n",
                        i % 3 ? "dog" : "little girl", i % 2 ? "sing" : "walk in the garden");
    write_text(text, words);
    free(words);
    struct program_result r = RUN("quantize", model, f32, "f32", "--allow-requantize");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    r = RUN("imatrix", "-m", f32, "-f", text, "-o", matrix, "-c", "128");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    r = RUN("quantize", f32, plain, "Q4_0");
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);
    r = RUN("quantize", f32, better, "Q4_0", "--imatrix", matrix);
    cr_assert_eq(r.status, 0, "%s", r.err);
    program_free(&r);

    struct nano_importance importance;
    struct nano_weights weights;
    struct nano_error err;
    int64_t entries = 0;
    cr_assert_eq(nano_importance_open(&importance, matrix, &err), NANO_OK, "%s", err.message);
    static const char *const tensors[] = {"blk.0.attn_q.weight", "blk.2.ffn_down.weight",
                                          "blk.4.ffn_up.weight"};
    for (int i = 0; i < 3; i++) {
        cr_assert_str_eq(format_of(better, tensors[i]), "Q4_0");
        const double without = weighted_error(f32, plain, tensors[i], &importance);
        const double with = weighted_error(f32, better, tensors[i], &importance);
        cr_assert_lt(with, 0.95 * without, "%s: %g with, %g without", tensors[i], with, without);
    }
    cr_assert_eq(nano_gguf_open(&weights, better, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(
        nano_meta_get_int(&weights, "quantize.imatrix.entries_count", 1, 1000, &entries, &err),
        NANO_OK, "%s", err.message);
    cr_assert_eq(entries, (int64_t)importance.num_entries);
    nano_weights_close(&weights);
    nano_importance_close(&importance);
    remove_folder();
}

/* ---- What is refused, and what is left then ---- */

Test(quantize, wrong_calls_are_refused_in_one_line)
{
    make_folder();
    const char *in = write_shape(&small_shape, 64), *out = in_folder("out.gguf");
    static const struct {
        const char *args[4];
        int status;
        const char *message;
    } cases[] = {
        {{"Q9_0"}, 1, "type 'Q9_0' is unknown, expected one of COPY F32 F16"},
        {{"Q8_0", "--tensor-type", "ffn"}, 2, "'ffn' is not PATTERN=FORMAT"},
        {{"Q8_0", "--tensor-type", "=q8_0"}, 2, "is not PATTERN=FORMAT"},
        {{"Q8_0", "--tensor-type", "ffn=q9"}, 1, "'q9' is no format"},
        {{"Q8_0", "--tensor-type", "ffn(=q8_0"}, 1, "pattern 'ffn(': at 4"},
        {{"Q8_0", "--output-tensor-type", "x"}, 1, "'x' is no format"},
        {{"Q8_0", "-t", "-1"}, 2, "-1"},
        {{"Q8_0", "more"}, 2, "expected a model, a file to write and a type"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *args[9] = {"quantize", in, out};
        for (int k = 0; k < 4; k++)
            args[3 + k] = cases[i].args[k];
        struct program_result r = program_run(NULL, args);
        cr_assert_eq(r.status, cases[i].status, "%zu: %s", i, r.err);
        cr_assert_not_null(strstr(r.err, cases[i].message), "%zu: %s", i, r.err);
        cr_assert_neq(access(out, F_OK), 0);
        program_free(&r);
    }
    struct program_result r = RUN("quantize", program_model(), out, "Q4_0");
    program_expect_error(&r, 1, "is quantised already (Q8_0)");
    r = RUN("quantize", in, "Q8_0");
    cr_assert_eq(r.status, 2);
    program_free(&r);
    r = RUN("quantize", in_folder("absent"), out, "Q8_0");
    program_expect_error(&r, 1, "absent");
    r = RUN("quantize", in, in_folder("no/such/out.gguf"), "Q8_0");
    program_expect_error(&r, 1, "cannot create");
    r = RUN("quantize", in, "Q2_K_S", "--dry-run"); /* rows of 64 make it Q4_0 */
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert_null(strstr(r.out, "importance"));
    program_free(&r);
    remove_folder();
}

Test(quantize, nonsense_without_importance_is_refused)
{
    make_folder();
    const char *in = write_shape(&small_shape, 256), *out = in_folder("out.gguf");
    struct program_result r = RUN("quantize", in, out, "Q2_K_S");
    program_expect_error(&r, 1, "Q2_K gives nonsense without an importance matrix");
    r = RUN("quantize", in, out, "Q2_K_S", "--dry-run");
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert_not_null(strstr(r.out, "It needs an importance matrix"), "%s", r.out);
    program_free(&r);
    remove_folder();
}

Test(quantize, truncated_files_are_refused)
{
    make_folder();
    const char *in = write_shape(&small_shape, 64), *out = in_folder("out.gguf");
    struct stat st;
    cr_assert_eq(stat(in, &st), 0);
    for (int i = 1; i < 8; i++) {
        cr_assert_eq(truncate(in, st.st_size * (8 - i) / 8), 0);
        struct program_result r = RUN("quantize", in, out, "Q8_0");
        program_expect_error(&r, 1, "in.gguf");
        cr_assert_neq(access(out, F_OK), 0);
    }
    remove_folder();
}

Test(quantize, values_that_no_block_holds_are_refused)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e6f};
    make_folder();
    for (size_t i = 0; i < 4; i++) {
        struct gguf_builder builder;
        const int64_t dims[2] = {64, 40};
        float data[64 * 40] = {0};
        data[64 * 33 + 5] = bad[i];
        gguf_builder_init(&builder);
        gguf_builder_string(&builder, "general.architecture", "llama");
        gguf_builder_tensor(&builder, "x.weight", 0, 2, dims, data, sizeof data);
        const char *in = in_folder("in.gguf"), *out = in_folder("out.gguf");
        gguf_builder_write(&builder, in);
        gguf_builder_deinit(&builder);
        struct program_result r = RUN("quantize", in, out, "Q8_0");
        program_expect_error(&r, 1, "tensor 'x.weight': row 33 has the value");
        cr_assert_neq(access(out, F_OK), 0);
        cr_assert_neq(access(in_folder("out.gguf.tmp"), F_OK), 0);
        r = RUN("quantize", in, out, "BF16");
        cr_assert_eq(r.status, 0, "%s", r.err);
        program_free(&r);
        unlink(out);
    }
    remove_folder();
}

static void assert_text(const char *path, const char *text)
{
    char got[32] = "";
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file);
    got[fread(got, 1, sizeof got - 1, file)] = '\0';
    fclose(file);
    cr_assert_str_eq(got, text);
}

struct calls {
    size_t num, stop_at, num_done;
};

static bool on_progress(const struct nano_quantize_progress *progress, void *user_data)
{
    struct calls *calls = user_data;
    cr_assert_leq(progress->done_bytes, progress->total_bytes);
    cr_assert_lt(progress->index, progress->num_tensors);
    calls->num_done += progress->is_done;
    return ++calls->num != calls->stop_at;
}

Test(quantize, cancelling_leaves_what_was_there)
{
    struct nano_error err;
    make_folder();
    nano_model *model = open_model(write_shape(&small_shape, 64));
    const char *out = in_folder("out.gguf");
    struct nano_quantize_params params = nano_quantize_params_default();
    struct calls calls = {0};
    params.type = "Q8_0";
    params.on_progress = on_progress;
    params.user_data = &calls;
    params.dry_run = true;
    cr_assert_eq(nano_model_quantize(model, NULL, &params, NULL, &err), NANO_OK);
    const size_t num_calls = calls.num;
    cr_assert_eq(calls.num_done, num_calls);
    params.dry_run = false;
    for (size_t n = 1; n <= num_calls; n++) {
        write_text(out, "old");
        calls = (struct calls){.stop_at = n};
        cr_assert_eq(nano_model_quantize(model, out, &params, NULL, &err), NANO_ERR_CANCELLED);
        cr_assert_eq(calls.num, n);
        assert_text(out, "old");
        cr_assert_neq(access(in_folder("out.gguf.tmp"), F_OK), 0);
    }
    nano_model_close(model);
    remove_folder();
}

Test(quantize, a_full_disk_leaves_what_was_there)
{
    struct nano_error err;
    make_folder();
    nano_model *model = open_model(write_shape(&small_shape, 2048));
    const char *out = in_folder("out.gguf");
    struct nano_quantize_params params = nano_quantize_params_default();
    params.type = "Q8_0";
    write_text(out, "old");
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t bytes = 100; bytes < 40000; bytes = bytes * 3) {
        limit = (struct rlimit){bytes, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
        const enum nano_status status = nano_model_quantize(model, out, &params, NULL, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        cr_assert_eq(status, NANO_ERR_IO, "%d", (int)bytes);
        cr_assert_not_null(strstr(err.message, "out.gguf: cannot write: "), "%s", err.message);
        assert_text(out, "old");
        cr_assert_neq(access(in_folder("out.gguf.tmp"), F_OK), 0);
    }
    if (access("/dev/full", W_OK) == 0) {
        cr_assert_eq(nano_model_quantize(model, "/dev/full", &params, NULL, &err), NANO_ERR_IO);
        cr_assert_not_null(strstr(err.message, "No space left"), "%s", err.message);
        cr_assert_eq(access("/dev/full", F_OK), 0);
    }
    nano_model_close(model);
    remove_folder();
}

Test(quantize, any_failed_allocation_is_an_error_without_a_leak)
{
    static const struct nano_quantize_rule rules[] = {{"ffn_up", "F16"}, {"attn_q", "Q4_0"}};
    struct nano_error err;
    make_folder();
    nano_model *model = open_model(write_shape(&small_shape, 64));
    struct nano_quantize_params params = nano_quantize_params_default();
    params.type = "Q8_0";
    params.num_threads = 2;
    params.rules = rules;
    params.num_rules = 2;
    enum nano_status status = NANO_ERR_NO_MEMORY;
    uint64_t n = 0;
    while (status != NANO_OK) {
        nano_mem_fail_after(++n);
        status = nano_model_quantize(model, in_folder("out.gguf"), &params, NULL, &err);
        nano_mem_fail_after(0);
        cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY, "%s", err.message);
        cr_assert_eq(access(in_folder("out.gguf"), F_OK) == 0, status == NANO_OK);
        cr_assert_lt(n, 100);
    }
    cr_assert_gt(n, 10);
    nano_model_close(model);
    remove_folder();
}
