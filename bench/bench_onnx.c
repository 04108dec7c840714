/* What ONNX Runtime alone makes of a decoder: a prompt of random tokens, then greedy tokens one by
 * one, without scheduler, batch or blocks of KV. What the runner `onnx` is compared with.
 *
 *   bench_onnx MODEL [--threads N] [--tokens N] [--prompt N]
 *
 * Without --threads ONNX Runtime chooses. Outputs are those that it allocates, and present becomes
 * past as it is: IoBinding and two swapped buffers of our own came within 2 % of that on a
 * processor, which is no more than one run differs from the next. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "format/onnx_decoder.h"
#include "format/onnx_folder.h"
#include "runner/onnx/onnx_api.h"

enum { MAX_KV = 512, MAX_INPUTS = MAX_KV + 3 };

struct options {
    const char *path;
    int num_threads, num_tokens, num_prompt;
};

struct loop {
    const struct nano_ort *ort;
    const struct nano_onnx_decoder *decoder;
    OrtSession *session;
    OrtMemoryInfo *memory;
    OrtValue *past[MAX_KV];
    int64_t num_past;
    int64_t *mask, *positions; /* ones; 0, 1, 2 … */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *message)
{
    fprintf(stderr, "bench_onnx: %s\n", message);
    exit(1);
}

static void check(const struct loop *l, OrtStatus *result)
{
    struct nano_error err;
    if (nano_ort_check(l->ort, result, l->decoder->graph->path, &err) != NANO_OK)
        fail(err.message);
}

static void *alloc(int64_t count, size_t size)
{
    void *data = calloc((size_t)count, size);
    if (!data)
        fail("out of memory");
    return data;
}

/* ---- values ---- */

static OrtValue *make_ints(const struct loop *l, int64_t *data, int64_t count)
{
    const int64_t dims[2] = {1, count};
    OrtValue *value = NULL;
    check(l, l->ort->api->CreateTensorWithDataAsOrtValue(
                 l->memory, data, (size_t)count * sizeof *data, dims, 2,
                 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &value));
    return value;
}

static OrtValue *make_no_kv(const struct loop *l, const struct nano_onnx_kv *kv)
{
    static float nothing[1];
    const int64_t dims[4] = {1, kv->num_heads, 0, kv->head_dim};
    OrtValue *value = NULL;
    check(l, l->ort->api->CreateTensorWithDataAsOrtValue(
                 l->memory, nothing, 0, dims, 4, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value));
    return value;
}

static void release(const struct loop *l, OrtValue **values, int count)
{
    for (int i = 0; i < count; i++) {
        if (values[i])
            l->ort->api->ReleaseValue(values[i]);
        values[i] = NULL;
    }
}

/* The likeliest token of the last row. */
static int64_t argmax(const struct loop *l, OrtValue *logits)
{
    const OrtApi *api = l->ort->api;
    const int64_t vocab_size = l->decoder->vocab_size;
    OrtTensorTypeAndShapeInfo *info = NULL;
    size_t count = 0;
    void *data = NULL;
    int64_t best = 0;
    check(l, api->GetTensorTypeAndShape(logits, &info));
    check(l, api->GetTensorShapeElementCount(info, &count));
    check(l, api->GetTensorMutableData(logits, &data));
    api->ReleaseTensorTypeAndShapeInfo(info);
    if (count < (size_t)vocab_size)
        fail("logits are shorter than the vocabulary");
    const float *row = (const float *)data + count - vocab_size;
    for (int64_t i = 1; i < vocab_size; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

/* ---- the loop ---- */

static void start(struct loop *l)
{
    release(l, l->past, l->decoder->num_kv);
    for (int i = 0; i < l->decoder->num_kv; i++)
        l->past[i] = make_no_kv(l, &l->decoder->kv[i]);
    l->num_past = 0;
}

/* Runs these tokens behind the past, and greedily picks the next one. */
static int64_t step(struct loop *l, int64_t *ids, int64_t count)
{
    const struct nano_onnx_decoder *d = l->decoder;
    const struct nano_onnx_graph *graph = d->graph;
    const char *in_names[MAX_INPUTS], *out_names[MAX_KV + 1];
    OrtValue *in[MAX_INPUTS], *out[MAX_KV + 1] = {NULL};
    int num_in = 0;
    in_names[num_in] = graph->inputs[d->input_ids].name;
    in[num_in++] = make_ints(l, ids, count);
    if (d->attention_mask >= 0) {
        in_names[num_in] = graph->inputs[d->attention_mask].name;
        in[num_in++] = make_ints(l, l->mask, l->num_past + count);
    }
    if (d->position_ids >= 0) {
        in_names[num_in] = graph->inputs[d->position_ids].name;
        in[num_in++] = make_ints(l, l->positions + l->num_past, count);
    }
    out_names[0] = graph->outputs[d->logits].name;
    for (int i = 0; i < d->num_kv; i++) {
        in_names[num_in] = graph->inputs[d->kv[i].input].name;
        in[num_in++] = l->past[i];
        out_names[i + 1] = graph->outputs[d->kv[i].output].name;
    }
    check(l, l->ort->api->Run(l->session, NULL, in_names, (const OrtValue *const *)in,
                              (size_t)num_in, out_names, (size_t)d->num_kv + 1, out));
    const int64_t next = argmax(l, out[0]);
    release(l, in, num_in); /* with the old past */
    release(l, out, 1);
    memcpy(l->past, out + 1, (size_t)d->num_kv * sizeof *out);
    l->num_past += count;
    return next;
}

/* ---- opening ---- */

static const char *unsupported(const struct nano_onnx_decoder *d)
{
    const struct nano_onnx_value *inputs = d->graph->inputs;
    if (d->num_kv == 0 || d->num_kv > MAX_KV || d->use_cache_branch >= 0)
        return "only graphs with past and present, and without use_cache_branch";
    if (d->graph->has_group_query_attention)
        return "only graphs that concatenate past and new, without GroupQueryAttention";
    for (int i = 0; i < d->num_kv; i++)
        if (d->kv[i].type != NANO_ONNX_FLOAT || d->kv[i].num_planes != 1)
            return "only past of type FLOAT, with keys and values apart";
    if (d->graph->outputs[d->logits].type != NANO_ONNX_FLOAT)
        return "only logits of type FLOAT";
    if (inputs[d->input_ids].type != NANO_ONNX_INT64 ||
        (d->attention_mask >= 0 && inputs[d->attention_mask].type != NANO_ONNX_INT64) ||
        (d->position_ids >= 0 && inputs[d->position_ids].type != NANO_ONNX_INT64))
        return "only input_ids, attention_mask and position_ids of type INT64";
    return NULL;
}

static void open_session(struct loop *l, int num_threads)
{
    const OrtApi *api = l->ort->api;
    OrtSessionOptions *options = NULL;
    check(l, api->CreateSessionOptions(&options));
    check(l, api->SetIntraOpNumThreads(options, num_threads));
    check(l, api->SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL));
    check(l, api->CreateSession(l->ort->env, l->decoder->graph->path, options, &l->session));
    api->ReleaseSessionOptions(options);
    check(l, api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &l->memory));
}

