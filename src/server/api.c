/* The API's routes, its error objects, and the list of models. */
#include "server/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "server/api_answer.h"
#include "server/api_call.h"

#define MODELS_PREFIX "/v1/models/"

struct route {
    const char *path, *method;
    bool (*handle)(struct nano_api_call *call);
};

static const struct route routes[] = {
    {"/v1/completions", "POST", nano_api_completions},
    {"/v1/chat/completions", "POST", nano_api_chat},
    {"/v1/embeddings", "POST", nano_api_embeddings},
    {"/v1/models", "GET", nano_api_models},
    {"/tokenize", "POST", nano_api_tokenize},
    {"/detokenize", "POST", nano_api_detokenize},
    {"/apply-template", "POST", nano_api_apply_template},
};
static const struct route one_model = {MODELS_PREFIX, "GET", nano_api_models};

/* ---- Errors ---------------------------------------------------------------------------------- */

static const char *error_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    case 503:
        return "overloaded_error";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

void nano_api_print_problem(struct nano_json_out *out, const struct nano_api_problem *problem)
{
    NANO_JSON_LIT(out, "{\"message\":");
    nano_json_cstring(out, problem->message);
    NANO_JSON_LIT(out, ",\"type\":");
    nano_json_cstring(out, error_type(problem->status));
    NANO_JSON_LIT(out, ",\"param\":");
    nano_json_cstring(out, problem->param[0] ? problem->param : NULL);
    NANO_JSON_LIT(out, ",\"code\":");
    nano_json_cstring(out, problem->code);
    NANO_JSON_LIT(out, "}");
}

void nano_api_reply_problem(struct nano_http_exchange *exchange,
                            const struct nano_api_problem *problem)
{
    static const char fallback[] = "{\"error\":{\"message\":\"there is no memory\",\"type\":"
                                   "\"server_error\",\"param\":null,\"code\":null}}";
    struct nano_json_out out = {0};
    NANO_JSON_LIT(&out, "{\"error\":");
    nano_api_print_problem(&out, problem);
    NANO_JSON_LIT(&out, "}");
    if (problem->status == 429)
        nano_http_add_header(exchange, "Retry-After", "1");
    if (out.failed)
        nano_http_reply_static(exchange, 503, "application/json", fallback, sizeof fallback - 1);
    else
        nano_http_reply(exchange, problem->status, "application/json", out.data, out.num_bytes);
    nano_json_deinit(&out);
}

void nano_api_error(struct nano_http_exchange *exchange, int status, const char *param,
                    const char *fmt, ...)
{
    struct nano_api_problem problem = {.status = status};
    va_list args;
    va_start(args, fmt);
    vsnprintf(problem.message, sizeof problem.message, fmt, args);
    va_end(args);
    if (param)
        snprintf(problem.param, sizeof problem.param, "%s", param);
    nano_api_reply_problem(exchange, &problem);
}

/* ---- Models ---------------------------------------------------------------------------------- */

int nano_api_max_model_len(const struct nano_api *api)
{
    struct nano_memory_plan plan;
    nano_engine_get_plan(api->engine, &plan);
    return plan.max_model_len;
}

static void print_model(const struct nano_api *api, const char *name, bool is_lora,
                        struct nano_json_out *out)
{
    NANO_JSON_LIT(out, "{\"id\":");
    nano_json_cstring(out, name);
    NANO_JSON_LIT(out, ",\"object\":\"model\",\"created\":");
    nano_json_int(out, (int64_t)api->created_s);
    NANO_JSON_LIT(out, ",\"owned_by\":\"nanovllm\",\"root\":");
    nano_json_cstring(out, is_lora ? name : api->served_model_names[0]);
    NANO_JSON_LIT(out, ",\"parent\":");
    nano_json_cstring(out, is_lora ? api->served_model_names[0] : NULL);
    NANO_JSON_LIT(out, ",\"max_model_len\":");
    nano_json_int(out, nano_api_max_model_len(api));
    NANO_JSON_LIT(out, "}");
}

