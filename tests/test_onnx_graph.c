/* ONNX files as the engine sees them without ONNX Runtime: the graph's edge, what a decoder is, and
 * the folder around it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "config.h"
#include "engine/model.h"
#include "format/onnx_decoder.h"
#include "tests/leak_check.h"
#include "tests/onnx_builder.h"

static struct nano_error err;

/* What a file of these bytes is; the arena holds it. */
static enum nano_status read_graph(struct nano_onnx_graph *graph, const struct onnx_bytes *bytes,
                                   struct nano_arena *arena)
{
    /* Behind its end nothing may be read: a copy of its own shows it to a sanitizer. */
    unsigned char *copy = malloc(bytes->count ? bytes->count : 1);
    memcpy(copy, bytes->data, bytes->count);
    const struct nano_os_file file = {copy, bytes->count};
    nano_arena_init(arena);
    const enum nano_status status = nano_onnx_graph_read(graph, &file, "x.onnx", arena, &err);
    free(copy);
    return status;
}

static void initializer(struct onnx_bytes *graph, const char *name, int type, int64_t rows,
                        int64_t cols, bool packed)
{
    struct onnx_bytes tensor = {.count = 0}, dims = {.count = 0};
    if (packed) {
        onnx_varint(&dims, (uint64_t)rows);
        onnx_varint(&dims, (uint64_t)cols);
        onnx_message(&tensor, 1, &dims);
    } else {
        onnx_number(&tensor, 1, (uint64_t)rows);
        onnx_number(&tensor, 1, (uint64_t)cols);
    }
    onnx_number(&tensor, 2, (uint64_t)type);
    onnx_text(&tensor, 8, name);
    onnx_message(graph, ONNX_INITIALIZER, &tensor);
}

