/* Opens an ONNX graph and what stands beside it. */
#include "format/onnx_folder.h"

#include <stdio.h>
#include <string.h>

#include "format/hf_files.h"
#include "format/hf_folder.h"
#include "format/hf_generation.h"
#include "format/hf_tokenizer.h"
#include "format/onnx_decoder.h"

#define MAX_PATH_BYTES 4096
#define MAX_SIZE ((int64_t)1 << 30)

static const char *const graph_names[] = {
    "model.onnx",
    "decoder_model_merged.onnx",
    "decoder_with_past_model.onnx",
    "decoder_model.onnx",
    "onnx/model.onnx",
    "onnx/decoder_model_merged.onnx",
    "onnx/decoder_with_past_model.onnx",
    "onnx/decoder_model.onnx",
};

/* The path of a file if it is there; else false. */
static bool find_file(char *path, const char *folder, const char *name)
{
    return nano_hf_path(path, MAX_PATH_BYTES, folder, name) && nano_os_file_exists(path);
}

static bool find_graph(char *path, const char *folder)
{
    for (size_t i = 0; i < sizeof graph_names / sizeof *graph_names; i++)
        if (find_file(path, folder, graph_names[i]))
            return true;
    return false;
}

bool nano_onnx_is_path(const char *path)
{
    char found[MAX_PATH_BYTES];
    const size_t length = strlen(path);
    if (length > 5 && strcmp(path + length - 5, ".onnx") == 0)
        return true;
    return nano_os_is_folder(path) && !nano_hf_files_exist(path) &&
           (find_file(found, path, "genai_config.json") || find_graph(found, path));
}

/* The files around a graph. */
struct files {
    char graph[MAX_PATH_BYTES], folder[MAX_PATH_BYTES];
    char genai_path[MAX_PATH_BYTES], config_path[MAX_PATH_BYTES];
    json_t *genai, *config; /* NULL where there is none */
};

/* "a/b/c.onnx" -> "a/b"; its parent where the folder is called onnx and has no files of its own. */
static void folder_of(char *folder, const char *graph)
{
    char found[MAX_PATH_BYTES];
    const char *slash = strrchr(graph, '/');
    snprintf(folder, MAX_PATH_BYTES, "%.*s", slash ? (int)(slash - graph) : 1, slash ? graph : ".");
    const size_t length = strlen(folder);
    if (find_file(found, folder, "tokenizer.json") || find_file(found, folder, "genai_config.json"))
        return;
    if (length > 5 && strcmp(folder + length - 5, "/onnx") == 0)
        folder[length - 5] = '\0';
    else if (strcmp(folder, "onnx") == 0)
        strcpy(folder, ".");
}

static enum nano_status find_files(struct files *files, const char *path, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const bool is_folder = nano_os_is_folder(path);
    if (strlen(path) >= MAX_PATH_BYTES - 64)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%.200s…: the path is too long",
                              path);
    if (is_folder) {
        snprintf(files->folder, sizeof files->folder, "%s", path);
    } else {
        snprintf(files->graph, sizeof files->graph, "%s", path);
        folder_of(files->folder, path);
    }
    if (find_file(files->genai_path, files->folder, "genai_config.json"))
        NANO_TRY(nano_hf_json_load(&files->genai, files->genai_path, err));
    if (find_file(files->config_path, files->folder, "config.json"))
        NANO_TRY(nano_hf_json_load(&files->config, files->config_path, err));
    if (is_folder && files->genai) {
        const json_t *decoder = json_object_get(json_object_get(files->genai, "model"), "decoder");
        const char *name = json_string_value(json_object_get(decoder, "filename"));
        if (!name)
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: model.decoder.filename is missing, expected the name of an "
                                  "ONNX file",
                                  files->genai_path);
        if (!find_file(files->graph, path, name))
            return nano_error_set(err, NANO_ERR_IO, "%s: names %s, which is not there",
                                  files->genai_path, name);
    } else if (is_folder && !find_graph(files->graph, path)) {
        return nano_error_set(err, NANO_ERR_IO, "%s: has no model.onnx", path);
    }
fail:
    return status;
}

/* ---- configuration ---- */

static void set_name(struct nano_hf_json *json, struct nano_arena *arena, const char *field,
                     const char **out)
{
    const char *name = nano_hf_string(json, field, NULL);
    char *copy = name ? nano_arena_strdup(arena, name, strlen(name)) : NULL;
    if (copy)
        *out = copy;
}

