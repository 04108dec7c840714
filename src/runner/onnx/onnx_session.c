/* Sessions. Outputs are written to memory that the caller has chosen: what IoBinding is for, and
 * what a run with given outputs does as well. */
#include "runner/onnx/onnx_session.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PROVIDER_SUFFIX "ExecutionProvider"

/* ---- providers ---- */

/* The names in this library without their suffix, and whether `name` is one of them. */
static enum nano_status find_provider(const struct nano_ort *ort, const char *name, char *out,
                                      size_t out_bytes, struct nano_error *err)
{
    char **available = NULL, known[256] = "";
    int count = 0;
    size_t length = 0;
    *out = '\0';
    enum nano_status status = nano_ort_check(
        ort, ort->api->GetAvailableProviders(&available, &count), "execution providers", err);
    if (status != NANO_OK)
        return status;
    for (int i = 0; i < count; i++) {
        const char *suffix = strstr(available[i], PROVIDER_SUFFIX);
        const int size = (int)(suffix ? (size_t)(suffix - available[i]) : strlen(available[i]));
        if (strlen(name) == (size_t)size && strncasecmp(available[i], name, (size_t)size) == 0)
            snprintf(out, out_bytes, "%.*s", size, available[i]);
        if (length + (size_t)size + 4 < sizeof known)
            length += (size_t)snprintf(known + length, sizeof known - length, "%s%.*s",
                                       i ? ", " : "", size, available[i]);
    }
    OrtStatus *ignored = ort->api->ReleaseAvailableProviders(available, count);
    if (ignored)
        ort->api->ReleaseStatus(ignored);
    if (!*out)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "execution provider '%s' is not in ONNX Runtime %s, which has %s",
                              name, ort->version, known);
    return NANO_OK;
}

static enum nano_status add_cuda(const struct nano_ort *ort, OrtSessionOptions *options,
                                 struct nano_error *err)
{
    enum nano_status status;
    OrtCUDAProviderOptionsV2 *cuda = NULL;
    NANO_TRY(nano_ort_check(ort, ort->api->CreateCUDAProviderOptions(&cuda), "provider cuda", err));
    NANO_TRY(nano_ort_check(ort,
                            ort->api->SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda),
                            "provider cuda", err));
fail:
    if (cuda)
        ort->api->ReleaseCUDAProviderOptions(cuda);
    return status;
}

static enum nano_status add_provider(const struct nano_ort *ort, OrtSessionOptions *options,
                                     const char *name, struct nano_error *err)
{
    char found[64];
    enum nano_status status = find_provider(ort, name, found, sizeof found, err);
    if (status != NANO_OK || strcmp(found, "CPU") == 0) /* it is there without being asked for */
        return status;
    if (strcmp(found, "CUDA") == 0)
        return add_cuda(ort, options, err);
    return nano_ort_check(
        ort, ort->api->SessionOptionsAppendExecutionProvider(options, found, NULL, NULL, 0), name,
        err);
}

static enum nano_status add_providers(struct nano_onnx_session *s, OrtSessionOptions *options,
                                      const char *list, struct nano_error *err)
{
    size_t length =
        (size_t)snprintf(s->label, sizeof s->label, "ONNX Runtime %.16s:", s->ort->version);
    bool is_first = true;
    list = list && *list ? list : "cpu";
    while (*list) {
        char name[64];
        const size_t size = strcspn(list, ",");
        if (size == 0 || size >= sizeof name)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "onnx_providers: '%.60s' is no list such as cuda,cpu", list);
        snprintf(name, sizeof name, "%.*s", (int)size, list);
        enum nano_status status = add_provider(s->ort, options, name, err);
        if (status != NANO_OK)
            return status;
        if (length + size + 3 < sizeof s->label)
            length += (size_t)snprintf(s->label + length, sizeof s->label - length, "%s %s",
                                       is_first ? "" : ",", name);
        is_first = false;
        list += size + (list[size] == ',');
    }
    return NANO_OK;
}

/* ---- opening ---- */

static enum nano_status create(struct nano_onnx_session *s, const char *providers, int num_threads,
                               struct nano_error *err)
{
    enum nano_status status;
    OrtSessionOptions *options = NULL;
    const OrtApi *api = s->ort->api;
    const char *path = s->graph->path;
    NANO_TRY(nano_ort_check(s->ort, api->CreateSessionOptions(&options), path, err));
    NANO_TRY(nano_ort_check(s->ort, api->SetIntraOpNumThreads(options, num_threads), path, err));
    NANO_TRY(nano_ort_check(s->ort, api->SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL),
                            path, err));
    /* Plans of memory are kept for each shape that was met, and here every step has another one. */
    NANO_TRY(nano_ort_check(s->ort, api->DisableMemPattern(options), path, err));
    NANO_TRY(add_providers(s, options, providers, err));
    NANO_TRY(nano_ort_check(s->ort, api->CreateSession(s->ort->env, path, options, &s->session),
                            path, err));
    NANO_TRY(nano_ort_check(
        s->ort, api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &s->memory), path,
        err));
