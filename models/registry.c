/* Registry: one row per architecture. */
#include <stdio.h>
#include <string.h>

#include "models/builder.h"

#define ARCHITECTURES(ROW) \
    ROW(llama)             \
    ROW(qwen2)             \
    ROW(qwen3)

#define DECLARE(name) extern const struct nano_architecture nano_architecture_##name;
ARCHITECTURES(DECLARE)

#define ENTRY(name) &nano_architecture_##name,
static const struct nano_architecture *const architectures[] = {ARCHITECTURES(ENTRY)};

#define NAME(name) " " #name

const struct nano_architecture *nano_architecture_find(const char *name, struct nano_error *err)
{
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (strcmp(architectures[i]->name, name) == 0)
            return architectures[i];
    nano_error_set(err, NANO_ERR_UNSUPPORTED, "architecture '%s' is unknown, expected one of:%s",
                   name, ARCHITECTURES(NAME));
    return NULL;
}
