/* Collecting an importance matrix.
 *
 * Sums are doubles, per column in the order of tokens, so that they depend neither on the number of
 * threads nor on how a chunk is divided into steps. */
#include "engine/imatrix_collect.h"

#include <math.h>
#include <string.h>

/* As llama.cpp: weights of layers, and the head if asked for. A head that is the embedding has
 * the embedding's name, so it is never among them. */
static bool is_wanted(const struct nano_imatrix_collector *collector,
                      const struct nano_tensor *weight)
{
    return strncmp(weight->name.bytes, "blk.", 4) == 0 ||
           (collector->process_output && strcmp(weight->name.bytes, "output.weight") == 0);
}

/* Which of an op's inputs its weight `k` is multiplied with. */
static int input_of(const struct nano_op *op, int k)
{
    return op->kind == NANO_OP_MOE && k == 2;
}

static bool is_observed(const struct nano_op *op)
{
    return op->kind == NANO_OP_LINEAR || op->kind == NANO_OP_MOE;
}

static size_t num_values(const struct nano_tensor *weight)
{
    return (size_t)(weight->dims[0] * weight->dims[2]);
}

/* Room for an op's inputs that some wanted weight is multiplied with. */
static bool add_op(struct nano_imatrix_collector *collector, int index)
{
    const struct nano_op *op = &collector->program->ops[index];
    struct nano_imatrix_op *seen = &collector->ops[index];
    for (int k = 0; is_observed(op) && k < nano_op_num_weights(op); k++) {
        const struct nano_tensor *weight = op->weight[k];
        const int input = input_of(op, k);
        if (seen->sums[input] || !is_wanted(collector, weight))
            continue;
        seen->sums[input] = nano_arena_alloc(&collector->arena, num_values(weight), sizeof(double));
        seen->counts[input] =
            nano_arena_alloc(&collector->arena, (size_t)weight->dims[2], sizeof(int64_t));
        if (!seen->sums[input] || !seen->counts[input])
            return false;
    }
    return true;
}

enum nano_status nano_imatrix_collector_init(struct nano_imatrix_collector *collector,
                                             const struct nano_program *program,
                                             bool process_output, struct nano_error *err)
{
    *collector =
        (struct nano_imatrix_collector){.program = program, .process_output = process_output};
    nano_arena_init(&collector->arena);
    collector->ops =
        nano_arena_alloc(&collector->arena, (size_t)program->num_ops, sizeof *collector->ops);
    bool ok = collector->ops != NULL;
    for (int i = 0; i < program->num_ops && ok; i++)
        ok = add_op(collector, i);
    if (ok)
        return NANO_OK;
    nano_imatrix_collector_deinit(collector);
    return nano_error_no_memory(err, "an importance matrix", (size_t)program->num_ops);
}

void nano_imatrix_collector_deinit(struct nano_imatrix_collector *collector)
{
    nano_arena_deinit(&collector->arena);
    *collector = (struct nano_imatrix_collector){0};
}

void nano_imatrix_on_linear_input(void *context, const struct nano_linear_input *input)
{
    struct nano_imatrix_collector *collector = context;
    struct nano_imatrix_op *op = &collector->ops[input->op - collector->program->ops];
    const int which = input_of(input->op, input->weight);
    if (!op->sums[which])
        return;
    double *sums = op->sums[which] + input->matrix * input->op->weight[input->weight]->dims[0];
    for (int64_t r = 0; r < input->num_rows; r++) {
        const float *row = input->rows + r * input->stride;
        for (int64_t c = input->first_column; c < input->end_column; c++)
            sums[c] += (double)row[c] * (double)row[c];
    }
    if (input->first_column == 0)
        op->counts[which][input->matrix] += input->num_rows;
}

static enum nano_status add_to_entry(const double *sums, const int64_t *counts,
                                     const struct nano_tensor *weight,
                                     struct nano_importance *importance, struct nano_error *err)
{
    const size_t num_matrices = (size_t)weight->dims[2];
    struct nano_importance_entry *entry;
    for (size_t i = 0; i < num_values(weight); i++)
        if (!isfinite(sums[i]))
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "tensor '%.200s': column %zu is multiplied with what is not "
                                  "finite: the model is damaged",
                                  weight->name.bytes, i % (size_t)weight->dims[0]);
    enum nano_status status = nano_importance_entry(importance, &weight->name, num_values(weight),
                                                    num_matrices, &entry, err);
    if (status != NANO_OK)
        return status;
    for (size_t i = 0; i < num_values(weight); i++)
        entry->sums[i] += sums[i];
    for (size_t i = 0; i < entry->num_counts; i++)
        entry->counts[i] += counts[num_matrices == 1 ? 0 : i];
    return NANO_OK;
}

static void forget(const struct nano_op *op, struct nano_imatrix_op *seen)
{
    for (int k = 0; k < nano_op_num_weights(op); k++) {
        const int input = input_of(op, k);
        if (!seen->sums[input])
            continue;
        memset(seen->sums[input], 0, num_values(op->weight[k]) * sizeof(double));
        memset(seen->counts[input], 0, (size_t)op->weight[k]->dims[2] * sizeof(int64_t));
    }
}

enum nano_status nano_imatrix_collector_give(struct nano_imatrix_collector *collector,
                                             struct nano_importance *importance,
                                             struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    for (int i = 0; i < collector->program->num_ops; i++) {
        const struct nano_op *op = &collector->program->ops[i];
        struct nano_imatrix_op *seen = &collector->ops[i];
        if (!is_observed(op))
            continue;
        for (int k = 0; k < nano_op_num_weights(op); k++)
            if (is_wanted(collector, op->weight[k]))
                NANO_TRY(add_to_entry(seen->sums[input_of(op, k)], seen->counts[input_of(op, k)],
                                      op->weight[k], importance, err));
        forget(op, seen);
    }
    nano_importance_count_chunks(importance);
fail:
    return status;
}