/* genai_config.json: names of inputs and outputs, and shapes. */
static enum nano_status read_genai(struct nano_onnx_graph *graph, struct nano_arena *arena,
                                   const struct files *files, struct nano_error *err)
{
    struct nano_onnx_names *names = &graph->names;
    const json_t *model = json_object_get(files->genai, "model");
    const json_t *decoder = json_object_get(model, "decoder");
    struct nano_hf_json json = {files->genai_path, model, NULL, NANO_OK, err};
    graph->vocab_size = nano_hf_int(&json, "vocab_size", 1, MAX_SIZE, 0);
    graph->context_length = nano_hf_int(&json, "context_length", 1, MAX_SIZE, 0);
    json.object = decoder;
    graph->num_heads = nano_hf_int(&json, "num_attention_heads", 1, MAX_SIZE, 0);
    graph->num_kv_heads = nano_hf_int(&json, "num_key_value_heads", 1, MAX_SIZE, 0);
    graph->head_dim = nano_hf_int(&json, "head_size", 1, MAX_SIZE, 0);
    json.object = json_object_get(decoder, "inputs");
    set_name(&json, arena, "input_ids", &names->input_ids);
    set_name(&json, arena, "attention_mask", &names->attention_mask);
    set_name(&json, arena, "position_ids", &names->position_ids);
    set_name(&json, arena, "past_key_names", &names->past_key);
    set_name(&json, arena, "past_value_names", &names->past_value);
    set_name(&json, arena, "past_names", &names->past);
    json.object = json_object_get(decoder, "outputs");
    set_name(&json, arena, "logits", &names->logits);
    set_name(&json, arena, "present_key_names", &names->present_key);
    set_name(&json, arena, "present_value_names", &names->present_value);
    set_name(&json, arena, "present_names", &names->present);
    return json.status;
}

/* The first of the fields that is there. */
static void fill(struct nano_hf_json *json, int64_t *out, const char *const *fields)
{
    for (; *out == 0 && *fields; fields++)
        *out = nano_hf_int(json, *fields, 1, MAX_SIZE, 0);
}

static enum nano_status read_config(struct nano_onnx_graph *graph, const struct files *files,
                                    struct nano_error *err)
{
    static const char *const contexts[] = {
        "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", NULL};
    static const char *const vocabs[] = {"vocab_size", NULL};
    static const char *const heads[] = {"num_attention_heads", "n_head", NULL};
    static const char *const kv_heads[] = {"num_key_value_heads", "n_head_kv",
                                           "num_attention_heads", "n_head", NULL};
    static const char *const head_dims[] = {"head_dim", NULL};
    struct nano_hf_json json = {files->config_path, files->config, NULL, NANO_OK, err};
    fill(&json, &graph->context_length, contexts);
    fill(&json, &graph->vocab_size, vocabs);
    fill(&json, &graph->num_heads, heads);
    fill(&json, &graph->num_kv_heads, kv_heads);
    fill(&json, &graph->head_dim, head_dims);
    return json.status;
}

static enum nano_status read_graph(struct nano_weights *out, const struct files *files,
                                   struct nano_error *err)
{
    enum nano_status status;
    struct nano_os_file file = {0};
    struct nano_onnx_graph *graph = nano_arena_alloc(&out->arena, 1, sizeof *graph);
    out->path = nano_arena_strdup(&out->arena, files->graph, strlen(files->graph));
    if (!graph || !out->path)
        return nano_error_no_memory(err, "the graph's description", sizeof *graph);
    NANO_TRY(nano_os_file_open(&file, files->graph, err));
    NANO_TRY(nano_onnx_graph_read(graph, &file, out->path, &out->arena, err));
    out->onnx = graph;
    if (files->genai)
        NANO_TRY(read_genai(graph, &out->arena, files, err));
    if (files->config)
        NANO_TRY(read_config(graph, files, err));
fail:
    nano_os_file_close(&file);
    return status;
}

/* The shape in GGUF's keys, as far as the graph is a decoder; whoever runs it says what is wrong.
 */
static void add_shape(struct nano_meta_builder *builder, const struct nano_onnx_graph *graph)
{
    struct nano_onnx_decoder decoder;
    if (nano_onnx_decoder_read(&decoder, graph, &builder->weights->arena, NULL) != NANO_OK)
        return;
    nano_meta_add_u32(builder, "onnx.vocab_size", (uint32_t)decoder.vocab_size);
    nano_meta_add_u32(builder, "onnx.context_length", (uint32_t)decoder.context_length);
    if (decoder.num_kv == 0)
        return;
    nano_meta_add_u32(builder, "onnx.block_count", (uint32_t)decoder.num_layers);
    nano_meta_add_u32(builder, "onnx.attention.head_count_kv", (uint32_t)decoder.kv->num_heads);
    nano_meta_add_u32(builder, "onnx.attention.key_length", (uint32_t)decoder.kv->head_dim);
}

enum nano_status nano_onnx_open(struct nano_weights *out, const char *path, struct nano_error *err)
{
    enum nano_status status;
    struct files files = {.graph = ""};
    *out = (struct nano_weights){0};
    nano_arena_init(&out->arena);
    struct nano_meta_builder builder = {.weights = out};
    NANO_TRY(find_files(&files, path, err));
    NANO_TRY(read_graph(out, &files, err));
    nano_meta_add_cstring(&builder, "general.architecture", "onnx");
    nano_hf_add_name(&builder, path);
    add_shape(&builder, out->onnx);
    NANO_TRY(nano_hf_tokenizer_load(&builder, files.folder, err));
    NANO_TRY(nano_hf_generation_read(
        &builder, files.folder, files.genai ? json_object_get(files.genai, "model") : files.config,
        err));
    NANO_TRY(nano_meta_build_finish(&builder, err));
    NANO_TRY(nano_weights_finish(out, err));
fail:
    json_decref(files.genai);
    json_decref(files.config);
    if (status != NANO_OK)
        nano_weights_close(out);
    return status;
}
