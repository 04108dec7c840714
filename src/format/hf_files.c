/* One file or shards. */
#include "format/hf_files.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "format/hf_json.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define MAX_PATH_BYTES 4096

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct nano_safetensor *)a)->name.bytes,
                  ((const struct nano_safetensor *)b)->name.bytes);
}

const struct nano_safetensor *nano_hf_files_find(const struct nano_hf_files *files,
                                                 const char *name)
{
    const struct nano_safetensor key = {.name = {name, 0}};
    return files->num_tensors
               ? bsearch(&key, files->tensors, files->num_tensors, sizeof *files->tensors, by_name)
               : NULL;
}

static bool has(const char *folder, const char *name)
{
    char path[MAX_PATH_BYTES];
    return nano_hf_path(path, sizeof path, folder, name) && nano_os_file_exists(path);
}

bool nano_hf_files_exist(const char *folder)
{
    return has(folder, SINGLE) || has(folder, INDEX);
}

static enum nano_status open_file(struct nano_hf_files *out, struct nano_weights *weights,
                                  const char *folder, const char *name, struct nano_error *err)
{
    char path[MAX_PATH_BYTES];
    if (!nano_hf_path(path, sizeof path, folder, name))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "%.200s: the path is too long",
                              folder);
    struct nano_os_file *files =
        nano_mem_realloc(weights->files, weights->num_files + 1, sizeof *files);
    if (!files)
        return nano_error_no_memory(err, "the list of files",
                                    (weights->num_files + 1) * sizeof *files);
    weights->files = files;
    struct nano_os_file *file = &files[weights->num_files];
    enum nano_status status;
    NANO_TRY(nano_os_file_open(file, path, err));
    weights->num_files++;
    const char *kept = nano_arena_strdup(&weights->arena, path, strlen(path));
    if (!kept)
        return nano_error_no_memory(err, "a path", strlen(path));
    struct nano_safetensor *tensors;
    size_t count;
    NANO_TRY(nano_safetensors_read(&tensors, &count, file->data, file->num_bytes, kept,
                                   &weights->arena, err));
    struct nano_safetensor *all =
        nano_arena_alloc(&weights->arena, out->num_tensors + count, sizeof *all);
    if (!all)
        return nano_error_no_memory(err, "tensor infos", (out->num_tensors + count) * sizeof *all);
    if (out->num_tensors)
        memcpy(all, out->tensors, out->num_tensors * sizeof *all);
    if (count)
        memcpy(all + out->num_tensors, tensors, count * sizeof *all);
    out->tensors = all;
    out->num_tensors += count;
fail:
    return status;
}

/* The file name behind a path's last slash. */
static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens every shard of the map once, in the order of their names. */
static enum nano_status open_shards(struct nano_hf_files *out, struct nano_weights *weights,
                                    const char *folder, const json_t *map, const char *index_path,
                                    struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const char *tensor, **shards = nano_mem_alloc(json_object_size(map), sizeof *shards);
    json_t *value;
    size_t count = 0;
    if (!shards)
        return nano_error_no_memory(err, "the list of shards", json_object_size(map));
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        const char *shard = json_string_value(value);
        if (!shard || !*shard || strchr(shard, '/')) {
            status = nano_error_set(err, NANO_ERR_FORMAT,
                                    "%s: weight_map of '%.200s' is no name of a file in the folder",
                                    index_path, tensor);
            goto fail;
        }
        shards[count++] = shard;
    }
    qsort(shards, count, sizeof *shards, by_text);
    for (size_t i = 0; i < count; i++) {
        if (i && strcmp(shards[i], shards[i - 1]) == 0)
            continue;
        if (!has(folder, shards[i])) {
            status = nano_error_set(err, NANO_ERR_IO, "%s: weight_map: shard '%.200s' is missing",
                                    index_path, shards[i]);
            goto fail;
        }
        NANO_TRY(open_file(out, weights, folder, shards[i], err));
    }
fail:
    nano_mem_free(shards);
    return status;
}

/* Keeps the tensors that are where the map has them, and checks that these are all of it. */
static enum nano_status keep_mapped(struct nano_hf_files *out, const json_t *map,
                                    const char *index_path, struct nano_error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < out->num_tensors; i++) {
        const struct nano_safetensor *tensor = &out->tensors[i];
        const char *shard = json_string_value(json_object_get(map, tensor->name.bytes));
        if (shard && strcmp(shard, file_name(tensor->path)) == 0)
            out->tensors[kept++] = *tensor;
    }
    out->num_tensors = kept;
    qsort(out->tensors, kept, sizeof *out->tensors, by_name);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        if (!nano_hf_files_find(out, name))
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: weight_map: tensor '%.200s' is not in '%.200s'", index_path,
                                  name, json_string_value(value));
    }
    return NANO_OK;
}

enum nano_status nano_hf_files_open(struct nano_hf_files *out, struct nano_weights *weights,
                                    const char *folder, struct nano_error *err)
{
    enum nano_status status;
    char path[MAX_PATH_BYTES];
    json_t *index = NULL;
    *out = (struct nano_hf_files){0};
    if (has(folder, SINGLE)) {
        NANO_TRY(open_file(out, weights, folder, SINGLE, err));
        qsort(out->tensors, out->num_tensors, sizeof *out->tensors, by_name);
        return NANO_OK;
    }
    nano_hf_path(path, sizeof path, folder, INDEX);
    NANO_TRY(nano_hf_json_load(&index, path, err));
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        status = nano_error_set(err, NANO_ERR_FORMAT, "%s: weight_map is missing or empty", path);
        goto fail;
    }
    NANO_TRY(open_shards(out, weights, folder, map, path, err));
    NANO_TRY(keep_mapped(out, map, path, err));
fail:
    json_decref(index);
    return status;
}
