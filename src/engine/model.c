/* Model: opening, the built-in model, and what nanovllm.h tells about a model file. */
#include "engine/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "engine/meta_print.h"
#include "format/gguf.h"
#include "format/hf_folder.h"
#include "format/hf_tokenizer.h"
#include "format/lora_file.h"
#include "format/onnx_folder.h"
#include "format/onnx_graph.h"
#include "format/quant_mix.h"
#include "format/requantize.h"
#include "format/synthetic.h"
#include "models/builder.h"
#include "tokenizer/tokenizer.h"

#define BUILTIN_FILE "tinymodel.gguf"
#define MAX_PATH_BYTES 4096

/* The name of a mix that has one of its own, or the format that most weight bytes are in. */
static const char *quantization_name(const struct nano_weights *weights)
{
    int64_t file_type = -1;
    if (nano_meta_get_int(weights, "general.file_type", 0, INT32_MAX, &file_type, NULL) ==
        NANO_OK) {
        const enum nano_mix_id mix = nano_quant_mix_of_file(file_type);
        if (mix != NANO_NUM_MIXES &&
            nano_format_from_name(nano_quant_mix(mix)->name) == NANO_NUM_FORMATS)
            return nano_quant_mix(mix)->name;
    }
    uint64_t num_bytes[NANO_NUM_FORMATS] = {0};
    int most = 0;
    for (size_t i = 0; i < weights->num_tensors; i++)
        num_bytes[weights->tensors[i].format] += weights->tensors[i].num_bytes;
    for (int f = 1; f < NANO_NUM_FORMATS; f++)
        if (num_bytes[f] > num_bytes[most])
            most = f;
    return num_bytes[most] ? nano_format_traits((enum nano_format)most)->name : "";
}

/* The type that most weight bytes are in. */
static const char *graph_type(const struct nano_onnx_graph *graph)
{
    int most = 0;
    for (int t = 1; t < NANO_ONNX_NUM_TYPES; t++)
        if (graph->type_bytes[t] > graph->type_bytes[most])
            most = t;
    return nano_onnx_type_name(most);
}

/* A zero-terminated copy of a string entry; `fallback` if the file has none. NULL without memory.
 */
static const char *metadata_string(struct nano_weights *weights, const char *key,
                                   const char *fallback)
{
    struct nano_string value = {0};
    if (nano_meta_get_string(weights, key, &value, NULL) != NANO_OK || !value.bytes)
        return fallback;
    return nano_arena_strdup(&weights->arena, value.bytes, value.num_bytes);
}

static enum nano_status fill_info(nano_model *model, struct nano_error *err)
{
    struct nano_weights *weights = &model->weights;
    struct nano_model_info *info = &model->info;
    static const char none[] = "";

    info->path = weights->path ? weights->path : none;
    info->name = metadata_string(weights, "general.name", none);
    info->architecture = metadata_string(weights, "general.architecture", none);
    const char *template = metadata_string(weights, "tokenizer.chat_template", none);
    if (!info->name || !info->architecture || !template)
        return nano_error_no_memory(err, "the model's description", 0);
    info->chat_template = template == none ? NULL : template;
    info->quantization = weights->num_tensors ? quantization_name(weights) : none;

    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor *tensor = &weights->tensors[i];
        uint64_t count = 1;
        for (int d = 0; d < tensor->num_dims; d++)
            count *= (uint64_t)tensor->dims[d];
        info->num_params += count;
        info->weight_bytes += tensor->num_bytes;
    }

    if (weights->onnx) {
        info->num_params = weights->onnx->num_params;
        info->weight_bytes = weights->onnx->weight_bytes;
        info->quantization = graph_type(weights->onnx);
    }

    const struct nano_model_config *config = &model->config;
    info->vocab_size = config->vocab_size;
    info->hidden_size = config->hidden_size;
    info->num_layers = config->num_layers;
    info->num_heads = config->num_heads;
    info->num_kv_heads = config->num_kv_heads;
    info->head_dim = config->head_dim;
    info->intermediate_size = config->intermediate_size;
    info->context_length = config->max_position_embeddings;
    if (info->vocab_size == 0 && model->tokenizer) {
        struct nano_tokenizer_info tokenizer;
        nano_tokenizer_get_info(model->tokenizer, &tokenizer);
        info->vocab_size = tokenizer.vocab_size;
    }
    /* general.type of adapters, importance matrices and the like is another word */
    const char *type = metadata_string(weights, "general.type", "model");
    if (!type)
        return nano_error_no_memory(err, "the model's description", 0);
    info->runnable = (weights->num_tensors > 0 || weights->onnx) && strcmp(type, "model") == 0;
    return NANO_OK;
}

