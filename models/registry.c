/* Registry: one row per architecture. */
#include <stdio.h>
#include <string.h>

#include "models/builder.h"

#define ARCHITECTURES(ROW) \
    ROW(bert)              \
    ROW(deepseek2)         \
    ROW(falcon)            \
    ROW(gemma)             \
    ROW(gemma2)            \
    ROW(gemma3)            \
    ROW(gpt2)              \
    ROW(gpt_oss)           \
    ROW(gptneox)           \
    ROW(granite)           \
    ROW(granitehybrid)     \
    ROW(granitemoe)        \
    ROW(lfm2)              \
    ROW(llama)             \
    ROW(mamba2)            \
    ROW(mistral3)          \
    ROW(nomic_bert)        \
    ROW(olmo2)             \
    ROW(phi3)              \
    ROW(qwen2)             \
    ROW(qwen2moe)          \
    ROW(qwen3)             \
    ROW(qwen35)            \
    ROW(qwen3moe)          \
    ROW(qwen3next)         \
    ROW(smollm3)           \
    ROW(stablelm)          \
    ROW(starcoder2)

#define DECLARE(name) extern const struct nano_architecture nano_architecture_##name;
ARCHITECTURES(DECLARE)

#define ENTRY(name) &nano_architecture_##name,
static const struct nano_architecture *const architectures[] = {ARCHITECTURES(ENTRY)};

const struct nano_architecture *nano_architecture_at(size_t index)
{
    return index < sizeof architectures / sizeof *architectures ? architectures[index] : NULL;
}

const struct nano_architecture *nano_architecture_find(const char *name, struct nano_error *err)
{
    char known[600] = "";
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (strcmp(architectures[i]->name, name) == 0)
            return architectures[i];
        const size_t length = strlen(known);
        snprintf(known + length, sizeof known - length, " %s", architectures[i]->name);
    }
    nano_error_set(err, NANO_ERR_UNSUPPORTED, "architecture '%s' is unknown, expected one of:%s",
                   name, known);
    return NULL;
}
