/* GGUF files: opens one, or all parts of a split model, as weights.
 *
 * Parts are named PREFIX-00001-of-00003.gguf and carry split.no (from 0), split.count and
 * split.tensors.count. Metadata is the first part's; tensors are those of all parts in order. */
#include "format/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "format/gguf_part.h"

#define MAX_PARTS 99999 /* what fits the five digits of a name */
#define SUFFIX_BYTES (sizeof "-00001-of-00003.gguf" - 1)

struct split {
    int64_t no, count;   /* 0 and 1 for a model in one file */
    int64_t num_tensors; /* of all parts; -1 if the file does not say */
};

static enum nano_status read_split(struct split *out, const struct nano_gguf_part *part,
                                   const char *name, struct nano_error *err)
{
    enum nano_status status;
    struct nano_weights view = {.path = (char *)(uintptr_t)name,
                                .metadata = part->metadata,
                                .num_metadata = part->num_metadata};
    *out = (struct split){.no = 0, .count = 1, .num_tensors = -1};
    NANO_TRY(nano_meta_get_int(&view, "split.count", 0, MAX_PARTS, &out->count, err));
    if (out->count == 0)
        out->count = 1;
    NANO_TRY(nano_meta_get_int(&view, "split.no", 0, out->count - 1, &out->no, err));
    NANO_TRY(nano_meta_get_int(&view, "split.tensors.count", 0, INT64_MAX, &out->num_tensors, err));
fail:
    return status;
}

static enum nano_status add_file(struct nano_weights *weights, const char *path,
                                 struct nano_error *err)
{
    struct nano_os_file *files =
        nano_mem_realloc(weights->files, weights->num_files + 1, sizeof *weights->files);
    if (!files)
        return nano_error_no_memory(err, "the list of files",
                                    (weights->num_files + 1) * sizeof *files);
    weights->files = files;
    enum nano_status status = nano_os_file_open(&files[weights->num_files], path, err);
    if (status == NANO_OK)
        weights->num_files++;
    return status;
}

static enum nano_status append_tensors(struct nano_weights *weights,
                                       const struct nano_gguf_part *parts, size_t num_parts,
                                       struct nano_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < num_parts; i++)
        total += parts[i].num_tensors;
    struct nano_tensor *tensors = nano_arena_alloc(&weights->arena, total, sizeof *tensors);
    if (!tensors)
        return nano_error_no_memory(err, "tensor infos", total * sizeof *tensors);
    weights->tensors = tensors;
    for (size_t i = 0; i < num_parts; i++) {
        if (parts[i].num_tensors)
            memcpy(&tensors[weights->num_tensors], parts[i].tensors,
                   parts[i].num_tensors * sizeof *tensors);
        weights->num_tensors += parts[i].num_tensors;
    }
    return NANO_OK;
}

/* Reads part `no` of a split model whose opened part said `expected`. */
static enum nano_status open_part(struct nano_weights *weights, const char *path, int64_t no,
                                  const struct split *expected, struct nano_gguf_part *part,
                                  struct nano_error *err)
{
    enum nano_status status;
    struct split split;
    if (!nano_os_file_exists(path))
        return nano_error_set(err, NANO_ERR_IO,
                              "%s: part %" PRId64 " of %" PRId64 " is missing: %s", weights->path,
                              no + 1, expected->count, path);
    NANO_TRY(add_file(weights, path, err));
    const struct nano_os_file *file = &weights->files[weights->num_files - 1];
    NANO_TRY(nano_gguf_part_read(part, file->data, file->num_bytes, path, &weights->arena, err));
    NANO_TRY(read_split(&split, part, path, err));
    if (split.no != no || split.count != expected->count ||
        split.num_tensors != expected->num_tensors)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: is part %" PRId64 " of %" PRId64 " with %" PRId64
                              " tensors in all, expected part %" PRId64 " of %" PRId64
                              " with %" PRId64 " (parts of different models?)",
                              path, split.no + 1, split.count, split.num_tensors, no + 1,
                              expected->count, expected->num_tensors);
fail:
    return status;
}

/* How the name of part `no` (from 0) ends; SUFFIX_BYTES characters. */
static void print_suffix(char *out, size_t out_bytes, int64_t no, int64_t count)
{
    snprintf(out, out_bytes, "-%05d-of-%05d.gguf", (int)no + 1, (int)count);
}