/* What follows once the weights are open. A file without a usable tokenizer, or of an architecture
 * that is not known, opens all the same; only a lack of memory is an error here. */
static enum nano_status finish_open(nano_model *model, struct nano_error *err)
{
    struct nano_error local = {0};
    if (nano_model_config_read(&model->config, &model->weights, &local) != NANO_OK)
        model->config = (struct nano_model_config){0};
    if (local.status != NANO_ERR_NO_MEMORY)
        nano_tokenizer_create(&model->tokenizer, &model->weights, &model->tokenizer_error);
    else
        model->tokenizer_error = local;
    if (!model->tokenizer && model->tokenizer_error.status != NANO_ERR_NO_MEMORY)
        nano_lora_refuse(&model->weights, &model->tokenizer_error);
    if (model->tokenizer_error.status == NANO_ERR_NO_MEMORY)
        return nano_error_set(err, NANO_ERR_NO_MEMORY, "%s", model->tokenizer_error.message);
    return fill_info(model, err);
}

/* Writes the path of the built-in model: beside the tests, installed, or beside the program. */
static enum nano_status find_builtin(char *path, size_t path_bytes, struct nano_error *err)
{
    char beside[MAX_PATH_BYTES];
    const char *folders[3] = {getenv("NANOVLLM_DATA_DIR"), NANO_PKGDATADIR, NULL};
    if (nano_os_data_dir(beside, sizeof beside))
        folders[2] = beside;
    for (int i = 0; i < 3; i++) {
        if (!folders[i] || !*folders[i])
            continue;
        int length = snprintf(path, path_bytes, "%s/%s", folders[i], BUILTIN_FILE);
        if (length > 0 && (size_t)length < path_bytes && nano_os_file_exists(path))
            return NANO_OK;
    }
    return nano_error_set(
        err, NANO_ERR_IO,
        "built-in model: no " BUILTIN_FILE " in %s, %s or $NANOVLLM_DATA_DIR (%s)", NANO_PKGDATADIR,
        folders[2] ? folders[2] : "the program's data folder", folders[0] ? folders[0] : "not set");
}

struct nano_model_params nano_model_params_default(void)
{
    return (struct nano_model_params){.quantization = NULL};
}

enum nano_status nano_model_open(nano_model **out, const char *path, struct nano_error *err)
{
    const struct nano_model_params params = nano_model_params_default();
    return nano_model_open_with(out, path, &params, err);
}