bool nano_api_models(struct nano_api_call *call)
{
    const struct nano_api *api = call->api;
    const char *path = nano_http_path(call->exchange);
    const char *wanted = path[sizeof MODELS_PREFIX - 2] ? path + sizeof MODELS_PREFIX - 1 : NULL;
    struct nano_json_out out = {0};
    if (!wanted)
        NANO_JSON_LIT(&out, "{\"object\":\"list\",\"data\":[");
    bool found = false;
    for (int i = 0; i < api->num_served_model_names + api->num_lora_names; i++) {
        const bool is_lora = i >= api->num_served_model_names;
        const char *name =
            is_lora ? api->lora_names[i - api->num_served_model_names] : api->served_model_names[i];
        if (wanted && strcmp(name, wanted) != 0)
            continue;
        if (found && wanted)
            break;
        if (found)
            NANO_JSON_LIT(&out, ",");
        print_model(api, name, is_lora, &out);
        found = true;
    }
    if (!wanted)
        NANO_JSON_LIT(&out, "]}");
    if (wanted && !found) {
        nano_api_refuse(&call->problem, 404, "model", "there is no '%.200s' here", wanted);
        call->problem.code = "model_not_found";
        return false;
    }
    return nano_api_reply(call, &out);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

bool nano_api_reply(struct nano_api_call *call, struct nano_json_out *out)
{
    bool ok = !out->failed;
    if (ok)
        nano_http_reply(call->exchange, 200, "application/json", out->data, out->num_bytes);
    else
        nano_api_refuse(&call->problem, 503, NULL, "there is no memory for the answer");
    nano_json_deinit(out);
    return ok;
}

static json_t *read_body(struct nano_api_call *call)
{
    json_error_t error;
    size_t num_bytes;
    const char *body = nano_http_body(call->exchange, &num_bytes);
    char got[40];
    json_t *root =
        json_loadb(body ? body : "", num_bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!root) {
        nano_api_refuse(&call->problem, 400, NULL, "the body is not JSON: line %d, column %d: %s",
                        error.line, error.column, error.text);
        return NULL;
    }
    if (json_is_object(root))
        return root;
    nano_api_refuse(&call->problem, 400, NULL, "the body: expected an object, got %s",
                    nano_api_describe(root, got));
    json_decref(root);
    return NULL;
}

static void handle(const struct route *route, const struct nano_api *api,
                   struct nano_http_exchange *exchange)
{
    struct nano_api_call call = {.api = api, .exchange = exchange};
    json_t *root = NULL;
    bool answered = false;
    nano_arena_init(&call.arena);
    call.reader = (struct nano_api_reader){.arena = &call.arena, .problem = &call.problem};
    if (strcmp(nano_http_method(exchange), route->method) != 0) {
        nano_http_add_header(exchange, "Allow", route->method);
        nano_api_refuse(&call.problem, 405, NULL, "%s: expected %s", route->path, route->method);
    } else if (strcmp(route->method, "GET") == 0 || (root = read_body(&call)) != NULL) {
        call.root = root;
        answered = route->handle(&call);
    }
    if (!answered)
        nano_api_reply_problem(exchange, &call.problem);
    json_decref(root);
    nano_arena_deinit(&call.arena);
}

bool nano_api_handle(const struct nano_api *api, struct nano_http_exchange *exchange)
{
    const char *path = nano_http_path(exchange);
    const struct route *route = NULL;
    for (size_t i = 0; i < sizeof routes / sizeof *routes && !route; i++)
        if (strcmp(routes[i].path, path) == 0)
            route = &routes[i];
    if (!route && strncmp(path, MODELS_PREFIX, sizeof MODELS_PREFIX - 1) == 0 &&
        path[sizeof MODELS_PREFIX - 1])
        route = &one_model;
    if (!route)
        return false;
    handle(route, api, exchange);
    return true;
}
