/* Adapters: which ops they change. */
#include "models/adapter.h"

bool nano_adapter_part_changes(const struct nano_adapter_part *part, const struct nano_op *op,
                               int index)
{
    return op->kind == (part->is_lookup ? NANO_OP_EMBED : NANO_OP_LINEAR) &&
           op->weight[index] == part->target;
}

enum nano_status nano_adapter_part_check(const struct nano_adapter_part *part,
                                         const struct nano_program *program, struct nano_error *err)
{
    for (int i = 0; i < program->num_ops; i++)
        for (int k = 0; k < nano_op_num_weights(&program->ops[i]); k++)
            if (nano_adapter_part_changes(part, &program->ops[i], k))
                return NANO_OK;
    return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                          "%s: tensor '%.200s': '%.120s' is not what a linear layer of this model "
                          "multiplies with, so it cannot have an adapter",
                          nano_weights_label(part->stored), part->a->name.bytes,
                          part->target->name.bytes);
}
