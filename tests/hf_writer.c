/* A writer of model folders. */
#include "tests/hf_writer.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simd/half.h"

#define MAX_TENSORS 256

struct stored {
    char name[128];
    const char *dtype;
    int64_t rows, cols; /* cols 0: a vector */
    unsigned char *bytes;
    size_t num_bytes;
};

struct folder {
    struct stored tensors[MAX_TENSORS];
    int count;
    int64_t num_heads, num_kv_heads;
    const struct class *class;
};

/* What a class calls otherwise than most, by GGUF's name. */
struct renamed {
    const char *gguf, *stored;
};

static const struct renamed around[] = {{"post_attention_norm", "post_attention_layernorm"},
                                        {"ffn_norm", "pre_feedforward_layernorm"},
                                        {"post_ffw_norm", "post_feedforward_layernorm"},
                                        {NULL, NULL}};
static const struct renamed fused[] = {
    {"attn_qkv", "self_attn.qkv_proj"}, {"ffn_up", "mlp.gate_up_proj"}, {NULL, NULL}};
static const struct renamed plain_mlp[] = {
    {"ffn_up", "mlp.c_fc"}, {"ffn_down", "mlp.c_proj"}, {NULL, NULL}};

static const struct class
{
    const char *architecture, *name;
    bool pairs, norms_less_one;
    const struct renamed *renamed;
} classes[] = {
    {"llama", "LlamaForCausalLM", true, false, NULL},
    {"qwen2", "Qwen2ForCausalLM", false, false, NULL},
    {"qwen3", "Qwen3ForCausalLM", false, false, NULL},
    {"gemma", "GemmaForCausalLM", false, true, NULL},
    {"gemma2", "Gemma2ForCausalLM", false, true, around},
    {"gemma3", "Gemma3ForCausalLM", false, true, around},
    {"phi3", "Phi3ForCausalLM", false, false, fused},
    {"mistral3", "Ministral3ForCausalLM", true, false, NULL},
    {"olmo2", "Olmo3ForCausalLM", false, false, around},
    {"granite", "GraniteForCausalLM", true, false, NULL},
    {"starcoder2", "Starcoder2ForCausalLM", false, false, plain_mlp},
    {"smollm3", "SmolLM3ForCausalLM", true, false, NULL},
};

static const struct class *find_class(const char *architecture)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].architecture, architecture) == 0)
            return &classes[i];
    return NULL;
}

static const struct {
    const char *gguf, *stored;
} names[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"attn_norm", "input_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

static const char *stored_name(const struct class *class, const char *part)
{
    for (const struct renamed *r = class->renamed; r && r->gguf; r++)
        if (strcmp(part, r->gguf) == 0)
            return r->stored;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(part, names[i].gguf) == 0)
            return names[i].stored;
    return NULL;
}

static void translate(const struct class *class, const char *gguf, char out[128], char part[64])
{
    int layer = -1, skip = 0;
    if (sscanf(gguf, "blk.%d.%n", &layer, &skip) < 1)
        skip = 0;
    const char *dot = strrchr(gguf, '.');
    snprintf(part, 64, "%.*s", (int)(dot - gguf - skip), gguf + skip);
    const char *stored = stored_name(class, part);
    cr_assert_not_null(stored, "no name for %s", gguf);
    if (layer >= 0)
        snprintf(out, 128, "model.layers.%d.%s%s", layer, stored, dot);
    else
        snprintf(out, 128, "%s%s", stored, dot);
}

/* Where row r of GGUF's pairs stands in halves of a head. */
static int64_t half_row(int64_t row, int64_t head_dim)
{
    const int64_t i = row % head_dim;
    return row - i + (i % 2 ? head_dim / 2 + i / 2 : i / 2);
}

/* Powers of two and their multiples by up to 1.875; what is between them is rounded down. */
static unsigned char to_f8(float x)
{
    unsigned char best = 0;
    const float magnitude = x < 0 ? -x : x;
    for (int bits = 1; bits < 127; bits++) {
        const float value =
            bits < 8 ? (float)bits / 512 : (float)(8 + bits % 8) * (float)(1 << bits / 8) / 1024;
        if (value <= magnitude)
            best = (unsigned char)bits;
    }
    return x < 0 ? best | 0x80 : best;
}

static void store(unsigned char *out, const char *dtype, float x)
{
    const uint16_t half = dtype[0] == 'B' ? nano_f32_to_bf16(x) : nano_f32_to_f16(x);
    if (strcmp(dtype, "F32") == 0)
        memcpy(out, &x, 4);
    else if (strcmp(dtype, "F8_E4M3") == 0)
        *out = to_f8(x);
    else
        memcpy(out, &half, 2);
}

