/* What runners of programs have in common. */
#include "runner/program_parts.h"

#include <stdio.h>
#include <string.h>

enum nano_status nano_program_check_positions(const struct nano_runner_config *config,
                                              struct nano_error *err)
{
    const struct nano_program *p = config->program;
    for (int i = 0; i < p->num_ops; i++) {
        const struct nano_op *op = &p->ops[i];
        if (op->kind == NANO_OP_POSITION_EMBED && config->max_model_len > op->weight[0]->dims[1])
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "%s: max_model_len %d, expected at most the %lld of tensor '%s'",
                                  nano_weights_label(p->weights), config->max_model_len,
                                  (long long)op->weight[0]->dims[1], op->weight[0]->name.bytes);
    }
    return NANO_OK;
}

int nano_program_layer_of_slot(const struct nano_program *program, int slot)
{
    int layer = 0;
    while (program->kv_layers[layer].slot != slot)
        layer++;
    return layer;
}

int nano_program_profile_entry(struct nano_op_profile *profile, int *num_entries,
                               const struct nano_op *op, char **next_name)
{
    const char *kind = nano_op_kind_name(op->kind);
    const size_t bytes = strlen(kind) + 1 + strlen(op->label) + 1;
    snprintf(*next_name, bytes, "%s %s", kind, op->label);
    for (int i = 0; i < *num_entries; i++)
        if (strcmp(profile[i].name, *next_name) == 0)
            return i;
    profile[*num_entries].name = *next_name;
    *next_name += bytes;
    return (*num_entries)++;
}
