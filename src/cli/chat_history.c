/* The messages of a conversation. */
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "cli/chat.h"

static const char *role_of(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role ? role : "";
}

static bool has_system(const struct nano_chat *chat)
{
    return strcmp(role_of(json_array_get(chat->messages, 0)), "system") == 0;
}

/* A JSON string of any bytes; NULL without memory. */
static json_t *make_string(const char *text)
{
    const size_t num_bytes = strlen(text);
    const size_t replacement_bytes = strlen(NANO_UTF8_REPLACEMENT);
    if (nano_utf8_valid_prefix(text, num_bytes) == num_bytes)
        return json_stringn_nocheck(text, num_bytes);
    char *valid = nano_mem_alloc(num_bytes, replacement_bytes);
    size_t length = 0;
    if (!valid)
        return NULL;
    for (const char *end = text + num_bytes; text < end;) {
        uint32_t codepoint;
        const int taken = nano_utf8_decode(text, (size_t)(end - text), &codepoint);
        const size_t written = taken > 0 ? (size_t)taken : replacement_bytes;
        memcpy(valid + length, taken > 0 ? text : NANO_UTF8_REPLACEMENT, written);
        length += written;
        text += taken > 0 ? taken : 1;
    }
    json_t *string = json_stringn_nocheck(valid, length);
    nano_mem_free(valid);
    return string;
}

/* NULL without memory. */
static json_t *make_message(const char *role, const char *content, const char *reasoning)
{
    json_t *message = json_object();
    if (message && json_object_set_new(message, "role", json_string(role)) == 0 &&
        json_object_set_new(message, "content", make_string(content)) == 0 &&
        (!reasoning ||
         json_object_set_new(message, "reasoning_content", make_string(reasoning)) == 0))
        return message;
    json_decref(message);
    return NULL;
}

const char *nano_chat_system(const struct nano_chat *chat)
{
    if (!has_system(chat))
        return NULL;
    return json_string_value(json_object_get(json_array_get(chat->messages, 0), "content"));
}

enum nano_status nano_chat_set_system(struct nano_chat *chat, const char *text,
                                      struct nano_error *err)
{
    json_t *message = NULL;
    if (*text && !(message = make_message("system", text, NULL)))
        return nano_error_no_memory(err, "the system prompt", 0);
    if (has_system(chat))
        json_array_remove(chat->messages, 0);
    if (message && json_array_insert_new(chat->messages, 0, message) != 0)
        return nano_error_no_memory(err, "the system prompt", 0);
    return NANO_OK;
}

void nano_chat_reset(struct nano_chat *chat)
{
    for (size_t keep = has_system(chat) ? 1 : 0; json_array_size(chat->messages) > keep;)
        json_decref(nano_chat_take_last(chat));
}

enum nano_status nano_chat_add(struct nano_chat *chat, const char *role, const char *content,
                               const char *reasoning, struct nano_error *err)
{
    json_t *message = make_message(role, content, reasoning);
    if (!message || json_array_append_new(chat->messages, message) != 0)
        return nano_error_no_memory(err, "the conversation", 0);
    return NANO_OK;
}

const char *nano_chat_last_role(const struct nano_chat *chat)
{
    const size_t num = json_array_size(chat->messages);
    return num > (has_system(chat) ? 1 : 0) ? role_of(json_array_get(chat->messages, num - 1)) : "";
}

json_t *nano_chat_take_last(struct nano_chat *chat)
{
    const size_t last = json_array_size(chat->messages) - 1;
    json_t *message = json_incref(json_array_get(chat->messages, last));
    json_array_remove(chat->messages, last);
    return message;
}

enum nano_status nano_chat_save(const struct nano_chat *chat, const char *path,
                                struct nano_error *err)
{
    json_t *document = json_pack("{sO}", "messages", chat->messages);
    FILE *file = document ? fopen(path, "w") : NULL;
    bool written = file && json_dumpf(document, file, JSON_INDENT(2)) == 0;
    written = written && putc('\n', file) != EOF;
    if (file && fclose(file) != 0)
        written = false;
    json_decref(document);
    if (!written)
        return nano_error_set(err, NANO_ERR_IO, "%s: cannot be written", path);
    return NANO_OK;
}

/* The list in a file's JSON; NULL if it is none of messages. */
static json_t *find_messages(json_t *document)
{
    json_t *messages = json_is_object(document) ? json_object_get(document, "messages") : document;
    size_t index;
    json_t *message;
    if (!json_is_array(messages))
        return NULL;
    json_array_foreach(messages, index, message)
    {
        if (!*role_of(message))
            return NULL;
    }
    return messages;
}

enum nano_status nano_chat_load(struct nano_chat *chat, const char *path, struct nano_error *err)
{
    json_error_t error;
    json_t *document = NULL, *messages;
    char *text = NULL, *prompt = NULL;
    size_t num_bytes;
    enum nano_status status;
    NANO_TRY(nano_cli_read(path, &text, &num_bytes, err));
    document = json_loadb(text, num_bytes, 0, &error);
    if (!document) {
        status = nano_error_set(err, NANO_ERR_FORMAT, "%s: not JSON: line %d: %s", path, error.line,
                                error.text);
        goto fail;
    }
    messages = find_messages(document);
    if (!messages) {
        status = nano_error_set(err, NANO_ERR_FORMAT,
                                "%s: expected a list of messages, each with a role", path);
        goto fail;
    }
    if (json_array_size(messages) > 0) {
        status = nano_cli_template_render(&chat->template, messages, &prompt, &num_bytes, err);
        if (status != NANO_OK) {
            nano_error_prefix(err, "%s", path);
            goto fail;
        }
    }
    json_decref(chat->messages);
    chat->messages = json_incref(messages);
fail:
    nano_free(prompt);
    json_decref(document);
    nano_mem_free(text);
    return status;
}
