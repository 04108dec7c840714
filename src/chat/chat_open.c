/* Chat templates from files: Jinja source, or the chat_template of a tokenizer_config.json. */
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "chat/chat_template.h"

#define MAX_CONFIG_BYTES ((size_t)256 << 20)
#define MAX_CONFIG_STEPS 100000000u

struct config { /* the templates in a tokenizer_config.json; NULL: none */
    const char *json;
    size_t num_bytes;
    const struct nano_str *standard, *tool_use;
};

static bool is_named(struct nano_jinja *j, const struct nano_dict *entry, const char *name)
{
    struct nano_value *found = nano_dict_find_str(j, entry, "name");
    return found && nano_value_is_str(*found, name);
}

static void read_config(struct nano_jinja *j, void *arg)
{
    struct config *config = arg;
    struct nano_value value = nano_json_parse(j, config->json, config->num_bytes);
    struct nano_value *found =
        value.kind == NANO_DICT ? nano_dict_find_str(j, value.dict, "chat_template") : NULL;
    if (found && found->kind == NANO_STR)
        config->standard = found->str;
    for (size_t i = 0; found && found->kind == NANO_LIST && i < found->list->num; i++) {
        struct nano_value entry = found->list->items[i];
        struct nano_value *source =
            entry.kind == NANO_DICT ? nano_dict_find_str(j, entry.dict, "template") : NULL;
        if (!source || source->kind != NANO_STR)
            continue;
        if (is_named(j, entry.dict, "default"))
            config->standard = source->str;
        else if (is_named(j, entry.dict, "tool_use"))
            config->tool_use = source->str;
    }
    if (!config->standard)
        nano_jinja_fail(j,
                        "expected a \"chat_template\", a string or a list with one named default");
}

/* No template that means anything begins like an object with a key. */
static bool is_object(const char *s, size_t num_bytes)
{
    size_t i = 0;
    for (char next = '{'; i < num_bytes; i++) {
        if (strchr(" \t\r\n", s[i]) && s[i])
            continue;
        if (s[i] != next)
            return false;
        if (next == '"')
            return true;
        next = '"';
    }
    return false;
}

static enum nano_status create_from_config(nano_chat_template **out, const char *json,
                                           size_t num_bytes, struct nano_error *err)
{
    struct nano_jinja j;
    struct nano_error error = {0};
    struct config config = {.json = json, .num_bytes = num_bytes};
    enum nano_status status;
    nano_jinja_init(&j, &error, MAX_CONFIG_STEPS, MAX_CONFIG_BYTES);
    if (!nano_jinja_run(&j, read_config, &config)) {
        status =
            nano_error_set(err, error.status == NANO_ERR_NO_MEMORY ? error.status : NANO_ERR_FORMAT,
                           "%s", error.message);
        goto fail;
    }
    NANO_TRY(nano_chat_template_create(out, config.standard->s, config.standard->num_bytes, err));
    if (config.tool_use) {
        NANO_TRY(nano_chat_template_parse(*out, &(*out)->tool_use, config.tool_use->s,
                                          config.tool_use->num_bytes, err));
        NANO_TRY(
            nano_chat_template_probe(*out, config.tool_use->s, config.tool_use->num_bytes, err));
    }
    nano_jinja_deinit(&j);
    return NANO_OK;
fail:
    nano_jinja_deinit(&j);
    nano_chat_template_destroy(*out);
    *out = NULL;
    return status;
}

enum nano_status nano_chat_template_open(nano_chat_template **out, const char *path,
                                         struct nano_error *err)
{
    struct nano_os_file file;
    *out = NULL;
    enum nano_status status = nano_os_file_open(&file, path, err);
    if (status != NANO_OK)
        return status;
    const char *text = file.data ? file.data : "";
    status = is_object(text, file.num_bytes)
                 ? create_from_config(out, text, file.num_bytes, err)
                 : nano_chat_template_create(out, text, file.num_bytes, err);
    nano_os_file_close(&file);
    return status == NANO_OK ? status : nano_error_prefix(err, "%s", path);
}