enum nano_status nano_model_open_with(nano_model **out, const char *path,
                                      const struct nano_model_params *params,
                                      struct nano_error *err)
{
    enum nano_status status;
    char builtin[MAX_PATH_BYTES + sizeof BUILTIN_FILE + 1];
    nano_model *model = NULL;
    *out = NULL;
    if (!path) {
        NANO_TRY(find_builtin(builtin, sizeof builtin, err));
        path = builtin;
    }
    model = nano_mem_calloc(1, sizeof *model);
    if (!model)
        return nano_error_no_memory(err, "a model", sizeof *model);
    if (nano_onnx_is_path(path))
        NANO_TRY(nano_onnx_open(&model->weights, path, err));
    else if (nano_os_is_folder(path))
        NANO_TRY(nano_hf_folder_open(&model->weights, path, err));
    else if (nano_hf_tokenizer_is_path(path))
        NANO_TRY(nano_hf_tokenizer_open(&model->weights, path, err));
    else
        NANO_TRY(nano_gguf_open(&model->weights, path, err));
    if (params->quantization && model->weights.onnx) {
        status = nano_error_set(err, NANO_ERR_UNSUPPORTED,
                                "%s: an ONNX graph runs as it is, its weights cannot be quantised",
                                path);
        goto fail;
    }
    if (params->quantization)
        NANO_TRY(nano_weights_quantize(&model->weights, params->quantization, err));
    NANO_TRY(finish_open(model, err));
    *out = model;
    return NANO_OK;
fail:
    nano_model_close(model);
    return status;
}

enum nano_status nano_model_open_synthetic(nano_model **out, const char *spec, uint64_t seed,
                                           struct nano_error *err)
{
    enum nano_status status;
    *out = NULL;
    nano_model *model = nano_mem_calloc(1, sizeof *model);
    if (!model)
        return nano_error_no_memory(err, "a model", sizeof *model);
    NANO_TRY(nano_synthetic_open(&model->weights, spec, seed, err));
    NANO_TRY(finish_open(model, err));
    *out = model;
    return NANO_OK;
fail:
    nano_model_close(model);
    return status;
}

void nano_model_close(nano_model *model)
{
    if (!model)
        return;
    nano_tokenizer_destroy(model->tokenizer);
    nano_weights_close(&model->weights);
    nano_mem_free(model);
}

enum nano_status nano_model_save_gguf(const nano_model *model, const char *path,
                                      struct nano_error *err)
{
    return nano_gguf_save(&model->weights, path, err);
}

const struct nano_model_info *nano_model_get_info(const nano_model *model)
{
    return &model->info;
}

const nano_tokenizer *nano_model_get_tokenizer(const nano_model *model, struct nano_error *err)
{
    if (!model->tokenizer)
        nano_error_set(err, model->tokenizer_error.status, "%s", model->tokenizer_error.message);
    return model->tokenizer;
}

bool nano_model_get_metadata(const nano_model *model, size_t index, const char **key,
                             const char **type, const char **value)
{
    if (index >= model->weights.num_metadata)
        return false;
    /* the printed text is a cache, no part of the model's state: see the header's promise */
    nano_model *cache = (nano_model *)(uintptr_t)model;
    const struct nano_meta *meta = &model->weights.metadata[index];
    nano_meta_print_type(meta, cache->meta_type, sizeof cache->meta_type);
    nano_meta_print_value(meta, cache->meta_value, sizeof cache->meta_value);
    *key = meta->key.bytes;
    *type = cache->meta_type;
    *value = cache->meta_value;
    return true;
}

bool nano_model_get_tensor(const nano_model *model, size_t index, struct nano_tensor_info *out)
{
    if (index >= model->weights.num_tensors)
        return false;
    const struct nano_tensor *tensor = &model->weights.tensors[index];
    *out = (struct nano_tensor_info){
        .name = tensor->name.bytes,
        .type = nano_format_traits(tensor->format)->name,
        .num_dims = tensor->num_dims,
        .dims = {tensor->dims[0], tensor->dims[1], tensor->dims[2], tensor->dims[3]},
        .num_bytes = tensor->num_bytes,
    };
    return true;
}

enum nano_status nano_model_print_program(const nano_model *model, char **out,
                                          struct nano_error *err)
{
    struct nano_program *program;
    *out = NULL;
    enum nano_status status = nano_program_create(&program, &model->weights, err);
    if (status != NANO_OK)
        return status;
    status = nano_program_print(program, out, err);
    nano_program_destroy(program);
    return status;
}

const char *nano_architecture_name(size_t index)
{
    const struct nano_architecture *architecture = nano_architecture_at(index);
    return architecture ? architecture->name : NULL;
}
