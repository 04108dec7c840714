/* Every architecture, on small random models of it: the same bits however a prompt is cut and
 * whoever else is in the batch, and one clear line for whatever a file can have wrong. What the
 * models compute is compared elsewhere, with golden logits. */
#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/builder.h"
#include "runner/cpu/cpu_runner.h"
#include "tests/grown_model.h"
#include "tests/leak_check.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

Test(architectures, each_has_a_small_model)
{
    const struct nano_architecture *architecture;
    for (size_t i = 0; (architecture = nano_architecture_at(i)) != NULL; i++) {
        bool found = false;
        for (int s = 0; s < num_grown_specs; s++)
            found |= strcmp(grown_specs[s].architecture, architecture->name) == 0;
        cr_expect(found, "%s", architecture->name);
    }
}

/* ---- the same bits ---- */

#define LENGTH 45
#define NUM_SEQS 3

static void make_tokens(int32_t tokens[NUM_SEQS][LENGTH], int64_t vocab_size, uint64_t seed)
{
    for (int s = 0; s < NUM_SEQS; s++)
        for (int i = 0; i < LENGTH; i++)
            tokens[s][i] = (int32_t)(tiny_random(&seed) % (uint64_t)vocab_size);
}

/* All sequences together, each in chunks of random lengths. */
static void run_together(const struct nano_program *program, const struct harness_config *config,
                         int32_t tokens[NUM_SEQS][LENGTH], float *const *expected, const char *name)
{
    struct harness h;
    struct harness_seq seqs[NUM_SEQS];
    uint64_t random = config->shuffle + 5;
    harness_open(&h, program, config);
    for (int s = 0; s < NUM_SEQS; s++)
        harness_seq_begin(&h, &seqs[s], tokens[s], LENGTH);
    for (bool any = true; any;) {
        int counts[NUM_SEQS];
        any = false;
        for (int s = 0; s < NUM_SEQS; s++) {
            const int left = LENGTH - seqs[s].num_computed,
                      wanted = (int)(tiny_random(&random) % 12);
            counts[s] = wanted < left && !program->bidirectional ? wanted : left;
            any |= seqs[s].num_computed < LENGTH;
        }
        harness_step(&h, seqs, counts, NUM_SEQS);
    }
    for (int s = 0; s < NUM_SEQS; s++) {
        cr_expect_eq(memcmp(seqs[s].logits, expected[s],
                            (size_t)LENGTH * (size_t)h.vocab_size * sizeof(float)),
                     0, "%s: sequence %d has other bits in a batch, %d threads", name, s,
                     config->num_threads);
        harness_seq_end(&seqs[s]);
    }
    harness_close(&h);
}

Test(architectures, same_bits_whatever_the_batch)
{
    for (int k = 0; k < num_grown_specs; k++) {
        struct nano_weights weights;
        struct nano_program *program;
        struct nano_error err;
        int32_t tokens[NUM_SEQS][LENGTH];
        float *alone[NUM_SEQS];
        grown_model_make(&weights, &grown_specs[k]);
        cr_assert_eq(nano_program_create(&program, &weights, &err), NANO_OK, "%s", err.message);
        make_tokens(tokens, program->config.vocab_size, (uint64_t)k);
        struct harness_config config = {.num_threads = 1,
                                        .block_size = 16,
                                        .max_num_batched_tokens = NUM_SEQS * LENGTH,
                                        .max_num_seqs = NUM_SEQS,
                                        .kv_format = NANO_KV_FORMAT_F32};
        for (int s = 0; s < NUM_SEQS; s++) {
            alone[s] = harness_logits(program, &config, tokens[s], LENGTH, LENGTH);
            double sum = 0;
            for (int64_t i = 0; i < LENGTH * harness_row_size(program); i++)
                sum += fabs((double)alone[s][i]);
            cr_expect(isfinite(sum) && sum > 0, "%s: logits sum up to %g", grown_specs[k].name,
                      sum);
        }
        for (int i = 0; i < 3; i++) {
            config.num_threads = 1 + i;
            config.block_size = (const int[]){16, 5, 1}[i];
            config.shuffle = (uint64_t)i;
            run_together(program, &config, tokens, alone, grown_specs[k].name);
        }
        for (int s = 0; s < NUM_SEQS; s++)
            free(alone[s]);
        nano_program_destroy(program);
        nano_weights_close(&weights);
    }
}

#ifndef HARNESS_RUNNER /* what a file has wrong is the same for all */

/* ---- bad files ---- */

/* Builds the program and the runner's plan of it: either works, or says one line that blames the
 * file and not the program. */
static enum nano_status try_weights(struct nano_weights *weights, const char *what,
                                    struct nano_error *err)
{
    struct nano_program *program = NULL;
    *err = (struct nano_error){0};
    enum nano_status status = nano_program_create(&program, weights, err);
    if (status == NANO_OK) {
        struct nano_runner_memory memory;
        const struct nano_runner_config config = {.program = program,
                                                  .num_threads = 2,
                                                  .max_num_batched_tokens = 8,
                                                  .max_num_seqs = 2,
                                                  .max_model_len = 32,
                                                  .block_size = 16};
        status = nano_runner_cpu.plan(&config, &memory, err);
    }
    nano_program_destroy(program);
    if (status == NANO_OK)
        return status;
    cr_expect(status == NANO_ERR_FORMAT || status == NANO_ERR_UNSUPPORTED ||
                  status == NANO_ERR_NO_MEMORY,
              "%s: status %d: %s", what, status, err->message);
    cr_expect(*err->message && !strchr(err->message, '\n'), "%s: '%s'", what, err->message);
    return status;
}

