/* Importance matrices: opening files of both kinds, and looking up what they say. */
#include "format/imatrix.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "format/gguf.h"
#include "format/imatrix_legacy.h"
#include "format/little_endian.h"

#define SUM_SUFFIX ".in_sum2"
#define COUNT_SUFFIX ".counts"
#define MAX_COUNT 9007199254740992.0 /* beyond it doubles skip whole numbers */
#define MAX_METADATA_BYTES 127       /* of a text in a quantised model, as llama.cpp cuts it */

static bool ends_in(const struct nano_string *name, const char *suffix)
{
    const size_t num_bytes = strlen(suffix);
    return name->num_bytes > num_bytes &&
           memcmp(name->bytes + name->num_bytes - num_bytes, suffix, num_bytes) == 0;
}

/* The tensor with that suffix in place of the other. */
static const struct nano_tensor *find_partner(struct nano_importance *out,
                                              const struct nano_weights *file,
                                              const struct nano_tensor *tensor, const char *suffix,
                                              const char *wanted)
{
    const size_t stem = tensor->name.num_bytes - strlen(suffix);
    char *name = nano_arena_alloc(&out->arena, stem + strlen(wanted) + 1, 1);
    if (!name)
        return NULL;
    memcpy(name, tensor->name.bytes, stem);
    memcpy(name + stem, wanted, strlen(wanted));
    return nano_weights_find(file, name);
}

static size_t num_elements(const struct nano_tensor *tensor)
{
    return tensor->num_bytes / sizeof(float);
}

static enum nano_status fill_entry(struct nano_importance_entry *entry,
                                   const struct nano_importance *out,
                                   const struct nano_tensor *sums, const struct nano_tensor *counts,
                                   struct nano_error *err)
{
    const unsigned char *sum_bytes = sums->data, *count_bytes = counts->data;
    for (size_t i = 0; i < entry->num_values; i++) {
        entry->sums[i] = (double)nano_le_load_f32(sum_bytes + 4 * i);
        if (!isfinite(entry->sums[i]) || entry->sums[i] < 0)
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: tensor '%.200s': value %zu is %g, expected a sum of squares",
                                  out->path, sums->name.bytes, i, entry->sums[i]);
    }
    for (size_t i = 0; i < entry->num_counts; i++) {
        const double count = (double)nano_le_load_f32(count_bytes + 4 * i);
        if (!(count >= 0 && count <= MAX_COUNT))
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: tensor '%.200s': value %zu is %g, expected a number of "
                                  "tokens",
                                  out->path, counts->name.bytes, i, count);
        entry->counts[i] = (int64_t)llround(count);
    }
    return NANO_OK;
}

/* An entry from NAME.in_sum2; other tensors must be the counts of one. */
static enum nano_status read_tensor(struct nano_importance *out, const struct nano_weights *file,
                                    const struct nano_tensor *tensor, struct nano_error *err)
{
    enum nano_status status;
    struct nano_importance_entry *entry;
    const bool is_sum = ends_in(&tensor->name, SUM_SUFFIX);
    if (!is_sum && !ends_in(&tensor->name, COUNT_SUFFIX))
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s': expected names that end in '" SUM_SUFFIX
                              "' or '" COUNT_SUFFIX "': this is no importance matrix",
                              out->path, tensor->name.bytes);
    const char *suffix = is_sum ? SUM_SUFFIX : COUNT_SUFFIX,
               *wanted = is_sum ? COUNT_SUFFIX : SUM_SUFFIX;
    const struct nano_tensor *partner = find_partner(out, file, tensor, suffix, wanted);
    if (!partner)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s': expected one that ends in '%s' beside it",
                              out->path, tensor->name.bytes, wanted);
    if (tensor->format != NANO_FORMAT_F32)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: tensor '%.200s': is %s, expected F32",
                              out->path, tensor->name.bytes,
                              nano_format_traits(tensor->format)->name);
    if (!is_sum)
        return NANO_OK;
    const size_t num_values = num_elements(tensor), num_counts = num_elements(partner);
    if (partner->format != NANO_FORMAT_F32 || num_counts == 0 || num_values == 0 ||
        num_values % num_counts != 0)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: tensor '%.200s': %zu values, expected a multiple of the %zu F32 "
                              "counts",
                              out->path, tensor->name.bytes, num_values, num_counts);
    const struct nano_string name = {tensor->name.bytes,
                                     tensor->name.num_bytes - (sizeof SUM_SUFFIX - 1)};
    NANO_TRY(nano_importance_append(out, &name, num_values, num_counts, &entry, err));
    NANO_TRY(fill_entry(entry, out, tensor, partner, err));
fail:
    return status;
}

