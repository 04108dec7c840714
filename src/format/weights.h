/* Weights: what every model file looks like to the rest of the engine.
 *
 *   weights ── tensors[]   name -> format, shape, borrowed bytes
 *           └─ metadata[]  key  -> typed value (GGUF's keys; other loaders translate to them)
 *
 * Loaders (gguf, hf_folder, synthetic) fill this one struct. Tensor bytes are borrowed from
 * mapped files or memory that the weights own; everything lives until nano_weights_close. The
 * struct is read-only after loading, so any thread may use it. */
#ifndef NANO_FORMAT_WEIGHTS_H
#define NANO_FORMAT_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/os.h"
#include "simd/formats.h"

#define NANO_MAX_DIMS 4

struct nano_string { /* borrowed, also zero-terminated when it is a key or a name */
    const char *bytes;
    size_t num_bytes;
};

/* How files of other kinds store numbers. */
enum nano_stored_type {
    NANO_STORED_F32,
    NANO_STORED_F16,
    NANO_STORED_BF16,
    NANO_STORED_F8_E4M3, /* 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinities */
    NANO_STORED_OTHER    /* nothing that can be a weight */
};

/* What the bytes of a tensor are made from when they are not in memory as its format says: another
 * tensor, whose rows are quantised, parts of another tensor, or rows of a matrix that is stored
 * differently. */
struct nano_tensor_source {
    const struct nano_tensor
        *quantized; /* not NULL: quantise this one's rows; the rest is unused */

    /* Not NULL: matrix m's row r is row m * part_rows + first_row + r of this one, in its format.
     * Transposed, the row is column r of those rows instead, in F32, F16 or BF16. The rest is
     * unused. */
    const struct nano_tensor *part_of;
    int64_t part_rows, first_row;
    bool transposed;

    enum nano_stored_type type;
    const unsigned char *data; /* row by row, at any alignment */
    size_t num_bytes;
    int64_t
        pair_rows; /* 0, or rows of a head: row 2 i is stored as i, 2 i + 1 as pair_rows/2 + i */

    /* Of F8: weight [r, c] is multiplied with scales[r / block_rows * scale_cols + c / block_cols],
     * where r is the row as stored. Little-endian f32 at any alignment. */
    const float *scales;
    int64_t scale_cols, block_rows, block_cols;
};

struct nano_tensor {
    struct nano_string name;
    enum nano_format format;
    int num_dims;
    int64_t
        dims[NANO_MAX_DIMS]; /* a matrix is [cols, rows]: dims[0] is contiguous; unused ones 1 */
    const void *data; /* num_bytes bytes, checked to lie inside the file; NULL: made when read */
    size_t num_bytes;
    const struct nano_tensor_source *source; /* with data NULL */
};

/* Values are GGUF's type numbers. */
enum nano_meta_type {
    NANO_META_U8 = 0,
    NANO_META_I8 = 1,
    NANO_META_U16 = 2,
    NANO_META_I16 = 3,
    NANO_META_U32 = 4,
    NANO_META_I32 = 5,
    NANO_META_F32 = 6,
    NANO_META_BOOL = 7,
    NANO_META_STRING = 8,
    NANO_META_ARRAY = 9,
    NANO_META_U64 = 10,
    NANO_META_I64 = 11,
    NANO_META_F64 = 12
};

struct nano_meta {
    struct nano_string key;
    enum nano_meta_type type;
    union {
        uint64_t u; /* U8 U16 U32 U64 BOOL */
        int64_t i;  /* I8 I16 I32 I64 */
        double f;   /* F32 F64 */
        struct nano_string string;
    } value;
    /* with NANO_META_ARRAY (arrays of arrays are refused by the loader): */
    enum nano_meta_type element_type;
    size_t num_elements;
    const void *elements; /* numbers and bools as in the file, unaligned, little-endian */
    const struct nano_string *strings; /* when element_type is STRING */
};

struct nano_onnx_graph;