static void check_without_tensors(struct nano_weights *weights, const struct grown_spec *spec)
{
    struct nano_error err;
    char what[256];
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor saved = weights->tensors[i];
        snprintf(what, sizeof what, "%s without %s", spec->name, saved.name.bytes);
        weights->tensors[i].name = (struct nano_string){"unrelated", 9};
        cr_assert_eq(nano_weights_finish(weights, &err), NANO_OK, "%s", err.message);
        const enum nano_status status = try_weights(weights, what, &err);
        cr_expect_neq(status, NANO_OK, "%s is accepted", what);
        /* of two ways to store a matrix it may be the other that is missed */
        cr_expect(strstr(err.message, saved.name.bytes) || strstr(err.message, "is missing") ||
                      status == NANO_ERR_UNSUPPORTED,
                  "%s: '%s'", what, err.message);
        weights->tensors[i] = saved;
    }
    cr_assert_eq(nano_weights_finish(weights, &err), NANO_OK);
}

static void check_misshapen_tensors(struct nano_weights *weights, const struct grown_spec *spec)
{
    struct nano_error err;
    char what[256];
    for (size_t i = 0; i < weights->num_tensors; i++)
        for (int d = 0; d < weights->tensors[i].num_dims; d++) {
            struct nano_tensor *tensor = &weights->tensors[i];
            snprintf(what, sizeof what, "%s with another dims[%d] of %s", spec->name, d,
                     tensor->name.bytes);
            for (int step = -1; step <= 1; step += 2) {
                tensor->dims[d] += step;
                const enum nano_status status = try_weights(weights, what, &err);
                if (status == NANO_OK) /* the vocabulary is as large as the matrix says */
                    cr_expect(strcmp(tensor->name.bytes, "token_embd.weight") == 0 ||
                                  strcmp(tensor->name.bytes, "position_embd.weight") == 0 ||
                                  strcmp(tensor->name.bytes, "token_types.weight") == 0,
                              "%s is accepted", what);
                tensor->dims[d] -= step;
            }
        }
}

static void check_without_keys(struct nano_weights *weights, const struct grown_spec *spec)
{
    struct nano_error err;
    char what[256];
    for (size_t i = 0; i < weights->num_metadata; i++) {
        const struct nano_string saved = weights->metadata[i].key;
        snprintf(what, sizeof what, "%s without %s", spec->name, saved.bytes);
        weights->metadata[i].key = (struct nano_string){"unrelated", 9};
        try_weights(weights, what, &err);
        weights->metadata[i].key = saved;
    }
}

static void check_values(struct nano_weights *weights, const struct grown_spec *spec)
{
    static const uint64_t ints[] = {0, 1, 2, 3, 7, 1000, 65537, INT32_MAX, UINT32_MAX};
    static const double floats[] = {0, -1, 1e-30, 1e30, NAN, INFINITY};
    struct nano_error err;
    char what[256];
    for (size_t i = 0; i < weights->num_metadata; i++) {
        struct nano_meta *meta = &weights->metadata[i];
        const struct nano_meta saved = *meta;
        const size_t count = meta->type == NANO_META_U32   ? sizeof ints / sizeof *ints
                             : meta->type == NANO_META_F32 ? sizeof floats / sizeof *floats
                                                           : 0;
        for (size_t k = 0; k < count; k++) {
            if (meta->type == NANO_META_U32)
                meta->value.u = ints[k];
            else
                meta->value.f = floats[k];
            snprintf(what, sizeof what, "%s with %s %g", spec->name, meta->key.bytes,
                     meta->type == NANO_META_U32 ? (double)ints[k] : floats[k]);
            try_weights(weights, what, &err);
        }
        if (meta->type == NANO_META_ARRAY) {
            meta->num_elements--;
            snprintf(what, sizeof what, "%s with a shorter %s", spec->name, meta->key.bytes);
            try_weights(weights, what, &err);
        }
        *meta = saved;
        meta->type = NANO_META_STRING;
        meta->value.string = (struct nano_string){"nonsense", 8};
        snprintf(what, sizeof what, "%s with %s a string", spec->name, meta->key.bytes);
        try_weights(weights, what, &err);
        *meta = saved;
    }
}

Test(architectures, whatever_is_wrong_gives_one_line)
{
    for (int k = 0; k < num_grown_specs; k++) {
        struct nano_weights weights;
        grown_model_make(&weights, &grown_specs[k]);
        check_without_tensors(&weights, &grown_specs[k]);
        check_misshapen_tensors(&weights, &grown_specs[k]);
        check_without_keys(&weights, &grown_specs[k]);
        check_values(&weights, &grown_specs[k]);
        nano_weights_close(&weights);
        cr_assert_not(leak_check_found(), "%s", grown_specs[k].name);
    }
}

#endif
