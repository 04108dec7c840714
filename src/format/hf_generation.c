/* generation_config.json. */
#include "format/hf_generation.h"

#include "base/os.h"
#include "format/little_endian.h"

#define MAX_ID 0x7fffffff
#define MAX_IDS 64

static void add_id(struct nano_hf_json *json, struct nano_meta_builder *builder, const char *field,
                   const char *key)
{
    const int64_t id = nano_hf_int(json, field, -1, MAX_ID, -1);
    if (id >= 0 && !nano_weights_meta(builder->weights, key))
        nano_meta_add_u32(builder, key, (uint32_t)id);
}

static void add_eos(struct nano_hf_json *json, struct nano_meta_builder *builder)
{
    static const char key[] = "tokenizer.ggml.eos_token_id";
    const json_t *ids = nano_hf_find(json, "eos_token_id");
    const size_t count = json_array_size(ids);
    if (!json_is_array(ids)) {
        add_id(json, builder, "eos_token_id", key);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > MAX_ID ||
            count > MAX_IDS) {
            nano_hf_fail(json, NANO_ERR_FORMAT, "eos_token_id is no list of up to %d token ids",
                         MAX_IDS);
            return;
        }
    }
    if (count && !nano_weights_meta(builder->weights, key))
        nano_meta_add_u32(builder, key, (uint32_t)json_integer_value(json_array_get(ids, 0)));
    unsigned char *out =
        count ? nano_meta_add_numbers(builder, "tokenizer.ggml.eos_token_ids", NANO_META_U32, count)
              : NULL;
    for (size_t i = 0; out && i < count; i++)
        nano_le_store(out + 4 * i, (uint64_t)json_integer_value(json_array_get(ids, i)), 4);
}

static void add_sampling(struct nano_hf_json *json, struct nano_meta_builder *builder)
{
    static const struct {
        const char *field, *key;
        double max;
    } floats[] = {
        {"temperature", "general.sampling.temp", 1e3},
        {"top_p", "general.sampling.top_p", 1},
        {"min_p", "general.sampling.min_p", 1},
        {"repetition_penalty", "general.sampling.penalty_repeat", 1e3},
    };
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        const double value = nano_hf_float(json, floats[i].field, 0, floats[i].max, -1);
        if (value >= 0)
            nano_meta_add_f32(builder, floats[i].key, value);
    }
    const int64_t top_k = nano_hf_int(json, "top_k", -1, MAX_ID, -1);
    if (top_k >= 0)
        nano_meta_add_u32(builder, "general.sampling.top_k", (uint32_t)top_k);
}

enum nano_status nano_hf_generation_read(struct nano_meta_builder *builder, const char *folder,
                                         const json_t *config, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    char path[4096];
    json_t *generation = NULL;
    if (nano_hf_path(path, sizeof path, folder, "generation_config.json") &&
        nano_os_file_exists(path))
        NANO_TRY(nano_hf_json_load(&generation, path, err));
    else
        nano_hf_path(path, sizeof path, folder, "config.json");
    struct nano_hf_json json = {path, generation, config, NANO_OK, err};
    add_id(&json, builder, "bos_token_id", "tokenizer.ggml.bos_token_id");
    add_eos(&json, builder);
    add_id(&json, builder, "pad_token_id", "tokenizer.ggml.padding_token_id");
    json.outer = NULL;
    add_sampling(&json, builder);
    status = json.status;
fail:
    json_decref(generation);
    return status;
}