/* `opened` is the part that the caller named and that is in files[0] already. */
static enum nano_status open_parts(struct nano_weights *weights,
                                   const struct nano_gguf_part *opened, const struct split *split,
                                   struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    size_t path_bytes = strlen(weights->path);
    char suffix[32];
    struct nano_gguf_part *parts = NULL;
    char *path = NULL;

    print_suffix(suffix, sizeof suffix, split->no, split->count);
    if (path_bytes < SUFFIX_BYTES || strcmp(weights->path + path_bytes - SUFFIX_BYTES, suffix) != 0)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: is part %" PRId64 " of %" PRId64
                              ", so its name must end in '%s' for the others to be found",
                              weights->path, split->no + 1, split->count, suffix);
    path = nano_mem_strdup(weights->path, path_bytes);
    parts = nano_mem_calloc((size_t)split->count, sizeof *parts);
    if (!path || !parts) {
        status = nano_error_no_memory(err, "the parts of the model",
                                      (size_t)split->count * sizeof *parts);
        goto fail;
    }
    for (int64_t no = 0; no < split->count; no++) {
        print_suffix(suffix, sizeof suffix, no, split->count);
        memcpy(path + path_bytes - SUFFIX_BYTES, suffix, SUFFIX_BYTES);
        if (no == split->no)
            parts[no] = *opened;
        else
            NANO_TRY(open_part(weights, path, no, split, &parts[no], err));
    }
    NANO_TRY(append_tensors(weights, parts, (size_t)split->count, err));
    weights->metadata = parts[0].metadata;
    weights->num_metadata = parts[0].num_metadata;
    if (split->num_tensors >= 0 && (uint64_t)split->num_tensors != weights->num_tensors)
        status =
            nano_error_set(err, NANO_ERR_FORMAT,
                           "%s: key 'split.tensors.count' is %" PRId64 ", but the %" PRId64
                           " parts have %zu tensors",
                           weights->path, split->num_tensors, split->count, weights->num_tensors);
fail:
    nano_mem_free(parts);
    nano_mem_free(path);
    return status;
}

static enum nano_status init(struct nano_weights *out, const char *path, struct nano_error *err)
{
    *out = (struct nano_weights){0};
    nano_arena_init(&out->arena);
    out->path = nano_arena_strdup(&out->arena, path, strlen(path));
    return out->path ? NANO_OK : nano_error_no_memory(err, "the path", strlen(path) + 1);
}

static enum nano_status read_all(struct nano_weights *out, const void *data, size_t num_bytes,
                                 struct nano_error *err)
{
    enum nano_status status;
    struct nano_gguf_part part;
    struct split split;
    NANO_TRY(nano_gguf_part_read(&part, data, num_bytes, out->path, &out->arena, err));
    NANO_TRY(read_split(&split, &part, out->path, err));
    if (split.count > 1 && out->num_files == 0) {
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: is part %" PRId64 " of %" PRId64
                              ", which can only be opened from a file",
                              out->path, split.no + 1, split.count);
    } else if (split.count > 1) {
        NANO_TRY(open_parts(out, &part, &split, err));
    } else {
        out->metadata = part.metadata;
        out->num_metadata = part.num_metadata;
        out->tensors = part.tensors;
        out->num_tensors = part.num_tensors;
    }
    NANO_TRY(nano_weights_finish(out, err));
fail:
    return status;
}

enum nano_status nano_gguf_open(struct nano_weights *out, const char *path, struct nano_error *err)
{
    enum nano_status status;
    NANO_TRY(init(out, path, err));
    NANO_TRY(add_file(out, path, err));
    NANO_TRY(read_all(out, out->files[0].data, out->files[0].num_bytes, err));
    return NANO_OK;
fail:
    nano_weights_close(out);
    return status;
}

enum nano_status nano_gguf_open_memory(struct nano_weights *out, const void *data, size_t num_bytes,
                                       const char *name, struct nano_error *err)
{
    enum nano_status status;
    NANO_TRY(init(out, name, err));
    NANO_TRY(read_all(out, data, num_bytes, err));
    return NANO_OK;
fail:
    nano_weights_close(out);
    return status;
}
