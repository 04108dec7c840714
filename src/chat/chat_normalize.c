/* Messages as clients of OpenAI's API send them become what templates take. */
#include <string.h>

#include "chat/chat_template.h"

static _Noreturn void bad_part(struct nano_jinja *j, size_t message, size_t part,
                               const struct nano_value *type)
{
    if (!type || type->kind != NANO_STR)
        nano_jinja_fail(j, "messages[%zu].content[%zu]: expected a part with a type", message,
                        part);
    nano_jinja_fail(
        j, "messages[%zu].content[%zu]: parts of type '%.*s' are not supported, only 'text'",
        message, part, (int)(type->str->num_bytes < 60 ? type->str->num_bytes : 60), type->str->s);
}

/* The text of a content part; every other kind is an error. */
static const struct nano_str *part_text(struct nano_jinja *j, struct nano_value part,
                                        size_t message, size_t index)
{
    if (part.kind == NANO_STR)
        return part.str;
    if (part.kind != NANO_DICT)
        bad_part(j, message, index, NULL);
    struct nano_value *type = nano_dict_find_str(j, part.dict, "type");
    struct nano_value *text = nano_dict_find_str(j, part.dict, "text");
    if (!type || !nano_value_is_str(*type, "text"))
        bad_part(j, message, index, type);
    if (!text || text->kind != NANO_STR)
        nano_jinja_fail(j, "messages[%zu].content[%zu].text: expected a string", message, index);
    return text->str;
}

static struct nano_value join_parts(struct nano_jinja *j, struct nano_list parts, size_t message)
{
    size_t from = j->out_bytes;
    for (size_t i = 0; i < parts.num; i++) {
        const struct nano_str *text = part_text(j, parts.items[i], message, i);
        if (i)
            nano_jinja_write(j, "\n", 1);
        nano_jinja_write(j, text->s, text->num_bytes);
    }
    return nano_jinja_take(j, from);
}

struct decode {
    const struct nano_str *text;
    struct nano_value value;
};

static void decode(struct nano_jinja *j, void *arg)
{
    struct decode *d = arg;
    d->value = nano_json_parse(j, d->text->s, d->text->num_bytes);
}

/* A string that is no JSON stays what it is: the model wrote it. */
static struct nano_value decode_arguments(struct nano_jinja *j, struct nano_value arguments)
{
    struct nano_error error = {0}, *outer = j->err;
    struct decode d = {.text = arguments.str};
    size_t from = j->out_bytes;
    if (arguments.str->num_bytes == 0)
        return nano_dict_create(j, 0);
    j->err = &error;
    bool ok = nano_jinja_run(j, decode, &d);
    j->err = outer;
    j->out_bytes = from;
    if (error.status == NANO_ERR_NO_MEMORY)
        nano_jinja_fail_status(j, error.status, "%s", error.message);
    return ok ? d.value : arguments;
}

static void normalize_call(struct nano_jinja *j, struct nano_value call)
{
    struct nano_value *function =
        call.kind == NANO_DICT ? nano_dict_find_str(j, call.dict, "function") : NULL;
    struct nano_value *arguments = function && function->kind == NANO_DICT
                                       ? nano_dict_find_str(j, function->dict, "arguments")
                                       : NULL;
    if (arguments && arguments->kind == NANO_STR)
        *arguments = decode_arguments(j, *arguments);
}

/* The values were read for this render alone, so they are changed in place. */
struct nano_value nano_chat_normalize(struct nano_jinja *j, struct nano_value messages,
                                      bool takes_content_parts)
{
    for (size_t i = 0; i < messages.list->num; i++) {
        struct nano_value message = messages.list->items[i];
        if (message.kind != NANO_DICT)
            nano_jinja_fail(j, "messages[%zu]: expected an object", i);
        struct nano_value *content = nano_dict_find_str(j, message.dict, "content");
        if (content && content->kind == NANO_LIST) {
            struct nano_value joined = join_parts(j, *content->list, i);
            if (!takes_content_parts)
                *content = joined;
        }
        struct nano_value *calls = nano_dict_find_str(j, message.dict, "tool_calls");
        for (size_t k = 0; calls && calls->kind == NANO_LIST && k < calls->list->num; k++)
            normalize_call(j, calls->list->items[k]);
    }
    return messages;
}
