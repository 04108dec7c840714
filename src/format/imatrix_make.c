/* Importance matrices: entries, and what is added to them (declared in imatrix.h). */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "format/imatrix.h"

enum nano_status nano_importance_init(struct nano_importance *out, int64_t chunk_size,
                                      struct nano_error *err)
{
    *out = (struct nano_importance){.chunk_size = chunk_size};
    nano_arena_init(&out->arena);
    out->path = nano_arena_strdup(&out->arena, "", 0);
    return out->path ? NANO_OK : nano_error_no_memory(err, "an importance matrix", 1);
}

void nano_importance_close(struct nano_importance *importance)
{
    nano_mem_free(importance->entries);
    nano_mem_free(importance->datasets);
    nano_arena_deinit(&importance->arena);
    *importance = (struct nano_importance){0};
}

static int compare_names(const struct nano_string *a, const struct nano_string *b)
{
    const size_t shorter = a->num_bytes < b->num_bytes ? a->num_bytes : b->num_bytes;
    const int order = memcmp(a->bytes, b->bytes, shorter);
    return order ? order : (a->num_bytes > b->num_bytes) - (a->num_bytes < b->num_bytes);
}

static int compare_entries(const void *a, const void *b)
{
    return compare_names(&((const struct nano_importance_entry *)a)->name,
                         &((const struct nano_importance_entry *)b)->name);
}

