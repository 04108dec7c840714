/* Importance matrices: writing files (declared in imatrix.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "format/gguf.h"
#include "format/imatrix_legacy.h"
#include "format/little_endian.h"

#define TEMPORARY_SUFFIX ".tmp"

/* A matrix [cols, rows], or [cols] if it is one row, of floats, zeros at first, named after a
 * weight; NULL without memory. */
static unsigned char *add_tensor(struct nano_weights *weights, const struct nano_string *weight,
                                 const char *suffix, size_t cols, size_t rows)
{
    const size_t name_bytes = weight->num_bytes + strlen(suffix);
    char *name = nano_arena_alloc(&weights->arena, name_bytes + 1, 1);
    unsigned char *data = nano_arena_alloc(&weights->arena, cols * rows, sizeof(float));
    if (!name || !data)
        return NULL;
    memcpy(name, weight->bytes, weight->num_bytes);
    memcpy(name + weight->num_bytes, suffix, strlen(suffix));
    weights->tensors[weights->num_tensors++] =
        (struct nano_tensor){.name = {name, name_bytes},
                             .format = NANO_FORMAT_F32,
                             .num_dims = rows > 1 ? 2 : 1,
                             .dims = {(int64_t)cols, (int64_t)rows, 1, 1},
                             .data = data,
                             .num_bytes = cols * rows * sizeof(float)};
    return data;
}

static bool add_entry(struct nano_weights *weights, const struct nano_importance_entry *entry)
{
    const size_t rows = entry->num_counts;
    unsigned char *sums =
        add_tensor(weights, &entry->name, ".in_sum2", entry->num_values / rows, rows);
    unsigned char *counts = sums ? add_tensor(weights, &entry->name, ".counts", 1, rows) : NULL;
    if (!counts)
        return false;
    for (size_t i = 0; i < entry->num_values; i++)
        nano_le_store(sums + 4 * i, nano_le_bits_f32((float)entry->sums[i]), 4);
    for (size_t i = 0; i < rows; i++)
        nano_le_store(counts + 4 * i, nano_le_bits_f32((float)entry->counts[i]), 4);
    return true;
}

static enum nano_status save_gguf(const struct nano_importance *importance, const char *path,
                                  struct nano_error *err)
{
    enum nano_status status;
    struct nano_weights weights = {0};
    struct nano_meta_builder builder = {.weights = &weights};
    nano_arena_init(&weights.arena);
    nano_meta_add_cstring(&builder, "general.type", "imatrix");
    struct nano_string *datasets =
        nano_meta_add_strings(&builder, "imatrix.datasets", importance->num_datasets);
    for (size_t i = 0; i < importance->num_datasets && datasets; i++)
        nano_meta_copy_string(&builder, &datasets[i], importance->datasets[i].bytes,
                              importance->datasets[i].num_bytes);
    nano_meta_add_u32(&builder, "imatrix.chunk_count", (uint32_t)importance->chunk_count);
    nano_meta_add_u32(&builder, "imatrix.chunk_size", (uint32_t)importance->chunk_size);
    NANO_TRY(nano_meta_build_finish(&builder, err));
    weights.tensors =
        nano_arena_alloc(&weights.arena, 2 * importance->num_entries, sizeof *weights.tensors);
    bool ok = weights.tensors != NULL;
    for (size_t i = 0; i < importance->num_entries && ok; i++)
        ok = add_entry(&weights, &importance->entries[i]);
    if (!ok) {
        status = nano_error_no_memory(err, "an importance file", weights.arena.total_bytes);
        goto fail;
    }
    NANO_TRY(nano_gguf_save(&weights, path, err));
fail:
    nano_weights_close(&weights);
    return status;
}

static enum nano_status save_legacy(const struct nano_importance *importance, const char *path,
                                    struct nano_error *err)
{
    const size_t path_bytes = strlen(path);
    int error = 0;
    char *temporary = nano_mem_alloc(path_bytes + sizeof TEMPORARY_SUFFIX, 1);
    if (!temporary)
        return nano_error_no_memory(err, "a path", path_bytes + sizeof TEMPORARY_SUFFIX);
    memcpy(temporary, path, path_bytes);
    memcpy(temporary + path_bytes, TEMPORARY_SUFFIX, sizeof TEMPORARY_SUFFIX);
    errno = 0;
    FILE *file = fopen(temporary, "wb");
    if (!file || !nano_importance_write_legacy(importance, file))
        error = errno ? errno : EIO;
    if (file && fclose(file) != 0 && !error)
        error = errno;
    if (!error && rename(temporary, path) != 0)
        error = errno;
    if (error && file)
        remove(temporary);
    nano_mem_free(temporary);
    return error ? nano_error_set(err, NANO_ERR_IO, "%s: cannot write: %s", path, strerror(error))
                 : NANO_OK;
}

enum nano_status nano_importance_save(const struct nano_importance *importance, const char *path,
                                      struct nano_error *err)
{
    const size_t num_bytes = strlen(path);
    const bool legacy = num_bytes >= 4 && strcmp(path + num_bytes - 4, ".dat") == 0;
    return legacy ? save_legacy(importance, path, err) : save_gguf(importance, path, err);
}
