/* Chat templates: real ones and snippets against the reference implementation. Needs
 * NANOVLLM_TEST_DATA. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nanovllm.h"

#define NOW "2026-01-02 03:04:05"

static struct nano_error err;

static const char *data_path(char out[1024], const char *relative)
{
    const char *data = getenv("NANOVLLM_TEST_DATA");
    if (!data)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    snprintf(out, 1024, "%s/chat-templates/%s", data, relative);
    return out;
}

static json_t *load(const char *relative)
{
    char path[1024];
    json_error_t error;
    json_t *json = json_load_file(data_path(path, relative), JSON_ALLOW_NUL, &error);
    cr_assert_not_null(json, "%s: %s", path, error.text);
    return json;
}

static bool is_error_type(const json_t *want, const char *type)
{
    const char *name = json_string_value(json_object_get(want, "error_type"));
    return name && strcmp(name, type) == 0;
}

static bool equals(const json_t *text, const char *prompt, size_t num_bytes)
{
    return json_is_string(text) && prompt && json_string_length(text) == num_bytes &&
           memcmp(json_string_value(text), prompt, num_bytes) == 0;
}

/* The entries of a file with one on each line. A few hold integers that jansson does not take. */
static json_t *load_lines(const char *relative, const char *key)
{
    char path[1024], *line = NULL;
    size_t capacity = 0;
    json_t *entries = json_array();
    FILE *file = fopen(data_path(path, relative), "r");
    cr_assert_not_null(file, "%s", path);
    for (ssize_t length; (length = getline(&line, &capacity, file)) > 0;) {
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == ','))
            length--;
        json_t *entry = json_loadb(line, (size_t)length, JSON_ALLOW_NUL, NULL);
        if (entry && json_object_get(entry, key))
            json_array_append(entries, entry);
        json_decref(entry);
    }
    fclose(file);
    free(line);
    return entries;
}

/* ---- Snippets -------------------------------------------------------------------------------- */

static bool check_unit(const json_t *unit)
{
    const json_t *source = json_object_get(unit, "template");
    nano_chat_template *t;
    struct nano_chat_render_params params = nano_chat_render_params_default();
    bool refused = is_error_type(unit, "TemplateSyntaxError") ||
                   is_error_type(unit, "SyntaxError") ||
                   is_error_type(unit, "TemplateAssertionError");
    params.now = NOW;
    if (nano_chat_template_create(&t, json_string_value(source), json_string_length(source), &err))
        return refused;
    json_t *request = json_pack("{sO}", "chat_template_kwargs", json_object_get(unit, "context"));
    char *text = json_dumps(request, 0), *prompt = NULL;
    size_t num_bytes = 0;
    nano_chat_template_render(t, text, strlen(text), &params, &prompt, &num_bytes, &err);
    const json_t *expected = json_object_get(unit, "expected");
    const char *message = json_string_value(json_object_get(unit, "error"));
    bool ok = expected                               ? equals(expected, prompt, num_bytes)
              : is_error_type(unit, "TemplateError") ? !prompt && strcmp(err.message, message) == 0
                                                     : !prompt && !refused;
    nano_chat_template_destroy(t);
    nano_free(prompt);
    free(text);
    json_decref(request);
    return ok;
}

Test(chat_data, snippets)
{
    json_t *units = load_lines("units.json", "template");
    for (size_t i = 0; i < json_array_size(units); i++) {
        const json_t *unit = json_array_get(units, i);
        cr_expect(check_unit(unit), "%s: %s", json_string_value(json_object_get(unit, "id")),
                  err.message);
    }
    cr_assert_gt(json_array_size(units), 1300);
    json_decref(units);
}

/* ---- Real templates -------------------------------------------------------------------------- */

/* A case's request without and with a generation prompt, by the case's name. */
static json_t *load_requests(void)
{
    static const char *const members[] = {"messages", "tools", "documents"};
    json_t *cases = load_lines("cases.json", "messages"), *requests = json_object();
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        json_t *request = json_object(), *texts = json_array();
        for (int k = 0; k < 3; k++)
            if (json_object_get(c, members[k]))
                json_object_set(request, members[k], json_object_get(c, members[k]));
        if (json_object_get(c, "kwargs"))
            json_object_set(request, "chat_template_kwargs", json_object_get(c, "kwargs"));
        for (int add = 0; add < 2; add++) {
            json_object_set_new(request, "add_generation_prompt", json_boolean(add));
            char *text = json_dumps(request, 0);
            json_array_append_new(texts, json_string(text));
            free(text);
        }
        if (!json_object_get(c, "omit"))
            json_object_set(requests, json_string_value(json_object_get(c, "id")), texts);
        json_decref(texts);
        json_decref(request);
    }
    json_decref(cases);
    return requests;
}

static bool is_wanted(const json_t *want, const char *prompt, size_t num_bytes)
{
    if (json_object_get(want, "rendered"))
        return equals(json_object_get(want, "rendered"), prompt, num_bytes);
    if (is_error_type(want, "TemplateError"))
        return !prompt &&
               strcmp(err.message, json_string_value(json_object_get(want, "error"))) == 0;
    return !prompt || equals(json_object_get(want, "mutable"), prompt, num_bytes);
}

static size_t check_golden(const char *name, json_t *requests)
{
    char path[1024];
    size_t num_results = 0;
    nano_chat_template *t;
    json_t *golden = load(name), *tokens = json_deep_copy(json_object_get(golden, "tokens"));
    struct nano_chat_render_params params = nano_chat_render_params_default();
    data_path(path, json_string_value(json_object_get(golden, "template")));
    cr_assert_eq(nano_chat_template_open(&t, path, &err), NANO_OK, "%s", err.message);
    char *kwargs;
    params.now = NOW;
    params.bos_token = json_string_value(json_object_get(tokens, "bos_token"));
    params.eos_token = json_string_value(json_object_get(tokens, "eos_token"));
    params.kwargs_json = kwargs = json_dumps(tokens, 0);
    const char *id;
    json_t *results, *texts;
    json_object_foreach(json_object_get(golden, "cases"), id, results)
    {
        for (int add = 0; add < 2 && (texts = json_object_get(requests, id)); add++) {
            const json_t *want = json_object_get(results, add ? "true" : "false");
            const json_t *request = json_array_get(texts, (size_t)add);
            char *prompt = NULL;
            size_t num_bytes = 0;
            if (!want)
                want = json_object_get(results, "any");
            if (!want)
                continue;
            nano_chat_template_render(t, json_string_value(request), json_string_length(request),
                                      &params, &prompt, &num_bytes, &err);
            cr_expect(is_wanted(want, prompt, num_bytes), "%s: %s %d: %s", path, id, add,
                      prompt ? prompt : err.message);
            nano_free(prompt);
            num_results++;
        }
    }
    free(kwargs);
    nano_chat_template_destroy(t);
    json_decref(tokens);
    json_decref(golden);
    return num_results;
}

Test(chat_data, real_templates)
{
    json_t *list = load("templates.json"), *requests = load_requests();
    const json_t *templates = json_object_get(list, "templates");
    size_t num_results = 0;
    for (size_t i = 0; i < json_array_size(templates); i++) {
        char golden[512];
        snprintf(golden, sizeof golden, "golden/%s.json",
                 json_string_value(json_object_get(json_array_get(templates, i), "name")));
        num_results += check_golden(golden, requests);
    }
    json_decref(requests);
    json_decref(list);
    cr_assert_gt(num_results, 20000);
}
