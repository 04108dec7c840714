/* Tokenizer files of a Hugging Face folder -> metadata in GGUF's keys. */
#include "format/hf_tokenizer.h"

#include <string.h>

#include "base/os.h"
#include "format/tok_config.h"
#include "format/tok_files.h"
#include "format/tok_json.h"

static enum nano_status read_bytes(struct nano_tok *tok, const void *data, size_t num_bytes,
                                   struct nano_error *err)
{
    if (nano_tok_is_tiktoken(data, num_bytes))
        return nano_tok_tiktoken(tok, data, num_bytes, err);
    const char *text = data;
    size_t i = 0;
    while (i < num_bytes && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r')))
        i++;
    /* '\n' begins a protobuf of pieces, and '{' may be the length of its first one */
    if (i == num_bytes || text[i] != '{' || text[0] == '\n')
        return nano_tok_sentencepiece(tok, data, num_bytes, err);
    json_t *root;
    enum nano_status status = nano_tok_json_parse(&root, data, num_bytes, tok->path, err);
    if (status != NANO_OK)
        return status;
    status = nano_tok_json_load(tok, root, err);
    json_decref(root);
    return status;
}

static enum nano_status read_file(struct nano_tok *tok, const char *path, struct nano_error *err)
{
    struct nano_os_file file;
    enum nano_status status = nano_os_file_open(&file, path, err);
    if (status != NANO_OK)
        return status;
    tok->path = path;
    status = read_bytes(tok, file.data, file.num_bytes, err);
    nano_os_file_close(&file);
    return status;
}

static enum nano_status read_json(struct nano_tok *tok, const char *path, struct nano_error *err)
{
    json_t *root;
    enum nano_status status = nano_tok_json_open(&root, path, err);
    if (status != NANO_OK)
        return status;
    tok->path = path;
    status = nano_tok_json_load(tok, root, err);
    json_decref(root);
    return status;
}

static enum nano_status read_vocab_and_merges(struct nano_tok *tok, const char *vocab_path,
                                              const char *merges_path,
                                              const struct nano_tok_config *config,
                                              struct nano_error *err)
{
    enum nano_status status;
    json_t *vocab = NULL;
    struct nano_os_file merges = {0};
    tok->path = vocab_path;
    NANO_TRY(nano_tok_config_pre(config, &tok->pre, err));
    NANO_TRY(nano_tok_json_open(&vocab, vocab_path, err));
    NANO_TRY(nano_tok_add_vocab(tok, vocab, "the vocabulary", 0, false, err));
    tok->path = merges_path;
    NANO_TRY(nano_os_file_open(&merges, merges_path, err));
    NANO_TRY(nano_tok_merges_txt(tok, merges.data, merges.num_bytes, err));
    tok->model = "gpt2";
fail:
    nano_os_file_close(&merges);
    json_decref(vocab);
    return status;
}

enum nano_status nano_hf_tokenizer_load(struct nano_meta_builder *builder, const char *folder,
                                        struct nano_error *err)
{
    static const char *const tiktoken_names[] = {"qwen.tiktoken", "tiktoken.model",
                                                 "cl100k_base.tiktoken", "o200k_base.tiktoken",
                                                 "r50k_base.tiktoken"};
    enum nano_status status;
    char path[NANO_TOK_MAX_PATH], second[NANO_TOK_MAX_PATH];
    struct nano_tok tok;
    struct nano_tok_config config = {0};
    nano_tok_init(&tok, builder);
    NANO_TRY(nano_tok_config_open(&config, folder, err));
    if (nano_tok_in_folder(path, folder, "tokenizer.json"))
        NANO_TRY(read_json(&tok, path, err));
    else if (nano_tok_in_folder(path, folder, "tokenizer.model"))
        NANO_TRY(read_file(&tok, path, err));
    else if (nano_tok_in_folder(path, folder, "vocab.json") &&
             nano_tok_in_folder(second, folder, "merges.txt"))
        NANO_TRY(read_vocab_and_merges(&tok, path, second, &config, err));
    for (size_t i = 0; !tok.model && i < sizeof tiktoken_names / sizeof *tiktoken_names; i++)
        if (nano_tok_in_folder(path, folder, tiktoken_names[i]))
            NANO_TRY(read_file(&tok, path, err));
    if (tok.model) {
        NANO_TRY(nano_tok_config_apply(&config, &tok, err));
        NANO_TRY(nano_tok_finish(&tok, config.vocab_size, err));
        NANO_TRY(nano_tok_json_finish(&tok, err));
    }
    NANO_TRY(nano_tok_config_templates(&config, builder, err));
    status = nano_meta_build_finish(builder, err);
fail:
    nano_tok_config_close(&config);
    nano_tok_json_close(&tok);
    nano_tok_deinit(&tok);
    return status;
}

enum nano_status nano_hf_tokenizer_load_memory(struct nano_meta_builder *builder, const void *data,
                                               size_t num_bytes, const char *name,
                                               struct nano_error *err)
{
    enum nano_status status;
    struct nano_tok tok;
    nano_tok_init(&tok, builder);
    tok.path = name;
    NANO_TRY(read_bytes(&tok, data, num_bytes, err));
    NANO_TRY(nano_tok_finish(&tok, 0, err));
    NANO_TRY(nano_tok_json_finish(&tok, err));
    status = nano_meta_build_finish(builder, err);
fail:
    nano_tok_json_close(&tok);
    nano_tok_deinit(&tok);
    return status;
}

enum nano_status nano_hf_tokenizer_load_file(struct nano_meta_builder *builder, const char *path,
                                             struct nano_error *err)
{
    struct nano_os_file file;
    enum nano_status status = nano_os_file_open(&file, path, err);
    if (status != NANO_OK)
        return status;
    status = nano_hf_tokenizer_load_memory(builder, file.data, file.num_bytes, path, err);
    nano_os_file_close(&file);
    return status;
}

bool nano_hf_tokenizer_is_path(const char *path)
{
    static const char *const names[] = {".json", ".model", ".tiktoken"};
    char inside[NANO_TOK_MAX_PATH];
    if (nano_tok_in_folder(inside, path, "."))
        return true;
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *found = strstr(name, names[i]);
        const char *behind = found ? found + strlen(names[i]) : "?";
        if (*behind == '\0' || strncmp(behind, ".v", 2) == 0)
            return true;
    }
    return false;
}

enum nano_status nano_hf_tokenizer_open(struct nano_weights *out, const char *path,
                                        struct nano_error *err)
{
    enum nano_status status;
    struct nano_meta_builder builder = {.weights = out};
    struct nano_os_file file;
    struct nano_error local;
    *out = (struct nano_weights){0};
    nano_arena_init(&out->arena);
    out->path = nano_arena_strdup(&out->arena, path, strlen(path));
    if (!out->path) {
        status = nano_error_no_memory(err, path, 0);
        goto fail;
    }
    bool is_file = nano_os_file_open(&file, path, &local) == NANO_OK;
    if (is_file) {
        nano_os_file_close(&file);
        NANO_TRY(nano_hf_tokenizer_load_file(&builder, path, err));
    } else {
        NANO_TRY(nano_hf_tokenizer_load(&builder, path, err));
    }
    NANO_TRY(nano_weights_finish(out, err));
    return NANO_OK;
fail:
    nano_weights_close(out);
    return status;
}