static size_t dtype_bytes(const char *dtype)
{
    return strcmp(dtype, "F32") == 0 ? 4 : strcmp(dtype, "F8_E4M3") == 0 ? 1 : 2;
}

static struct stored *add(struct folder *f, const char *name, const char *dtype, int64_t rows,
                          int64_t cols)
{
    cr_assert_lt(f->count, MAX_TENSORS);
    struct stored *s = &f->tensors[f->count++];
    snprintf(s->name, sizeof s->name, "%s", name);
    s->dtype = dtype;
    s->rows = rows;
    s->cols = cols;
    s->num_bytes = (size_t)(rows * (cols ? cols : 1)) * dtype_bytes(dtype);
    s->bytes = malloc(s->num_bytes);
    return s;
}

static void add_tensor(struct folder *f, const struct nano_tensor *tensor, const char *dtype)
{
    char name[128], part[64];
    translate(f->class, tensor->name.bytes, name, part);
    const bool vector = tensor->num_dims == 1;
    const int64_t rows = vector ? tensor->dims[0] : tensor->dims[1];
    const int64_t cols = vector ? 1 : tensor->dims[0];
    const bool f8 = strcmp(dtype, "F8_E4M3") == 0;
    if (f8 && (vector || strcmp(part, "token_embd") == 0 || strcmp(part, "output") == 0))
        dtype = "BF16";
    const int64_t heads = strcmp(part, "attn_q") == 0   ? f->num_heads
                          : strcmp(part, "attn_k") == 0 ? f->num_kv_heads
                                                        : 0;
    struct stored *s = add(f, name, dtype, rows, vector ? 0 : cols);
    const float *values = tensor->data;
    const float less = f->class->norms_less_one && strstr(part, "norm") ? 1 : 0;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t to = heads && f->class->pairs ? half_row(r, rows / heads) : r;
        for (int64_t c = 0; c < cols; c++)
            store(s->bytes + (size_t)(to * cols + c) * dtype_bytes(dtype), dtype,
                  values[r * cols + c] - less);
    }
    if (strcmp(dtype, "F8_E4M3") == 0) {
        const float one = 1;
        snprintf(name + strlen(name), sizeof name - strlen(name), "_scale");
        memcpy(add(f, name, "F32", 1, 0)->bytes, &one, sizeof one);
    }
}

void hf_write_file(const char *folder, const char *name, const void *bytes, size_t num_bytes)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(bytes, 1, num_bytes, file), num_bytes);
    fclose(file);
}

static void write_shard(const struct folder *f, const char *folder, const char *name, int shard,
                        int num_shards)
{
    size_t capacity = 1 << 16, offset = 0, total = 0;
    for (int i = shard; i < f->count; i += num_shards)
        total += f->tensors[i].num_bytes;
    char *file = malloc(capacity + total);
    size_t length = 8 + (size_t)sprintf(file + 8, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = shard; i < f->count; i += num_shards) {
        const struct stored *s = &f->tensors[i];
        char shape[64];
        snprintf(shape, sizeof shape, s->cols ? "%lld,%lld" : "%lld", (long long)s->rows,
                 (long long)s->cols);
        length += (size_t)snprintf(file + length, capacity - length,
                                   ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],"
                                   "\"data_offsets\":[%zu,%zu]}",
                                   s->name, s->dtype, shape, offset, offset + s->num_bytes);
        offset += s->num_bytes;
    }
    file[length++] = '}';
    const uint64_t header = length - 8;
    memcpy(file, &header, 8);
    for (int i = shard; i < f->count; i += num_shards) {
        memcpy(file + length, f->tensors[i].bytes, f->tensors[i].num_bytes);
        length += f->tensors[i].num_bytes;
    }
    hf_write_file(folder, name, file, length);
    free(file);
}

