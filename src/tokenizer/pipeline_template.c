/* Pipeline: the section "post_processor", as far as it changes tokens. */
#include <string.h>

#include "tokenizer/pipeline.h"

enum { BERT, BYTE_LEVEL, ROBERTA, SEQUENCE, TEMPLATE, NUM_TYPES };

static const char *const names[NUM_TYPES] = {"BertProcessing", "ByteLevel", "RobertaProcessing",
                                             "Sequence", "TemplateProcessing"};

struct reader {
    struct nano_template *out;
    int32_t num_tokens;
};

static enum nano_status append(const struct nano_component *c, struct reader *reader, bool before,
                               const json_t *id)
{
    struct nano_template *out = reader->out;
    int *count = before ? &out->num_prefix : &out->num_suffix;
    if (!json_is_integer(id) || json_integer_value(id) < 0 ||
        json_integer_value(id) >= reader->num_tokens)
        return nano_component_error(c, "expected token ids from 0 to %d",
                                    (int)reader->num_tokens - 1);
    if (*count == NANO_MAX_TEMPLATE_IDS)
        return nano_component_error(c, "more than %d tokens on one side are not supported",
                                    NANO_MAX_TEMPLATE_IDS);
    (before ? out->prefix : out->suffix)[(*count)++] = (int32_t)json_integer_value(id);
    return NANO_OK;
}

static enum nano_status read_template(const struct nano_component *c, struct reader *reader)
{
    const json_t *single = json_object_get(c->json, "single");
    const json_t *tokens = json_object_get(c->json, "special_tokens");
    bool before = true;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        if (json_object_get(item, "Sequence")) {
            before = false;
            continue;
        }
        const char *name =
            json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
        const json_t *ids = name ? json_object_get(json_object_get(tokens, name), "ids") : NULL;
        if (!json_is_array(ids))
            return nano_component_error(c, "single: expected Sequences and SpecialTokens that "
                                           "special_tokens explains");
        for (size_t k = 0; k < json_array_size(ids); k++) {
            enum nano_status status = append(c, reader, before, json_array_get(ids, k));
            if (status != NANO_OK)
                return status;
        }
    }
    if (before)
        return nano_component_error(c, "single: expected an array with a Sequence");
    return NANO_OK;
}

static enum nano_status read_pair(const struct nano_component *c, struct reader *reader)
{
    enum nano_status status =
        append(c, reader, true, json_array_get(json_object_get(c->json, "cls"), 1));
    if (status == NANO_OK)
        status = append(c, reader, false, json_array_get(json_object_get(c->json, "sep"), 1));
    return status;
}

static enum nano_status visit(const struct nano_component *c, int depth, void *user_data)
{
    size_t type;
    enum nano_status status = nano_component_type(c, names, NUM_TYPES, &type);
    if (status != NANO_OK)
        return status;
    if (type == SEQUENCE)
        return nano_component_each(c, "processors", depth, visit, user_data);
    if (type == TEMPLATE)
        return read_template(c, user_data);
    return type == BYTE_LEVEL ? NANO_OK : read_pair(c, user_data);
}

enum nano_status nano_pipeline_read_template(const struct nano_component *c, int32_t num_tokens,
                                             struct nano_template *out)
{
    struct reader reader = {out, num_tokens};
    return visit(c, 0, &reader);
}