static void close_session(struct loop *l)
{
    release(l, l->past, l->decoder->num_kv);
    l->ort->api->ReleaseMemoryInfo(l->memory);
    l->ort->api->ReleaseSession(l->session);
}

/* ---- measuring ---- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct loop *l, const struct options *options)
{
    const int num_prompt = options->num_prompt, num_tokens = options->num_tokens;
    const int64_t num_columns = (int64_t)num_prompt + num_tokens;
    int64_t *prompt = alloc(num_prompt, sizeof *prompt);
    double *times = alloc(num_tokens, sizeof *times), decode = 0;
    uint32_t state = 1;
    l->mask = alloc(num_columns, sizeof *l->mask);
    l->positions = alloc(num_columns, sizeof *l->positions);
    for (int64_t i = 0; i < num_columns; i++) {
        l->mask[i] = 1;
        l->positions[i] = i;
    }
    for (int i = 0; i < num_prompt; i++) {
        state = state * 1664525u + 1013904223u;
        prompt[i] = (state >> 8) % (uint32_t)l->decoder->vocab_size;
    }
    start(l);
    int64_t next =
        step(l, prompt, num_prompt); /* not measured: weights are touched, memory taken */
    step(l, &next, 1);

    start(l);
    double begin = now();
    next = step(l, prompt, num_prompt);
    const double prefill = now() - begin;
    for (int i = 0; i < num_tokens; i++) {
        begin = now();
        next = step(l, &next, 1);
        times[i] = now() - begin;
        decode += times[i];
    }
    qsort(times, (size_t)num_tokens, sizeof *times, compare);
    printf("prefill %6d tokens %10.2f tokens/s\n", num_prompt, num_prompt / prefill);
    printf("decode  %6d tokens %10.2f tokens/s, median step %.2f tokens/s\n", num_tokens,
           num_tokens / decode, 1 / times[num_tokens / 2]);
    free(prompt);
    free(times);
    free(l->mask);
    free(l->positions);
}

static bool read_options(struct options *out, int argc, char **argv)
{
    *out = (struct options){.num_tokens = 64, .num_prompt = 16};
    for (int i = 1; i < argc; i++) {
        int *number = strcmp(argv[i], "--threads") == 0  ? &out->num_threads
                      : strcmp(argv[i], "--tokens") == 0 ? &out->num_tokens
                      : strcmp(argv[i], "--prompt") == 0 ? &out->num_prompt
                                                         : NULL;
        if (number) {
            char *end = NULL;
            const long value = i + 1 < argc ? strtol(argv[i + 1], &end, 10) : 0;
            if (value < 1 || value > 1000000 || *end)
                return false;
            *number = (int)value;
            i++;
        } else if (!out->path && argv[i][0] != '-')
            out->path = argv[i];
        else
            return false;
    }
    return out->path;
}

int main(int argc, char **argv)
{
    struct options options;
    struct loop loop = {0};
    struct nano_weights weights;
    struct nano_onnx_decoder decoder;
    struct nano_arena arena;
    struct nano_error err;
    if (!read_options(&options, argc, argv)) {
        fputs("usage: bench_onnx MODEL [--threads N] [--tokens N] [--prompt N]\n", stderr);
        return 2;
    }
    nano_arena_init(&arena);
    if (nano_onnx_open(&weights, options.path, &err) != NANO_OK ||
        nano_onnx_decoder_read(&decoder, weights.onnx, &arena, &err) != NANO_OK ||
        nano_ort_get(&loop.ort, &err) != NANO_OK)
        fail(err.message);
    const char *reason = unsupported(&decoder);
    if (reason)
        fail(reason);
    loop.decoder = &decoder;
    open_session(&loop, options.num_threads);
    printf("ONNX Runtime %s, %s\n", loop.ort->version, decoder.graph->path);
    measure(&loop, &options);
    close_session(&loop);
    nano_arena_deinit(&arena);
    nano_weights_close(&weights);
    return 0;
}
