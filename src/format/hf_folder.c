/* Opens a model folder. */
#include "format/hf_folder.h"

#include <string.h>

#include "format/hf_generation.h"
#include "format/hf_tensors.h"
#include "format/hf_tokenizer.h"

#define MAX_PATH_BYTES 4096

void nano_hf_add_name(struct nano_meta_builder *builder, const char *path)
{
    size_t end = strlen(path), begin;
    while (end && path[end - 1] == '/')
        end--;
    for (begin = end; begin && path[begin - 1] != '/';)
        begin--;
    if (begin < end && path[begin] != '.')
        nano_meta_add_string(builder, "general.name", path + begin, end - begin);
}

static enum nano_status read_model(struct nano_meta_builder *builder, const json_t *config,
                                   const char *config_path, struct nano_error *err)
{
    enum nano_status status;
    struct nano_hf_model model;
    struct nano_hf_files files;
    struct nano_weights *weights = builder->weights;
    NANO_TRY(nano_hf_config_read(&model, builder, config, config_path, err));
    NANO_TRY(nano_hf_files_open(&files, weights, weights->path, err));
    NANO_TRY(nano_hf_tensors_make(weights, &model, &files, err));
fail:
    return status;
}

static bool has_file(const char *folder, const char *name)
{
    char path[MAX_PATH_BYTES];
    return nano_hf_path(path, sizeof path, folder, name) && nano_os_file_exists(path);
}

/* Weights need a configuration; without weights a tokenizer is enough. */
static enum nano_status check_complete(const char *folder, bool has_config, bool has_weights,
                                       bool has_tokenizer, struct nano_error *err)
{
    if (has_weights && !has_config)
        return nano_error_set(err, NANO_ERR_IO, "%s: config.json is missing", folder);
    if (has_weights || has_tokenizer)
        return NANO_OK;
    if (has_file(folder, "pytorch_model.bin") || has_file(folder, "pytorch_model.bin.index.json"))
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: has its weights in pytorch_model.bin, expected "
                              "model.safetensors or model.safetensors.index.json",
                              folder);
    return nano_error_set(err, NANO_ERR_IO,
                          "%s: has neither model.safetensors nor model.safetensors.index.json "
                          "nor a tokenizer",
                          folder);
}

enum nano_status nano_hf_folder_open(struct nano_weights *out, const char *folder,
                                     struct nano_error *err)
{
    enum nano_status status;
    char config_path[MAX_PATH_BYTES];
    json_t *config = NULL;
    *out = (struct nano_weights){0};
    nano_arena_init(&out->arena);
    struct nano_meta_builder builder = {.weights = out};
    out->path = nano_arena_strdup(&out->arena, folder, strlen(folder));
    if (!out->path) {
        status = nano_error_no_memory(err, "the path", strlen(folder) + 1);
        goto fail;
    }
    if (!nano_hf_path(config_path, sizeof config_path, folder, "config.json")) {
        status =
            nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%.200s…: the path is too long", folder);
        goto fail;
    }
    const bool has_config = nano_os_file_exists(config_path);
    const bool has_weights = nano_hf_files_exist(folder);
    if (has_config)
        NANO_TRY(nano_hf_json_load(&config, config_path, err));
    if (has_config && has_weights)
        NANO_TRY(read_model(&builder, config, config_path, err));
    NANO_TRY(nano_hf_tokenizer_load(&builder, folder, err));
    NANO_TRY(check_complete(folder, has_config, has_weights,
                            nano_weights_meta(out, "tokenizer.ggml.model") != NULL, err));
    nano_hf_add_name(&builder, folder);
    NANO_TRY(nano_hf_generation_read(&builder, folder, config, err));
    NANO_TRY(nano_meta_build_finish(&builder, err));
    NANO_TRY(nano_weights_finish(out, err));
    json_decref(config);
    return NANO_OK;
fail:
    json_decref(config);
    nano_weights_close(out);
    return status;
}