static void shard_name(char out[64], int shard, int num_shards)
{
    if (num_shards == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05d-of-%05d.safetensors", shard + 1, num_shards);
}

static void write_weights(const struct folder *f, const char *folder, int num_shards)
{
    char *index = malloc((size_t)f->count * 256 + 64), name[64];
    size_t length = (size_t)sprintf(index, "{\"weight_map\":{");
    for (int i = 0; i < f->count; i++) {
        shard_name(name, i % num_shards, num_shards);
        length += (size_t)sprintf(index + length, "%s\"%s\":\"%s\"", i ? "," : "",
                                  f->tensors[i].name, name);
    }
    length += (size_t)sprintf(index + length, "}}");
    if (num_shards > 1)
        hf_write_file(folder, "model.safetensors.index.json", index, length);
    free(index);
    for (int shard = 0; shard < num_shards; shard++) {
        shard_name(name, shard, num_shards);
        write_shard(f, folder, name, shard, num_shards);
    }
}

static int64_t get_int(const struct nano_weights *weights, const char *arch, const char *key,
                       int64_t fallback)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    cr_assert_eq(nano_meta_get_int(weights, full, 0, INT64_MAX, &fallback, NULL), NANO_OK);
    return fallback;
}

static double get_float(const struct nano_weights *weights, const char *arch, const char *key,
                        double fallback)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    cr_assert_eq(nano_meta_get_float(weights, full, &fallback, NULL), NANO_OK);
    return fallback;
}

static void write_config(const struct hf_writer *writer, const struct nano_weights *w,
                         const struct folder *f, const char *arch, const char *folder)
{
    char text[4096];
    const int64_t hidden = get_int(w, arch, "embedding_length", 0);
    const int n = snprintf(
        text, sizeof text,
        "{%s\"architectures\":[\"%s\"],\"hidden_size\":%lld,\"intermediate_size\":%lld,"
        "\"num_hidden_layers\":%lld,\"num_attention_heads\":%lld,\"num_key_value_heads\":%lld,"
        "\"head_dim\":%lld,\"vocab_size\":%lld,\"max_position_embeddings\":%lld,"
        "\"rms_norm_eps\":%.9g,\"rope_theta\":%.9g,\"tie_word_embeddings\":%s,"
        "\"attention_bias\":%s,\"mlp_bias\":%s}",
        writer->config ? writer->config : "", f->class->name, (long long)hidden,
        (long long)get_int(w, arch, "feed_forward_length", 0),
        (long long)get_int(w, arch, "block_count", 0), (long long)f->num_heads,
        (long long)f->num_kv_heads,
        (long long)get_int(w, arch, "attention.key_length", hidden / f->num_heads),
        (long long)nano_weights_find(w, "token_embd.weight")->dims[1],
        (long long)get_int(w, arch, "context_length", 0),
        get_float(w, arch, "attention.layer_norm_rms_epsilon",
                  get_float(w, arch, "attention.layer_norm_epsilon", 0)),
        get_float(w, arch, "rope.freq_base", 10000),
        nano_weights_find(w, "output.weight") ? "false" : "true",
        strncmp(arch, "qwen", 4) != 0 && nano_weights_find(w, "blk.0.attn_q.bias") ? "true"
                                                                                   : "false",
        nano_weights_find(w, "blk.0.ffn_up.bias") ? "true" : "false");
    hf_write_file(folder, "config.json", text, (size_t)n);
}

void hf_write(const struct hf_writer *writer, const struct nano_weights *weights,
              const char *folder)
{
    struct nano_string name = {0};
    char arch[64];
    cr_assert_eq(nano_meta_get_string(weights, "general.architecture", &name, NULL), NANO_OK);
    snprintf(arch, sizeof arch, "%.*s", (int)name.num_bytes, name.bytes);
    struct folder *f = calloc(1, sizeof *f);
    f->num_heads = get_int(weights, arch, "attention.head_count", 0);
    f->num_kv_heads = get_int(weights, arch, "attention.head_count_kv", f->num_heads);
    f->class = find_class(arch);
    cr_assert_not_null(f->class, "%s", arch);
    for (size_t i = 0; i < weights->num_tensors; i++) {
        const struct nano_tensor *tensor = &weights->tensors[i];
        cr_assert_eq(tensor->format, NANO_FORMAT_F32, "%s", tensor->name.bytes);
        if (strncmp(tensor->name.bytes, "rope_", 5) != 0)
            add_tensor(f, tensor, writer->dtype);
    }
    write_weights(f, folder, writer->num_shards);
    write_config(writer, weights, f, arch, folder);
    for (int i = 0; i < f->count; i++)
        free(f->tensors[i].bytes);
    free(f);
}

void hf_make_folder(char out[64])
{
    snprintf(out, 64, "/tmp/nanovllm-hf-XXXXXX");
    cr_assert_not_null(mkdtemp(out));
}

void hf_remove_folder(const char *folder)
{
    char path[512];
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    closedir(dir);
    rmdir(folder);
}
