/* Shared by the files of the kernel checker and the kernel bench: counting, random inputs, guarded
 * memory. */
#ifndef NANO_TESTS_CHECK_KERNELS_H
#define NANO_TESTS_CHECK_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "simd/kernels.h"

/* The tier under test and the reference. */
struct tiers {
    const struct nano_kernels *test, *ref;
};

/* Random numbers begin with `seed`, and a crash names its check. */
void check_start(uint64_t seed);
/* Prints how many passed and failed; the exit status. */
int check_finish(void);

/* True if the processor has the tier and NANOVLLM_CPU does not ask for another one. */
bool check_wants(enum nano_cpu_tier tier);

/* A check has a name and fails if any check_that in it does; only its first failure is printed. */
void check_begin(const struct tiers *tiers, const char *slot, const char *format);
bool check_that(bool condition, const char *message, ...) __attribute__((format(printf, 2, 3)));
void check_end(void);

uint64_t random_u64(void);
int random_below(int n);
float random_float(void); /* in (-1, 1) */

/* Values of every kind that a kernel may meet; all products and sums of them stay finite. */
enum pattern {
    PATTERN_RANDOM,
    PATTERN_MAXIMUM,     /* the largest integers of a format */
    PATTERN_ALTERNATING, /* of both signs, so that sums cancel */
    PATTERN_EQUAL,
    PATTERN_ZERO,
    PATTERN_TINY, /* denormals */
    PATTERN_HUGE,
    NUM_PATTERNS
};
const char *pattern_name(enum pattern pattern);
void fill_floats(float *x, int64_t n, enum pattern pattern);

/* Memory for an input: its last byte is followed by an inaccessible page, so that reading past the
 * end crashes, and its beginning is as unaligned as its size makes it. */
struct input {
    void *data, *mapping;
    size_t mapping_bytes;
};
struct input input_alloc(size_t num_bytes);
void input_free(struct input *input);

/* Memory for an output, `num_bytes` filled with a pattern and the same pattern around them. */
struct output {
    void *data;
    unsigned char *memory;
    size_t num_bytes, memory_bytes;
};
struct output output_alloc(size_t num_bytes, size_t misalignment);
void output_reset(struct output *output);
/* True if the bytes [begin, end) of the output, or all around it, are as output_reset left them. */
bool output_untouched(const struct output *output, size_t begin, size_t end);
bool output_guards_intact(const struct output *output);
void output_free(struct output *output);

/* A matrix as the tier reads it. */
struct matrix {
    struct input stored, packed;
    const void *weights;
    int64_t rows, cols;
};
struct matrix matrix_make(const struct nano_kernels *kernels, enum nano_format format, int64_t rows,
                          int64_t cols, enum pattern pattern);
void matrix_free(struct matrix *matrix);

extern const char *const kv_format_names[NANO_NUM_KV_FORMATS];

/* A KV pool of random values: positions 0 ... num_positions of one sequence in shuffled blocks. */
struct kv_case {
    struct nano_kv_layout layout;
    int num_positions, num_blocks;
    int32_t *block_table;
    struct input k_pool, v_pool;
};
struct kv_case kv_case_make(const struct nano_kernels *kernels, struct nano_kv_layout layout,
                            int num_positions, const float *k, const float *v);
void kv_case_free(struct kv_case *kv);

void check_linear(const struct tiers *tiers);
void check_activations(const struct tiers *tiers);
void check_attention(const struct tiers *tiers);
void check_vectors(const struct tiers *tiers);
void check_elementwise(const struct tiers *tiers);

void check_recurrent(const struct tiers *tiers);

#endif