fail:
    if (options)
        api->ReleaseSessionOptions(options);
    return status;
}

enum nano_status nano_onnx_session_open(struct nano_onnx_session *s,
                                        const struct nano_onnx_decoder *decoder,
                                        const char *providers, int num_threads,
                                        struct nano_arena *arena, struct nano_error *err)
{
    enum nano_status status;
    const size_t num_inputs = (size_t)decoder->graph->num_inputs,
                 num_outputs = (size_t)decoder->num_kv + 1;
    *s = (struct nano_onnx_session){.graph = decoder->graph};
    NANO_TRY(nano_ort_get(&s->ort, err));
    s->input_names = nano_arena_alloc(arena, num_inputs, sizeof *s->input_names);
    s->output_names = nano_arena_alloc(arena, num_outputs, sizeof *s->output_names);
    s->inputs = nano_arena_alloc(arena, num_inputs, sizeof(OrtValue *));
    s->outputs = nano_arena_alloc(arena, num_outputs, sizeof(OrtValue *));
    if (!s->input_names || !s->output_names || !s->inputs || !s->outputs) {
        status =
            nano_error_no_memory(err, "a session", 2 * (num_inputs + num_outputs) * sizeof(void *));
        goto fail;
    }
    NANO_TRY(create(s, providers, num_threads, err));
    return NANO_OK;
fail:
    nano_onnx_session_close(s);
    return status;
}

void nano_onnx_session_close(struct nano_onnx_session *s)
{
    if (!s->ort)
        return;
    nano_onnx_session_forget(s);
    if (s->memory)
        s->ort->api->ReleaseMemoryInfo(s->memory);
    if (s->session)
        s->ort->api->ReleaseSession(s->session);
    *s = (struct nano_onnx_session){0};
}

/* ---- running ---- */

static enum nano_status make_value(const struct nano_onnx_session *s, OrtValue **out,
                                   const char *name, void *data, int type, const int64_t *dims,
                                   int num_dims, struct nano_error *err)
{
    size_t num_bytes = (size_t)nano_onnx_type_bits(type) / 8;
    for (int d = 0; d < num_dims; d++)
        num_bytes *= (size_t)dims[d];
    /* Types have the numbers of the file format. */
    OrtStatus *result = s->ort->api->CreateTensorWithDataAsOrtValue(
        s->memory, data, num_bytes, dims, (size_t)num_dims, (ONNXTensorElementDataType)type, out);
    return nano_ort_check(s->ort, result, name, err);
}

enum nano_status nano_onnx_session_input(struct nano_onnx_session *s, int value, void *data,
                                         int type, const int64_t *dims, int num_dims,
                                         struct nano_error *err)
{
    const int i = s->num_inputs;
    s->input_names[i] = s->graph->inputs[value].name;
    enum nano_status status =
        make_value(s, &s->inputs[i], s->input_names[i], data, type, dims, num_dims, err);
    s->num_inputs += status == NANO_OK;
    return status;
}

enum nano_status nano_onnx_session_output(struct nano_onnx_session *s, int value, void *data,
                                          int type, const int64_t *dims, int num_dims,
                                          struct nano_error *err)
{
    const int i = s->num_outputs;
    s->output_names[i] = s->graph->outputs[value].name;
    enum nano_status status =
        make_value(s, &s->outputs[i], s->output_names[i], data, type, dims, num_dims, err);
    s->num_outputs += status == NANO_OK;
    return status;
}

void nano_onnx_session_forget(struct nano_onnx_session *s)
{
    for (int i = 0; i < s->num_inputs; i++)
        s->ort->api->ReleaseValue(s->inputs[i]);
    for (int i = 0; i < s->num_outputs; i++)
        s->ort->api->ReleaseValue(s->outputs[i]);
    s->num_inputs = s->num_outputs = 0;
}

enum nano_status nano_onnx_session_run(struct nano_onnx_session *s, struct nano_error *err)
{
    OrtStatus *result = s->ort->api->Run(s->session, NULL, s->input_names,
                                         (const OrtValue *const *)s->inputs, (size_t)s->num_inputs,
                                         s->output_names, (size_t)s->num_outputs, s->outputs);
    nano_onnx_session_forget(s);
    return nano_ort_check(s->ort, result, s->graph->path, err);
}
