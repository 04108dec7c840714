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
    for (int i = 0; i < program->num_ops && ok; i++) {
        const struct nano_op *op = &program->ops[i];
        bool wanted = false;
        for (int k = 0; op->kind == NANO_OP_LINEAR && k < nano_op_num_weights(op); k++)
            wanted |= is_wanted(collector, op->weight[k]);
        if (!wanted)
            continue;
        collector->ops[i].sums =
            nano_arena_alloc(&collector->arena, (size_t)op->in[0].width, sizeof(double));
        ok = collector->ops[i].sums != NULL;
    }
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
    if (!op->sums)
        return;
    for (int64_t r = 0; r < input->num_rows; r++) {
        const float *row = input->rows + r * input->stride;
        for (int64_t c = input->first_column; c < input->end_column; c++)
            op->sums[c] += (double)row[c] * (double)row[c];
    }
    if (input->first_column == 0)
        op->num_tokens += input->num_rows;
}

static enum nano_status add_to_entry(const struct nano_imatrix_op *op,
                                     const struct nano_tensor *weight,
                                     struct nano_importance *importance, struct nano_error *err)
{
    const size_t num_values = (size_t)weight->dims[0];
    struct nano_importance_entry *entry;
    for (size_t i = 0; i < num_values; i++)
        if (!isfinite(op->sums[i]))
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "tensor '%.200s': column %zu is multiplied with what is not "
                                  "finite: the model is damaged",
                                  weight->name.bytes, i);
    enum nano_status status =
        nano_importance_entry(importance, &weight->name, num_values, 1, &entry, err);
    if (status != NANO_OK)
        return status;
    for (size_t i = 0; i < num_values; i++)
        entry->sums[i] += op->sums[i];
    for (size_t i = 0; i < entry->num_counts; i++)
        entry->counts[i] += op->num_tokens;
    return NANO_OK;
}

enum nano_status nano_imatrix_collector_give(struct nano_imatrix_collector *collector,
                                             struct nano_importance *importance,
                                             struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    for (int i = 0; i < collector->program->num_ops; i++) {
        const struct nano_op *op = &collector->program->ops[i];
        struct nano_imatrix_op *seen = &collector->ops[i];
        if (!seen->sums)
            continue;
        for (int k = 0; k < nano_op_num_weights(op); k++)
            if (is_wanted(collector, op->weight[k]))
                NANO_TRY(add_to_entry(seen, op->weight[k], importance, err));
        memset(seen->sums, 0, (size_t)op->in[0].width * sizeof *seen->sums);
        seen->num_tokens = 0;
    }
    nano_importance_count_chunks(importance);
fail:
    return status;
}
