/* Importance matrices: for each weight matrix the sums, over the tokens of some text, of the
 * squares of what each of its columns was multiplied with.
 *
 * Two kinds of files, both llama.cpp's (tools/imatrix):
 *
 *   GGUF     general.type = "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size;
 *            per weight NAME.in_sum2 [cols, matrices] and NAME.counts [1, matrices or 1], all F32
 *   legacy   n, then n times (name, calls, values, f32 sums / tokens * calls), then calls, dataset;
 *            numbers are i32, texts are preceded by their length, little-endian
 *
 * A weight with experts has as many matrices; each counts its own tokens. */
#ifndef NANO_FORMAT_IMATRIX_H
#define NANO_FORMAT_IMATRIX_H

#include "format/meta_build.h"

struct nano_importance_entry {
    struct nano_string name; /* of the weight */
    size_t num_values;       /* columns x matrices */
    size_t num_counts;       /* divides num_values */
    double *sums;            /* [num_values] */
    int64_t *counts;         /* [num_counts]: tokens; of a legacy file: calls */
    float *means;            /* [num_values], of an opened file: sums / counts; without tokens 1 */
};

struct nano_importance {
    char *path;
    struct nano_importance_entry *entries; /* by name */
    size_t num_entries, capacity;
    struct nano_string *datasets; /* files whose text it was computed from, the oldest first */
    size_t num_datasets;
    int64_t chunk_count, chunk_size; /* chunks of so many tokens; size 0: unknown (legacy) */
    bool is_legacy;                  /* sums are scaled as the counts are */
    struct nano_arena arena;
};

/* Reads a file of either kind. `out` is the caller's storage; on failure nothing is left in it. */
enum nano_status nano_importance_open(struct nano_importance *out, const char *path,
                                      struct nano_error *err);

/* Fine on a zeroed one. */
void nano_importance_close(struct nano_importance *importance);

/* *out are the means [num_matrices][cols] for a weight, borrowed; NULL where the file has none. A
 * file with another number of values for it is an error. The file must be an opened one. */
enum nano_status nano_importance_find(const struct nano_importance *importance, const char *weight,
                                      int64_t cols, int64_t num_matrices, const float **out,
                                      struct nano_error *err);

/* What a model that was quantised with it says of it: quantize.imatrix.file, .dataset,
 * .entries_count, .chunks_count. The caller leaves out those that the model had before. */
void nano_importance_add_metadata(const struct nano_importance *importance,
                                  struct nano_meta_builder *builder);

/* ---- Making them ---- */

/* An empty one, to be released with nano_importance_close. */
enum nano_status nano_importance_init(struct nano_importance *out, int64_t chunk_size,
                                      struct nano_error *err);

/* The entry of a weight in one that is being made, with zeros if it is new; the next call may move
 * it, but not its numbers. One that was merged from a file and has another number of values is an
 * error; a single count that was merged stands for every matrix. */
enum nano_status nano_importance_entry(struct nano_importance *importance,
                                       const struct nano_string *weight, size_t num_values,
                                       size_t num_counts, struct nano_importance_entry **out,
                                       struct nano_error *err);

/* For readers: a new entry of zeros behind all others. When all are there, finish sorts them and
 * refuses names that occur twice. */
enum nano_status nano_importance_append(struct nano_importance *importance,
                                        const struct nano_string *weight, size_t num_values,
                                        size_t num_counts, struct nano_importance_entry **out,
                                        struct nano_error *err);
enum nano_status nano_importance_finish(struct nano_importance *importance, struct nano_error *err);

/* By name; NULL if there is none. */
struct nano_importance_entry *nano_importance_lookup(const struct nano_importance *importance,
                                                     const struct nano_string *weight);

enum nano_status nano_importance_add_dataset(struct nano_importance *importance, const char *name,
                                             size_t num_bytes, struct nano_error *err);

/* Adds an opened file's sums, counts and datasets. Of a legacy file a call counts as chunk_size
 * tokens of `to`. */
enum nano_status nano_importance_merge(struct nano_importance *to,
                                       const struct nano_importance *from, struct nano_error *err);

/* Sets chunk_count to the whole chunks that the entry with the most tokens has seen. */
void nano_importance_count_chunks(struct nano_importance *importance);

/* Writes a file: legacy if its name ends in ".dat" (entries without tokens are left out then), else
 * GGUF. Through a temporary name, which is then renamed. */
enum nano_status nano_importance_save(const struct nano_importance *importance, const char *path,
                                      struct nano_error *err);

#endif