static enum nano_status read_metadata(struct nano_importance *out, const struct nano_weights *file,
                                      struct nano_error *err)
{
    enum nano_status status;
    static const char *const required[] = {"imatrix.datasets", "imatrix.chunk_count",
                                           "imatrix.chunk_size"};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        if (!nano_weights_meta(file, required[i]))
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: key '%s' is missing: this is no importance matrix",
                                  out->path, required[i]);
    NANO_TRY(nano_meta_get_int(file, "imatrix.chunk_count", 0, UINT32_MAX, &out->chunk_count, err));
    NANO_TRY(nano_meta_get_int(file, "imatrix.chunk_size", 0, UINT32_MAX, &out->chunk_size, err));
    const struct nano_meta *datasets = nano_weights_meta(file, required[0]);
    if (datasets->type != NANO_META_ARRAY || datasets->element_type != NANO_META_STRING)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: key '%s': expected an array of strings",
                              out->path, required[0]);
    for (size_t i = 0; i < datasets->num_elements; i++)
        NANO_TRY(nano_importance_add_dataset(out, datasets->strings[i].bytes,
                                             datasets->strings[i].num_bytes, err));
fail:
    return status;
}

static enum nano_status read_gguf(struct nano_importance *out, struct nano_error *err)
{
    struct nano_weights file;
    enum nano_status status = nano_gguf_open(&file, out->path, err);
    if (status != NANO_OK)
        return status;
    NANO_TRY(read_metadata(out, &file, err));
    for (size_t i = 0; i < file.num_tensors; i++)
        NANO_TRY(read_tensor(out, &file, &file.tensors[i], err));
fail:
    nano_weights_close(&file);
    return status;
}

/* Divided as llama.cpp does, in float, so that both quantise to the same bytes. */
static enum nano_status make_means(struct nano_importance *out, struct nano_error *err)
{
    for (size_t i = 0; i < out->num_entries; i++) {
        struct nano_importance_entry *entry = &out->entries[i];
        const size_t per_count = entry->num_values / entry->num_counts;
        entry->means = nano_arena_alloc(&out->arena, entry->num_values, sizeof *entry->means);
        if (!entry->means)
            return nano_error_no_memory(err, "an importance matrix",
                                        entry->num_values * sizeof *entry->means);
        for (size_t k = 0; k < entry->num_values; k++) {
            const int64_t count = entry->counts[k / per_count];
            const float sum = (float)entry->sums[k];
            entry->means[k] = count > 0 ? sum / (float)count : out->is_legacy ? sum : 1;
        }
    }
    return NANO_OK;
}

enum nano_status nano_importance_open(struct nano_importance *out, const char *path,
                                      struct nano_error *err)
{
    enum nano_status status;
    struct nano_os_file file = {0};
    NANO_TRY(nano_importance_init(out, 0, err));
    NANO_TRY(nano_os_file_open(&file, path, err));
    out->path = nano_arena_strdup(&out->arena, path, strlen(path));
    if (!out->path) {
        status = nano_error_no_memory(err, "the path", strlen(path) + 1);
        goto fail;
    }
    if (file.num_bytes >= 4 && memcmp(file.data, "GGUF", 4) == 0)
        NANO_TRY(read_gguf(out, err));
    else
        NANO_TRY(nano_importance_read_legacy(out, file.data, file.num_bytes, err));
    if (out->num_entries == 0) {
        status = nano_error_set(err, NANO_ERR_FORMAT,
                                "%s: has no entries, expected an importance matrix", path);
        goto fail;
    }
    NANO_TRY(nano_importance_finish(out, err));
    NANO_TRY(make_means(out, err));
    nano_os_file_close(&file);
    return NANO_OK;
fail:
    nano_os_file_close(&file);
    nano_importance_close(out);
    return status;
}

enum nano_status nano_importance_find(const struct nano_importance *importance, const char *weight,
                                      int64_t cols, int64_t num_matrices, const float **out,
                                      struct nano_error *err)
{
    const struct nano_string name = {weight, strlen(weight)};
    const struct nano_importance_entry *entry = nano_importance_lookup(importance, &name);
    *out = NULL;
    if (!entry)
        return NANO_OK;
    if (entry->num_values != (size_t)cols * (size_t)num_matrices)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: entry '%.200s': %zu values, expected %" PRId64
                              " columns of %" PRId64 " (is it another model's?)",
                              importance->path, weight, entry->num_values, cols, num_matrices);
    *out = entry->means;
    return NANO_OK;
}

static void add_text(struct nano_meta_builder *builder, const char *key, const char *text,
                     size_t num_bytes)
{
    nano_meta_add_string(builder, key, text,
                         num_bytes < MAX_METADATA_BYTES ? num_bytes : MAX_METADATA_BYTES);
}

void nano_importance_add_metadata(const struct nano_importance *importance,
                                  struct nano_meta_builder *builder)
{
    add_text(builder, "quantize.imatrix.file", importance->path, strlen(importance->path));
    if (importance->num_datasets)
        add_text(builder, "quantize.imatrix.dataset", importance->datasets[0].bytes,
                 importance->datasets[0].num_bytes);
    nano_meta_add_u32(builder, "quantize.imatrix.entries_count", (uint32_t)importance->num_entries);
    if (importance->chunk_count > 0)
        nano_meta_add_u32(builder, "quantize.imatrix.chunks_count",
                          (uint32_t)importance->chunk_count);
}