/* Where the name is or belongs. */
static size_t find_place(const struct nano_importance *importance, const struct nano_string *name)
{
    size_t begin = 0, end = importance->num_entries;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if (compare_names(&importance->entries[middle].name, name) < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

struct nano_importance_entry *nano_importance_lookup(const struct nano_importance *importance,
                                                     const struct nano_string *weight)
{
    const size_t place = find_place(importance, weight);
    const bool found = place < importance->num_entries &&
                       compare_names(&importance->entries[place].name, weight) == 0;
    return found ? &importance->entries[place] : NULL;
}

static enum nano_status insert(struct nano_importance *importance, size_t place,
                               const struct nano_string *weight, size_t num_values,
                               size_t num_counts, struct nano_importance_entry **out,
                               struct nano_error *err)
{
    struct nano_arena *arena = &importance->arena;
    struct nano_importance_entry entry = {
        .name = {nano_arena_strdup(arena, weight->bytes, weight->num_bytes), weight->num_bytes},
        .num_values = num_values,
        .num_counts = num_counts,
        .sums = nano_arena_alloc(arena, num_values, sizeof *entry.sums),
        .counts = nano_arena_alloc(arena, num_counts, sizeof *entry.counts)};
    void *entries = importance->entries;
    if (!entry.name.bytes || !entry.sums || !entry.counts ||
        !nano_mem_grow(&entries, &importance->capacity, importance->num_entries + 1, sizeof entry))
        return nano_error_no_memory(err, "an importance matrix", num_values * sizeof *entry.sums);
    importance->entries = entries;
    memmove(&importance->entries[place + 1], &importance->entries[place],
            (importance->num_entries - place) * sizeof entry);
    importance->entries[place] = entry;
    importance->num_entries++;
    *out = &importance->entries[place];
    return NANO_OK;
}

enum nano_status nano_importance_append(struct nano_importance *importance,
                                        const struct nano_string *weight, size_t num_values,
                                        size_t num_counts, struct nano_importance_entry **out,
                                        struct nano_error *err)
{
    return insert(importance, importance->num_entries, weight, num_values, num_counts, out, err);
}

enum nano_status nano_importance_finish(struct nano_importance *importance, struct nano_error *err)
{
    struct nano_importance_entry *entries = importance->entries;
    if (importance->num_entries)
        qsort(entries, importance->num_entries, sizeof *entries, compare_entries);
    for (size_t i = 1; i < importance->num_entries; i++)
        if (compare_entries(&entries[i - 1], &entries[i]) == 0)
            return nano_error_set(err, NANO_ERR_FORMAT, "%s: entry '%.200s' occurs twice",
                                  importance->path, entries[i].name.bytes);
    return NANO_OK;
}

static enum nano_status spread_count(struct nano_importance *importance,
                                     struct nano_importance_entry *entry, size_t num_counts,
                                     struct nano_error *err)
{
    int64_t *counts = nano_arena_alloc(&importance->arena, num_counts, sizeof *counts);
    if (!counts)
        return nano_error_no_memory(err, "an importance matrix", num_counts * sizeof *counts);
    for (size_t i = 0; i < num_counts; i++)
        counts[i] = entry->counts[0];
    entry->counts = counts;
    entry->num_counts = num_counts;
    return NANO_OK;
}

enum nano_status nano_importance_entry(struct nano_importance *importance,
                                       const struct nano_string *weight, size_t num_values,
                                       size_t num_counts, struct nano_importance_entry **out,
                                       struct nano_error *err)
{
    struct nano_importance_entry *entry = nano_importance_lookup(importance, weight);
    enum nano_status status = NANO_OK;
    if (!entry)
        return insert(importance, find_place(importance, weight), weight, num_values, num_counts,
                      out, err);
    if (entry->num_values != num_values)
        return nano_error_set(
            err, NANO_ERR_INVALID_ARGUMENT,
            "importance of '%.200s': %zu values, but %zu are there already (is it "
            "another model's?)",
            entry->name.bytes, num_values, entry->num_values);
    if (entry->num_counts == 1 && num_counts > 1)
        NANO_TRY(spread_count(importance, entry, num_counts, err));
    if (entry->num_counts != num_counts && num_counts != 1)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "importance of '%.200s': %zu counts, but %zu are there already",
                              entry->name.bytes, num_counts, entry->num_counts);
    *out = entry;
fail:
    return status;
}

enum nano_status nano_importance_add_dataset(struct nano_importance *importance, const char *name,
                                             size_t num_bytes, struct nano_error *err)
{
    struct nano_string *datasets =
        nano_mem_realloc(importance->datasets, importance->num_datasets + 1, sizeof *datasets);
    if (datasets)
        importance->datasets = datasets;
    char *copy = nano_arena_strdup(&importance->arena, name, num_bytes);
    if (!datasets || !copy)
        return nano_error_no_memory(err, "the list of datasets", num_bytes);
    datasets[importance->num_datasets++] = (struct nano_string){copy, num_bytes};
    return NANO_OK;
}

void nano_importance_count_chunks(struct nano_importance *importance)
{
    int64_t most = 0;
    for (size_t i = 0; i < importance->num_entries; i++)
        for (size_t k = 0; k < importance->entries[i].num_counts; k++)
            if (importance->entries[i].counts[k] > most)
                most = importance->entries[i].counts[k];
    importance->chunk_count = most / importance->chunk_size;
}

enum nano_status nano_importance_merge(struct nano_importance *to,
                                       const struct nano_importance *from, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const int64_t scale = from->is_legacy ? to->chunk_size : 1;
    for (size_t i = 0; i < from->num_entries; i++) {
        const struct nano_importance_entry *in = &from->entries[i];
        struct nano_importance_entry *out;
        NANO_TRY(nano_importance_entry(to, &in->name, in->num_values, in->num_counts, &out, err));
        for (size_t k = 0; k < in->num_values; k++)
            out->sums[k] += in->sums[k] * (double)scale;
        for (size_t k = 0; k < out->num_counts; k++)
            out->counts[k] += in->counts[in->num_counts == 1 ? 0 : k] * scale;
    }
    nano_importance_count_chunks(to);
    for (size_t i = 0; i < from->num_datasets; i++)
        NANO_TRY(nano_importance_add_dataset(to, from->datasets[i].bytes,
                                             from->datasets[i].num_bytes, err));
fail:
    if (status != NANO_OK && from->path[0])
        nano_error_prefix(err, "%s", from->path);
    return status;
}
