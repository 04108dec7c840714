/* The legacy kind of importance file. */
#include "format/imatrix_legacy.h"

#include <math.h>
#include <string.h>

#include "format/little_endian.h"

#define MAX_NAME_BYTES 4096

struct reader {
    const unsigned char *data;
    size_t num_bytes, position;
};

static const unsigned char *take(struct reader *reader, size_t num_bytes)
{
    if (num_bytes > reader->num_bytes - reader->position)
        return NULL;
    reader->position += num_bytes;
    return reader->data + reader->position - num_bytes;
}

static bool take_i32(struct reader *reader, int64_t *out)
{
    const unsigned char *bytes = take(reader, 4);
    if (bytes)
        *out = nano_le_load_signed(bytes, 4);
    return bytes != NULL;
}

static enum nano_status truncated(const struct nano_importance *out, const char *what, int64_t i,
                                  struct nano_error *err)
{
    return nano_error_set(err, NANO_ERR_FORMAT,
                          "%s: %s of entry %lld is not in the file: this is no importance matrix, "
                          "or a truncated one",
                          out->path, what, (long long)i + 1);
}

/* Control characters are refused, so that messages stay one line. */
static bool is_name(const unsigned char *bytes, size_t num_bytes)
{
    for (size_t i = 0; i < num_bytes; i++)
        if (bytes[i] < 32 || bytes[i] == 127)
            return false;
    return true;
}

static enum nano_status read_values(struct nano_importance_entry *entry, const char *path,
                                    const unsigned char *bytes, struct nano_error *err)
{
    for (size_t i = 0; i < entry->num_values; i++) {
        entry->sums[i] = (double)nano_le_load_f32(bytes + 4 * i);
        if (!isfinite(entry->sums[i]) || entry->sums[i] < 0)
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: entry '%.200s': value %zu is %g, expected a sum of squares",
                                  path, entry->name.bytes, i, entry->sums[i]);
    }
    return NANO_OK;
}

static enum nano_status read_entry(struct nano_importance *out, struct reader *reader, int64_t i,
                                   struct nano_error *err)
{
    enum nano_status status;
    struct nano_importance_entry *entry;
    int64_t name_bytes, calls, num_values;
    const unsigned char *name, *values;
    if (!take_i32(reader, &name_bytes) || name_bytes < 1 || name_bytes > MAX_NAME_BYTES ||
        (name = take(reader, (size_t)name_bytes)) == NULL || !is_name(name, (size_t)name_bytes))
        return truncated(out, "the name", i, err);
    if (!take_i32(reader, &calls) || calls < 0)
        return truncated(out, "the number of calls", i, err);
    if (!take_i32(reader, &num_values) || num_values < 1 ||
        (values = take(reader, 4 * (size_t)num_values)) == NULL)
        return truncated(out, "a value", i, err);
    const struct nano_string string = {(const char *)name, (size_t)name_bytes};
    NANO_TRY(nano_importance_append(out, &string, (size_t)num_values, 1, &entry, err));
    entry->counts[0] = calls;
    NANO_TRY(read_values(entry, out->path, values, err));
fail:
    return status;
}

enum nano_status nano_importance_read_legacy(struct nano_importance *out, const void *data,
                                             size_t num_bytes, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct reader reader = {data, num_bytes, 0};
    int64_t num_entries, length;
    const unsigned char *dataset;
    out->is_legacy = true;
    if (!take_i32(&reader, &num_entries) || num_entries < 1)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: has no entries, expected an importance matrix", out->path);
    for (int64_t i = 0; i < num_entries; i++)
        NANO_TRY(read_entry(out, &reader, i, err));
    /* What follows is not in files of the oldest programs. */
    if (take_i32(&reader, &out->chunk_count) && take_i32(&reader, &length) && length > 0 &&
        (dataset = take(&reader, (size_t)length)) != NULL)
        NANO_TRY(nano_importance_add_dataset(out, (const char *)dataset, (size_t)length, err));
fail:
    return status;
}

/* ---- writing ---- */

static bool put_i32(FILE *file, int64_t value)
{
    unsigned char bytes[4];
    nano_le_store(bytes, (uint64_t)(value < INT32_MAX ? value : INT32_MAX), sizeof bytes);
    return fwrite(bytes, sizeof bytes, 1, file) == 1;
}

static bool put_string(FILE *file, const struct nano_string *string)
{
    return put_i32(file, (int64_t)string->num_bytes) &&
           fwrite(string->bytes, 1, string->num_bytes, file) == string->num_bytes;
}

static int64_t most_tokens(const struct nano_importance_entry *entry)
{
    int64_t most = 0;
    for (size_t i = 0; i < entry->num_counts; i++)
        most = entry->counts[i] > most ? entry->counts[i] : most;
    return most;
}

/* A matrix without tokens gets ones: the kind has no other way to say it. */
static bool put_entry(FILE *file, const struct nano_importance_entry *entry, int64_t chunk_size)
{
    const size_t per_count = entry->num_values / entry->num_counts;
    const int64_t calls = (most_tokens(entry) + chunk_size - 1) / chunk_size;
    bool ok = put_string(file, &entry->name) && put_i32(file, calls) &&
              put_i32(file, (int64_t)entry->num_values);
    for (size_t i = 0; i < entry->num_values && ok; i++) {
        const int64_t count = entry->counts[i / per_count];
        const float mean = count > 0 ? (float)entry->sums[i] / (float)count : 1;
        unsigned char bytes[4];
        nano_le_store(bytes, nano_le_bits_f32(mean * (float)calls), sizeof bytes);
        ok = fwrite(bytes, sizeof bytes, 1, file) == 1;
    }
    return ok;
}

bool nano_importance_write_legacy(const struct nano_importance *importance, FILE *file)
{
    const struct nano_string none = {"", 0};
    const int64_t chunk_size = importance->chunk_size > 0 ? importance->chunk_size : 1;
    int64_t num_entries = 0;
    for (size_t i = 0; i < importance->num_entries; i++)
        num_entries += most_tokens(&importance->entries[i]) > 0;
    bool ok = put_i32(file, num_entries);
    for (size_t i = 0; i < importance->num_entries && ok; i++)
        if (most_tokens(&importance->entries[i]) > 0)
            ok = put_entry(file, &importance->entries[i], chunk_size);
    return ok && put_i32(file, importance->chunk_count) &&
           put_string(file, importance->num_datasets
                                ? &importance->datasets[importance->num_datasets - 1]
                                : &none);
}