struct nano_weights {
    char *path; /* for messages; "" when made in memory */
    struct nano_tensor *tensors;
    size_t num_tensors;
    struct nano_meta *metadata;
    size_t num_metadata;
    const struct nano_onnx_graph *onnx; /* in the arena; not NULL: a graph, and no tensors */

    struct nano_arena arena;    /* names, arrays, everything above */
    struct nano_os_file *files; /* mappings */
    size_t num_files;
    void *owned_data; /* memory of tensors that are in no file */
    size_t owned_bytes;
    uint32_t *tensor_index; /* open-addressing hash of names; made by nano_weights_finish */
    size_t tensor_index_capacity;
};

/* The path, or words that stand for it: how messages about the weights begin. */
const char *nano_weights_label(const struct nano_weights *weights);

/* For loaders: builds the name index and refuses duplicate tensor names and keys. */
enum nano_status nano_weights_finish(struct nano_weights *weights, struct nano_error *err);

/* Releases everything in it but not the struct itself. Fine on a zeroed or half-built one. */
void nano_weights_close(struct nano_weights *weights);

/* NULL if absent. */
const struct nano_tensor *nano_weights_find(const struct nano_weights *weights, const char *name);

/* As nano_weights_find, but missing is an error, and so is a shape other than dims[0 … num_dims)
 * (trailing ones of the tensor are ignored). The message names file, tensor, found and expected. */
enum nano_status nano_weights_require(const struct nano_weights *weights, const char *name,
                                      int num_dims, const int64_t *dims,
                                      const struct nano_tensor **out, struct nano_error *err);

/* Hints for who reads all of a tensor once, to keep a copy: before it, and when it is done. The
 * bytes stay readable; a released tensor no longer counts as this process's memory until it is read
 * again. Tensors that are in no file are left alone. Any thread, also while others read. */
void nano_weights_will_read(const struct nano_weights *weights, const struct nano_tensor *tensor);
void nano_weights_release(const struct nano_weights *weights, const struct nano_tensor *tensor);

/* Bytes that reading all of it takes from the file. */
size_t nano_tensor_stored_bytes(const struct nano_tensor *tensor);

/* Rows [row_begin, row_end) of a tensor, all dims above the first counted as rows: as its format
 * says, and as f32. For tensors with and without data; any thread, no allocation. */
void nano_tensor_read_rows(const struct nano_tensor *tensor, int64_t row_begin, int64_t row_end,
                           void *dst);
void nano_tensor_read_rows_f32(const struct nano_tensor *tensor, int64_t row_begin, int64_t row_end,
                               float *dst);

const struct nano_meta *nano_weights_meta(const struct nano_weights *weights, const char *key);

/* Typed look-ups: NANO_OK with *out unchanged when the key is absent (so preset the default); a
 * value of another kind or out of range is an error that names key, found and expected. Integers of
 * all widths convert. */
enum nano_status nano_meta_get_int(const struct nano_weights *weights, const char *key, int64_t min,
                                   int64_t max, int64_t *out, struct nano_error *err);
enum nano_status nano_meta_get_float(const struct nano_weights *weights, const char *key,
                                     double *out, struct nano_error *err);
enum nano_status nano_meta_get_bool(const struct nano_weights *weights, const char *key, bool *out,
                                    struct nano_error *err);
enum nano_status nano_meta_get_string(const struct nano_weights *weights, const char *key,
                                      struct nano_string *out, struct nano_error *err);

/* Element i of a numeric or bool array, converted: what no int64_t can hold becomes INT64_MAX from
 * a u64 and 0 from a float. The caller has checked element_type and num_elements. */
int64_t nano_meta_array_int(const struct nano_meta *meta, size_t i);
double nano_meta_array_float(const struct nano_meta *meta, size_t i);

/* "u32", "string" …; "unknown" for other numbers. */
const char *nano_meta_type_name(enum nano_meta_type type);

/* Bytes of a number or bool in a file; 0 for strings, arrays and unknown types. */
size_t nano_meta_type_bytes(enum nano_meta_type type);

#endif