/* A decoder of two layers; `skip` names an input or output that is left out. */
static void decoder(struct onnx_bytes *graph, const char *skip)
{
    static const struct {
        int field;
        const char *name;
        int type;
        const char *shape;
    } values[] = {
        {ONNX_INPUT, "input_ids", NANO_ONNX_INT64, "b,s"},
        {ONNX_INPUT, "attention_mask", NANO_ONNX_INT64, "b,t"},
        {ONNX_INPUT, "past_key_values.0.key", NANO_ONNX_FLOAT, "b,4,p,32"},
        {ONNX_INPUT, "past_key_values.0.value", NANO_ONNX_FLOAT, "b,4,p,32"},
        {ONNX_INPUT, "past_key_values.3.key", NANO_ONNX_FLOAT, "b,2,p,16"},
        {ONNX_INPUT, "past_key_values.3.value", NANO_ONNX_FLOAT, "b,2,p,16"},
        {ONNX_OUTPUT, "logits", NANO_ONNX_FLOAT, "b,s,100"},
        {ONNX_OUTPUT, "present.0.key", NANO_ONNX_FLOAT, "b,4,t,32"},
        {ONNX_OUTPUT, "present.0.value", NANO_ONNX_FLOAT, "b,4,t,32"},
        {ONNX_OUTPUT, "present.3.key", NANO_ONNX_FLOAT, "b,2,t,16"},
        {ONNX_OUTPUT, "present.3.value", NANO_ONNX_FLOAT, "b,2,t,16"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (!skip || strcmp(values[i].name, skip) != 0)
            onnx_value(graph, values[i].field, values[i].name, values[i].type, values[i].shape);
}

static void node(struct onnx_bytes *graph, const char *op_type, const struct onnx_bytes *subgraph)
{
    struct onnx_bytes out = {.count = 0}, attribute = {.count = 0};
    onnx_text(&out, 4, op_type);
    if (subgraph) {
        onnx_text(&attribute, 1, "then_branch");
        onnx_message(&attribute, 6, subgraph);
        onnx_message(&out, 5, &attribute);
    }
    onnx_message(graph, ONNX_NODE, &out);
}

Test(onnx_graph, edge_weights_and_operators)
{
    struct onnx_bytes graph = {.count = 0}, inner = {.count = 0}, file;
    struct nano_onnx_graph g;
    struct nano_arena arena;
    decoder(&graph, NULL);
    onnx_value(&graph, ONNX_INPUT, "w", NANO_ONNX_FLOAT, "10,20"); /* older files list weights */
    initializer(&graph, "w", NANO_ONNX_FLOAT, 10, 20, true);
    initializer(&graph, "h", NANO_ONNX_FLOAT16, 30, 7, false);
    node(&inner, "GroupQueryAttention", NULL);
    initializer(&inner, "i4", 22, 5, 1, true);
    node(&graph, "If", &inner);
    onnx_model(&file, &graph);
    cr_assert_eq(read_graph(&g, &file, &arena), NANO_OK, "%s", err.message);
    cr_assert_eq(g.num_inputs, 6);
    cr_assert_eq(g.num_outputs, 5);
    cr_assert_str_eq(g.inputs[2].name, "past_key_values.0.key");
    cr_assert_eq(g.inputs[2].type, NANO_ONNX_FLOAT);
    cr_assert_eq(g.inputs[2].num_dims, 4);
    cr_assert(g.inputs[2].dims[0] == -1 && g.inputs[2].dims[1] == 4 && g.inputs[2].dims[2] == -1 &&
              g.inputs[2].dims[3] == 32);
    cr_assert_eq(g.num_params, 200 + 210 + 5);
    cr_assert_eq(g.weight_bytes, 800 + 420 + 3);
    cr_assert_eq(g.type_bytes[NANO_ONNX_FLOAT16], 420);
    cr_assert(g.has_group_query_attention);
    nano_arena_deinit(&arena);
}

Test(onnx_graph, a_decoder_is_what_its_edge_says)
{
    struct onnx_bytes graph = {.count = 0}, file;
    struct nano_onnx_graph g;
    struct nano_onnx_decoder d;
    struct nano_arena arena;
    decoder(&graph, NULL);
    onnx_model(&file, &graph);
    cr_assert_eq(read_graph(&g, &file, &arena), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_onnx_decoder_read(&d, &g, &arena, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(d.num_layers, 2);
    cr_assert_eq(d.num_kv, 4);
    cr_assert_eq(d.kv[2].num_heads, 2);
    cr_assert_eq(d.token_bytes, 2 * 4 * 32 * 4 + 2 * 2 * 16 * 4);
    cr_assert_eq(d.vocab_size, 100);
    cr_assert(d.position_ids < 0 && d.use_cache_branch < 0 && !d.last_logits_only);
    cr_assert(d.max_batch == 0 && d.max_tokens == 0);
    nano_arena_deinit(&arena);
}

Test(onnx_graph, what_is_no_decoder_is_named)
{
    static const struct {
        const char *skip; /* of a decoder */
        int field;        /* and this is added */
        const char *name;
        int type;
        const char *shape, *words;
    } cases[] = {
        {"input_ids", 0, "", 0, "", "has no input 'input_ids'"},
        {"input_ids", ONNX_INPUT, "input_ids", NANO_ONNX_FLOAT, "b,s",
         "'input_ids' is FLOAT [?, ?], expected INT64 or INT32 [batch, tokens]"},
        {"input_ids", ONNX_INPUT, "input_ids", NANO_ONNX_INT64, "b,16",
         "expected one token, or any"},
        {"input_ids", ONNX_INPUT, "input_ids", NANO_ONNX_INT64, "s", "INT64 [?], expected"},
        {"logits", 0, "", 0, "", "has no output 'logits'"},
        {"logits", ONNX_OUTPUT, "logits", NANO_ONNX_INT8, "b,s,100",
         "'logits' is INT8 [?, ?, 100]"},
        {"logits", ONNX_OUTPUT, "logits", NANO_ONNX_FLOAT, "b,s,v", "size of the vocabulary"},
        {"logits", ONNX_OUTPUT, "logits", NANO_ONNX_FLOAT, "b,s,9223372036854775807",
         "a vocabulary of less than 2^30"},
        {"past_key_values.0.key", ONNX_INPUT, "past_key_values.0.key", NANO_ONNX_FLOAT,
         "b,4,p,9223372036854775807", "expected FLOAT [?, 4, ?, 9223372036854775807] as its past"},
        {"present.3.value", 0, "", 0, "", "has no output 'present.3.value'"},
        {"present.3.value", ONNX_OUTPUT, "present.3.value", NANO_ONNX_FLOAT, "b,4,t,16",
         "'present.3.value' is FLOAT [?, 4, ?, 16], expected FLOAT [?, 2, ?, 16] as its past"},
        {"present.3.value", ONNX_OUTPUT, "present.3.value", NANO_ONNX_FLOAT16, "b,2,t,16",
         "'present.3.value' is FLOAT16 ["},
        {"past_key_values.3.value", 0, "", 0, "", "has no input 'past_key_values.3.value'"},
        {"past_key_values.3.value", ONNX_INPUT, "past_key_values.3.value", NANO_ONNX_FLOAT,
         "b,2,128,16", "expected a past of any length"},
        {"past_key_values.0.key", ONNX_INPUT, "past_key_values.0.key", NANO_ONNX_UINT8, "b,4,p,32",
         "'past_key_values.0.key' is UINT8 ["},
        {NULL, ONNX_INPUT, "inputs_embeds", NANO_ONNX_FLOAT, "b,s,64",
         "input 'inputs_embeds' is none that is known"},
        {NULL, ONNX_INPUT, "use_cache_branch", NANO_ONNX_INT64, "1", "expected BOOL"},
        {"input_ids", ONNX_INPUT, "input_ids", NANO_ONNX_INT64, "4,s", "takes 4 sequences at once"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_bytes graph = {.count = 0}, file;
        struct nano_onnx_graph g;
        struct nano_onnx_decoder d;
        struct nano_arena arena;
        decoder(&graph, cases[i].skip);
        if (cases[i].field)
            onnx_value(&graph, cases[i].field, cases[i].name, cases[i].type, cases[i].shape);
        onnx_model(&file, &graph);
        cr_assert_eq(read_graph(&g, &file, &arena), NANO_OK, "%s", err.message);
        cr_assert_neq(nano_onnx_decoder_read(&d, &g, &arena, &err), NANO_OK, "%s", cases[i].words);
        cr_assert(strstr(err.message, cases[i].words), "%s\nexpected: %s", err.message,
                  cases[i].words);
        nano_arena_deinit(&arena);
    }
}

/* Cut anywhere, and with any byte changed, a file is read or refused; nothing else happens. */
Test(onnx_graph, damaged_files_are_refused)
{
    struct onnx_bytes graph = {.count = 0}, inner = {.count = 0}, file, damaged;
    struct nano_onnx_graph g;
    struct nano_onnx_decoder d;
    struct nano_arena arena;
    int num_refused = 0;
    decoder(&graph, NULL);
    initializer(&graph, "w", NANO_ONNX_FLOAT, 10, 20, true);
    node(&inner, "Add", NULL);
    node(&graph, "If", &inner);
    onnx_model(&file, &graph);
    for (size_t n = 0; n < file.count; n++) {
        damaged = file;
        damaged.count = n;
        const enum nano_status status = read_graph(&g, &damaged, &arena);
        cr_assert_eq(status, NANO_ERR_FORMAT, "%zu of %zu bytes", n, file.count);
        cr_assert(strstr(err.message, "x.onnx: "), "%s", err.message);
        nano_arena_deinit(&arena);
    }
    for (size_t n = 0; n < file.count; n++)
        for (int change = 1; change < 256; change = 2 * change + 1) {
            damaged = file;
            damaged.data[n] ^= (unsigned char)change;
            const bool ok = read_graph(&g, &damaged, &arena) == NANO_OK &&
                            nano_onnx_decoder_read(&d, &g, &arena, &err) == NANO_OK;
            num_refused += !ok;
            nano_arena_deinit(&arena);
        }
    cr_assert_gt(num_refused, 1000);
    /* Graphs in graphs without end, and sizes that are none. */
    for (int i = 0; i < 20; i++) {
        struct onnx_bytes outer = {.count = 0};
        node(&outer, "If", &inner);
        inner = outer;
    }
    onnx_model(&file, &inner);
    cr_assert_eq(read_graph(&g, &file, &arena), NANO_ERR_FORMAT);
    cr_assert(strstr(err.message, "nested"), "%s", err.message);
    nano_arena_deinit(&arena);
    graph.count = 0;
    initializer(&graph, "w", NANO_ONNX_FLOAT, INT64_MAX, INT64_MAX, false);
    onnx_model(&file, &graph);
    cr_assert_eq(read_graph(&g, &file, &arena), NANO_ERR_FORMAT);
    nano_arena_deinit(&arena);
}

/* ---- folders ---- */

static char folder[64];

static void write_file(const char *name, const void *bytes, size_t count)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(bytes, 1, count, f) == count && fclose(f) == 0);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/nano-onnx-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

static void write_decoder(const char *name)
{
    struct onnx_bytes graph = {.count = 0}, file;
    decoder(&graph, NULL);
    onnx_model(&file, &graph);
    write_file(name, file.data, file.count);
}

Test(onnx_folder, the_graph_is_found_by_its_name, .init = make_folder, .fini = remove_folder)
{
    static const char *const names[] = {"decoder_with_past_model.onnx", "decoder_model_merged.onnx",
                                        "model.onnx"};
    nano_model *model;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) { /* each before the last one */
        write_decoder(names[i]);
        cr_assert_eq(nano_model_open(&model, folder, &err), NANO_OK, "%s", err.message);
        const struct nano_model_info *info = nano_model_get_info(model);
        cr_assert(strstr(info->path, names[i]), "%s", info->path);
        cr_assert_str_eq(info->architecture, "onnx");
        cr_assert(info->runnable && info->vocab_size == 100 && info->context_length == 2048);
        nano_model_close(model);
    }
}

Test(onnx_folder, configurations_say_what_the_graph_does_not, .init = make_folder,
     .fini = remove_folder)
{
    struct onnx_bytes graph = {.count = 0}, file;
    nano_model *model;
    onnx_value(&graph, ONNX_INPUT, "ids", NANO_ONNX_INT32, "b,s");
    onnx_value(&graph, ONNX_INPUT, "k7", NANO_ONNX_FLOAT16, "b,h,p,d");
    onnx_value(&graph, ONNX_INPUT, "v7", NANO_ONNX_FLOAT16, "b,h,p,d");
    onnx_value(&graph, ONNX_OUTPUT, "scores", NANO_ONNX_FLOAT16, "b,s,v");
    onnx_value(&graph, ONNX_OUTPUT, "nk7", NANO_ONNX_FLOAT16, "b,h,t,d");
    onnx_value(&graph, ONNX_OUTPUT, "nv7", NANO_ONNX_FLOAT16, "b,h,t,d");
    onnx_model(&file, &graph);
    write_file("text.onnx", file.data, file.count);
    write_text(
        "genai_config.json",
        "{\"model\": {\"vocab_size\": 77, \"context_length\": 640, \"eos_token_id\": [5, 6],"
        " \"bos_token_id\": 4, \"decoder\": {\"filename\": \"text.onnx\","
        " \"num_key_value_heads\": 3, \"head_size\": 24, \"inputs\": {\"input_ids\": \"ids\","
        " \"past_key_names\": \"k%d\", \"past_value_names\": \"v%d\"}, \"outputs\": {"
        "\"logits\": \"scores\", \"present_key_names\": \"nk%d\","
        " \"present_value_names\": \"nv%d\"}}}}");
    cr_assert_eq(nano_model_open(&model, folder, &err), NANO_OK, "%s", err.message);
    const struct nano_model_info *info = nano_model_get_info(model);
    cr_assert(info->vocab_size == 77 && info->context_length == 640 && info->num_kv_heads == 3 &&
              info->head_dim == 24 && info->num_layers == 1);
    const struct nano_meta *eos =
        nano_weights_meta(&model->weights, "tokenizer.ggml.eos_token_ids");
    cr_assert(eos && eos->num_elements == 2 && nano_meta_array_int(eos, 1) == 6);
    nano_model_close(model);
}

/* Names that point at one thing for two would be fed twice. */
Test(onnx_folder, a_name_stands_for_one_thing, .init = make_folder, .fini = remove_folder)
{
    static const char *const inputs[] = {"\"attention_mask\": \"input_ids\"",
                                         "\"position_ids\": \"attention_mask\"",
                                         "\"past_key_names\": \"past_key_values.0.key\"",
                                         "\"past_value_names\": \"past_key_values.%d.key\"",
                                         "\"past_names\": \"past_key_values.%d.value\""};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        char text[512];
        nano_model *model;
        struct nano_onnx_decoder d;
        struct nano_arena arena;
        write_decoder("model.onnx");
        snprintf(text, sizeof text,
                 "{\"model\": {\"decoder\": {\"filename\": \"model.onnx\", \"inputs\": {%s},"
                 " \"outputs\": {\"present_names\": \"present.%%d.value\"}}}}",
                 inputs[i]);
        write_text("genai_config.json", text);
        cr_assert_eq(nano_model_open(&model, folder, &err), NANO_OK, "%s", err.message);
        nano_arena_init(&arena);
        cr_assert_eq(nano_onnx_decoder_read(&d, model->weights.onnx, &arena, &err), NANO_ERR_FORMAT,
                     "%s", inputs[i]);
        cr_assert(strstr(err.message, "two things") || strstr(err.message, "has no "), "%s",
                  err.message);
        nano_arena_deinit(&arena);
        nano_model_close(model);
    }
}

Test(onnx_folder, faults_are_named, .init = make_folder, .fini = remove_folder)
{
    static const struct {
        const char *name, *text, *words;
    } cases[] = {
        {"genai_config.json", "{", "genai_config.json"},
        {"genai_config.json", "{\"model\": {}}", "model.decoder.filename is missing"},
        {"genai_config.json", "{\"model\": {\"decoder\": {\"filename\": \"a.onnx\"}}}",
         "names a.onnx, which is not there"},
        {"genai_config.json",
         "{\"model\": {\"vocab_size\": -3, \"decoder\": {\"filename\": \"model.onnx\"}}}",
         "vocab_size"},
        {"config.json", "{\"n_positions\": \"many\"}", "n_positions"},
        {"model.onnx", "no protobuf at all", "model.onnx: "},
        {"model.onnx", "", "model.onnx: "},
    };
    char path[128];
    nano_model *model;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_decoder("model.onnx");
        write_text(cases[i].name, cases[i].text);
        cr_assert_neq(nano_model_open(&model, folder, &err), NANO_OK, "%s", cases[i].words);
        cr_assert(strstr(err.message, cases[i].words), "%s\nexpected: %s", err.message,
                  cases[i].words);
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].name);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/none.onnx", folder);
    cr_assert_eq(nano_model_open(&model, path, &err), NANO_ERR_IO);
    cr_assert(strstr(err.message, "none.onnx"), "%s", err.message);
}

static bool open_and_close(void)
{
    nano_model *model;
    const enum nano_status status = nano_model_open(&model, folder, &err);
    cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY, "%s", err.message);
    if (status == NANO_OK)
        nano_model_close(model);
    return status == NANO_OK;
}

Test(onnx_folder, every_allocation_may_fail, .init = make_folder, .fini = remove_folder)
{
    write_decoder("model.onnx");
    write_text("config.json", "{\"n_positions\": 300, \"eos_token_id\": 3}");
    bool ok = false;
    for (uint64_t n = 1; !ok; n++) {
        nano_mem_fail_after(n);
        ok = open_and_close();
        cr_assert(!leak_check_found());
    }
    nano_mem_fail_after(0);
}

#ifndef NANO_HAVE_ONNXRUNTIME
Test(onnx_folder, a_build_without_the_runner_says_so, .init = make_folder, .fini = remove_folder)
{
    nano_model *model;
    nano_engine *engine;
    write_decoder("model.onnx");
    cr_assert_eq(nano_model_open(&model, folder, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_engine_create(&engine, model, NULL, &err), NANO_ERR_UNSUPPORTED);
    cr_assert(strstr(err.message, "--with-onnxruntime"), "%s", err.message);
    nano_model_close(model);
}
#endif
