/* Adapters of an engine. */
#include "engine/adapters.h"

#include <math.h>
#include <string.h>

#include "base/log.h"

#define MAX_LORAS 1024

static int find_name(const struct nano_adapters *adapters, const char *name)
{
    int i = 0;
    while (i < adapters->count && strcmp(adapters->names[i], name) != 0)
        i++;
    return i;
}

static enum nano_status check_params(const struct nano_engine_params *params,
                                     const struct nano_weights *model, struct nano_error *err)
{
    if (params->num_loras < 0 || params->num_loras > MAX_LORAS)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "num_loras is %d, expected 0 to %d",
                              params->num_loras, MAX_LORAS);
    if (params->num_loras > 0 && !model)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "LoRA adapters need a model that they belong to");
    if (params->num_loras > 0 && model->onnx)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: LoRA adapters do not go with ONNX graphs",
                              nano_weights_label(model));
    for (int i = 0; i < params->num_loras; i++) {
        const struct nano_lora *lora = &params->loras[i];
        if (!lora->name || !*lora->name || !lora->path || !isfinite(lora->scale))
            return nano_error_set(
                err, NANO_ERR_INVALID_ARGUMENT,
                "loras[%d] has name '%s', path '%s', scale %g, expected a name, a "
                "path and a number",
                i, lora->name ? lora->name : "", lora->path ? lora->path : "", (double)lora->scale);
    }
    return NANO_OK;
}

static enum nano_status open_file(struct nano_adapters *adapters, const char *path,
                                  const struct nano_weights *model, struct nano_error *err)
{
    struct nano_lora_file *file = &adapters->files[adapters->num_files];
    enum nano_status status = nano_lora_file_open(file, path, err);
    if (status != NANO_OK)
        return status;
    adapters->num_files++;
    if (file->num_norms > 0)
        nano_log(NANO_LOG_WARN, "%s: %zu tensors of norms are left out", path, file->num_norms);
    return nano_lora_file_check(file, model, err);
}

static void add_parts(struct nano_adapter_part *parts, const struct nano_lora_file *file,
                      float scale, const struct nano_weights *model)
{
    for (size_t i = 0; i < file->num_pairs; i++) {
        const struct nano_lora_pair *pair = &file->pairs[i];
        parts[i] = (struct nano_adapter_part){.target = nano_weights_find(model, pair->target),
                                              .a = pair->a,
                                              .b = pair->b,
                                              .stored = &file->weights,
                                              .scale = scale * pair->scale,
                                              .is_lookup = pair->is_lookup};
    }
}

/* The parts of all files of one name. */
static enum nano_status make_adapter(struct nano_adapters *adapters, int index,
                                     const struct nano_engine_params *params,
                                     const struct nano_weights *model,
                                     const struct nano_program *program, struct nano_error *err)
{
    struct nano_adapter *adapter = &adapters->adapters[index];
    const char *name = adapters->names[index];
    size_t num_parts = 0;
    for (int i = 0; i < adapters->num_files; i++)
        if (strcmp(params->loras[i].name, name) == 0)
            num_parts += adapters->files[i].num_pairs;
    struct nano_adapter_part *parts = nano_arena_alloc(&adapters->arena, num_parts, sizeof *parts);
    if (!parts)
        return nano_error_no_memory(err, "an adapter", num_parts * sizeof *parts);
    *adapter = (struct nano_adapter){.parts = parts};
    for (int i = 0; i < adapters->num_files; i++) {
        if (strcmp(params->loras[i].name, name) != 0)
            continue;
        add_parts(parts + adapter->num_parts, &adapters->files[i], params->loras[i].scale, model);
        adapter->num_parts += adapters->files[i].num_pairs;
    }
    for (size_t i = 0; i < num_parts; i++) {
        enum nano_status status = nano_adapter_part_check(&parts[i], program, err);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}

enum nano_status nano_adapters_open(struct nano_adapters *out,
                                    const struct nano_engine_params *params,
                                    const struct nano_weights *model,
                                    const struct nano_program *program, struct nano_error *err)
{
    enum nano_status status;
    *out = (struct nano_adapters){0};
    nano_arena_init(&out->arena);
    NANO_TRY(check_params(params, model, err));
    const size_t n = (size_t)params->num_loras;
    if (n == 0)
        return NANO_OK;
    out->files = nano_arena_alloc(&out->arena, n, sizeof *out->files);
    out->names = nano_arena_alloc(&out->arena, n, sizeof *out->names);
    out->adapters = nano_arena_alloc(&out->arena, n, sizeof *out->adapters);
    if (!out->files || !out->names || !out->adapters) {
        status = nano_error_no_memory(err, "adapters", n * sizeof *out->files);
        goto fail;
    }
    for (size_t i = 0; i < n; i++) {
        const char *name = params->loras[i].name;
        NANO_TRY(open_file(out, params->loras[i].path, model, err));
        if (find_name(out, name) < out->count)
            continue;
        out->names[out->count] = nano_arena_strdup(&out->arena, name, strlen(name));
        if (!out->names[out->count]) {
            status = nano_error_no_memory(err, "adapters", strlen(name));
            goto fail;
        }
        out->count++;
    }
    for (int i = 0; i < out->count; i++)
        NANO_TRY(make_adapter(out, i, params, model, program, err));
    return NANO_OK;
fail:
    nano_adapters_deinit(out);
    return status;
}

void nano_adapters_close_files(struct nano_adapters *adapters)
{
    for (int i = 0; i < adapters->num_files; i++)
        nano_lora_file_close(&adapters->files[i]);
    adapters->num_files = 0;
    adapters->adapters = NULL;
}

void nano_adapters_deinit(struct nano_adapters *adapters)
{
    nano_adapters_close_files(adapters);
    nano_arena_deinit(&adapters->arena);
    *adapters = (struct nano_adapters){0};
}

enum nano_status nano_adapters_find(const struct nano_adapters *adapters, const char *name,
                                    int32_t *out, struct nano_error *err)
{
    *out = 0;
    if (!name)
        return NANO_OK;
    const int index = find_name(adapters, name);
    if (index == adapters->count)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "lora '%.200s' is none of this engine's %d adapters", name,
                              adapters->count);
    *out = index + 1;
    return NANO_OK;
}
