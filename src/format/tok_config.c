/* What stands beside a tokenizer's vocabulary. */
#include "format/tok_config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/utf8.h"
#include "format/tok_json.h"

bool nano_tok_in_folder(char path[NANO_TOK_MAX_PATH], const char *folder, const char *name)
{
    int length = snprintf(path, NANO_TOK_MAX_PATH, "%s/%s", folder, name);
    return length > 0 && length < NANO_TOK_MAX_PATH && nano_os_file_exists(path);
}

static enum nano_status open_one(json_t **out, const char *folder, const char *name,
                                 struct nano_error *err)
{
    char path[NANO_TOK_MAX_PATH];
    return nano_tok_in_folder(path, folder, name) ? nano_tok_json_open(out, path, err) : NANO_OK;
}

static enum nano_status read_vocab_size(struct nano_tok_config *config, struct nano_error *err)
{
    json_t *size = json_object_get(config->model, "vocab_size");
    if (!size)
        size = json_object_get(json_object_get(config->model, "text_config"), "vocab_size");
    if (!size || json_is_null(size))
        return NANO_OK;
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s/config.json: vocab_size: expected a number of tokens",
                              config->folder);
    config->vocab_size = (size_t)json_integer_value(size);
    return NANO_OK;
}

enum nano_status nano_tok_config_open(struct nano_tok_config *config, const char *folder,
                                      struct nano_error *err)
{
    enum nano_status status;
    *config = (struct nano_tok_config){.folder = folder};
    NANO_TRY(open_one(&config->tokenizer, folder, "tokenizer_config.json", err));
    NANO_TRY(open_one(&config->map, folder, "special_tokens_map.json", err));
    NANO_TRY(open_one(&config->added, folder, "added_tokens.json", err));
    NANO_TRY(open_one(&config->model, folder, "config.json", err));
    return read_vocab_size(config, err);
fail:
    return status;
}

void nano_tok_config_close(struct nano_tok_config *config)
{
    json_decref(config->tokenizer);
    json_decref(config->map);
    json_decref(config->added);
    json_decref(config->model);
    *config = (struct nano_tok_config){0};
}

static const char *tokenizer_class(const struct nano_tok_config *config)
{
    return json_string_value(json_object_get(config->tokenizer, "tokenizer_class"));
}

/* Whether a class is NAME or NAMEFast. */
static bool is_class(const char *class, const char *name)
{
    size_t length = strlen(name);
    return class && strncmp(class, name, length) == 0 &&
           (class[length] == '\0' || strcmp(class + length, "Fast") == 0);
}

enum nano_status nano_tok_config_pre(const struct nano_tok_config *config, const char **pre,
                                     struct nano_error *err)
{
    static const struct {
        const char *class, *pre;
    } classes[] = {
        {"Qwen2Tokenizer", "qwen2"},      {"GPT2Tokenizer", "gpt-2"},
        {"RobertaTokenizer", "gpt-2"},    {"BartTokenizer", "gpt-2"},
        {"LongformerTokenizer", "gpt-2"}, {"CodeGenTokenizer", "gpt-2"},
        {"WhisperTokenizer", "gpt-2"},    {"PreTrainedTokenizer", "gpt-2"},
        {"GPTNeoXTokenizer", "gpt-2"},
    };
    const char *class = tokenizer_class(config);
    const char *type = json_string_value(json_object_get(config->model, "model_type"));
    *pre = type && strncmp(type, "qwen", 4) == 0 ? "qwen2" : "gpt-2";
    if (!class)
        return NANO_OK;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (is_class(class, classes[i].class)) {
            *pre = classes[i].pre;
            return NANO_OK;
        }
    return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                          "%s/tokenizer_config.json: tokenizer_class: '%.60s' with vocab.json and "
                          "merges.txt, expected GPT2Tokenizer, Qwen2Tokenizer or one like them",
                          config->folder, class);
}

/* {"32000": {"content": "<|x|>", "special": true}}: what stands at the id is replaced. */
static enum nano_status apply_added_decoder(const struct nano_tok_config *config,
                                            struct nano_tok *tok, struct nano_error *err)
{
    enum nano_status status;
    const char *key;
    json_t *token, *added = json_object_get(config->tokenizer, "added_tokens_decoder");
    NANO_TRY(nano_tok_expect(tok, json_object_size(added), err));
    json_object_foreach(added, key, token)
    {
        char *end;
        errno = 0;
        long long id = strtoll(key, &end, 10);
        json_t *content = json_object_get(token, "content");
        if (errno || *key < '0' || *key > '9' || *end || !json_is_string(content)) {
            status = nano_error_set(err, NANO_ERR_FORMAT,
                                    "%s: added_tokens_decoder: '%.40s': expected an id and an "
                                    "object with content",
                                    tok->path, key);
            goto fail;
        }
        const char *text = json_string_value(content);
        size_t num_bytes = json_string_length(content);
        if (nano_tok_find(tok, text, num_bytes) < 0)
            nano_tok_clear(tok, id);
        NANO_TRY(nano_tok_add_special(tok, id, text, num_bytes,
                                      json_is_true(json_object_get(token, "special")), err));
        NANO_TRY(nano_tok_json_add_token(tok, nano_tok_find(tok, text, num_bytes), token, err));
    }
    return NANO_OK;
fail:
    return status;
}

static enum nano_status apply_added(const struct nano_tok_config *config, struct nano_tok *tok,
                                    struct nano_error *err)
{
    enum nano_status status;
    const char *text;
    json_t *id;
    NANO_TRY(nano_tok_expect(tok, json_object_size(config->added), err));
    json_object_foreach(config->added, text, id)
    {
        if (!json_is_integer(id)) {
            status = nano_error_set(err, NANO_ERR_FORMAT, "%s: '%.60s': expected an integer id",
                                    tok->path, text);
            goto fail;
        }
        if (nano_tok_find(tok, text, strlen(text)) < 0)
            NANO_TRY(
                nano_tok_add_special(tok, json_integer_value(id), text, strlen(text), false, err));
    }
    return NANO_OK;
fail:
    return status;
}

/* The id of a token that is given as a string or as an object with content. */
static int32_t find_token(const struct nano_tok *tok, json_t *token)
{
    json_t *content = json_is_object(token) ? json_object_get(token, "content") : token;
    return json_is_string(content)
               ? nano_tok_find(tok, json_string_value(content), json_string_length(content))
               : -1;
}

static void mark_control(struct nano_tok *tok, int32_t id)
{
    if (id >= 0 && tok->pieces[id].type != NANO_TOK_UNKNOWN)
        tok->pieces[id].type = NANO_TOK_CONTROL;
}

static void apply_roles(json_t *document, struct nano_tok *tok, bool named[NANO_TOK_NUM_ROLES])
{
    size_t i;
    json_t *token;
    for (int role = 0; role < NANO_TOK_NUM_ROLES; role++) {
        char key[32];
        snprintf(key, sizeof key, "%s_token", nano_tok_role_names[role]);
        int32_t id = find_token(tok, json_object_get(document, key));
        if (id < 0 || named[role])
            continue;
        mark_control(tok, id);
        tok->roles[role] = id;
        named[role] = true;
    }
    json_array_foreach(json_object_get(document, "additional_special_tokens"), i, token)
    {
        mark_control(tok, find_token(tok, token));
    }
}

/* Ids of config.json, for what nothing else has said; of a list the first. */
static void apply_model_ids(const struct nano_tok_config *config, struct nano_tok *tok)
{
    for (int role = 0; role < NANO_TOK_NUM_ROLES; role++) {
        char key[32];
        snprintf(key, sizeof key, "%s_token_id", nano_tok_role_names[role]);
        json_t *id = json_object_get(config->model, key);
        if (!id)
            id = json_object_get(json_object_get(config->model, "text_config"), key);
        if (json_is_array(id))
            id = json_array_get(id, 0);
        if (tok->roles[role] < 0 && json_is_integer(id) && json_integer_value(id) >= 0)
            tok->roles[role] = json_integer_value(id);
    }
}

/* GPT-2's files name no special tokens; its class knows this one. */
static void apply_gpt2_default(struct nano_tok *tok)
{
    static const char text[] = "<|endoftext|>";
    int32_t id = nano_tok_find(tok, text, sizeof text - 1);
    if (id < 0)
        return;
    mark_control(tok, id);
    for (int role = NANO_TOK_BOS; role <= NANO_TOK_EOS; role++)
        if (tok->roles[role] < 0)
            tok->roles[role] = id;
}

/* Classes that build their post-processor from add_bos_token (true unless set) and add_eos_token;
 * for others an explicit flag wins, and then what tokenizer.json says. */
static enum nano_status apply_flags(const struct nano_tok_config *config, struct nano_tok *tok,
                                    struct nano_error *err)
{
    static const char *const classes[] = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer",
                                          "CohereTokenizer"};
    const char *class = tokenizer_class(config);
    json_t *bos = json_object_get(config->tokenizer, "add_bos_token");
    json_t *eos = json_object_get(config->tokenizer, "add_eos_token");
    enum nano_tok_flag read_bos = tok->add_bos, read_eos = tok->add_eos;
    bool builds = false;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        builds = builds || is_class(class, classes[i]);
    if (json_is_boolean(bos))
        tok->add_bos = json_is_true(bos) ? NANO_TOK_YES : NANO_TOK_NO;
    else if (builds)
        tok->add_bos = NANO_TOK_YES;
    if (json_is_boolean(eos))
        tok->add_eos = json_is_true(eos) ? NANO_TOK_YES : NANO_TOK_NO;
    else if (builds)
        tok->add_eos = NANO_TOK_NO;
    if (tok->add_bos == NANO_TOK_UNSET)
        tok->add_bos =
            !tok->pipeline && strcmp(tok->model, "llama") == 0 ? NANO_TOK_YES : NANO_TOK_NO;
    /* tokenizer.json says it for itself */
    json_t *prefix = json_object_get(config->tokenizer, "add_prefix_space");
    if (json_is_boolean(prefix) && !tok->pipeline && strcmp(tok->model, "llama") == 0)
        tok->add_space_prefix = json_is_true(prefix) ? NANO_TOK_YES : NANO_TOK_NO;
    if ((read_bos == NANO_TOK_YES) == (tok->add_bos == NANO_TOK_YES) &&
        (read_eos == NANO_TOK_YES) == (tok->add_eos == NANO_TOK_YES))
        return NANO_OK;
    return nano_tok_json_set_template(tok, err);
}

enum nano_status nano_tok_config_apply(const struct nano_tok_config *config, struct nano_tok *tok,
                                       struct nano_error *err)
{
    enum nano_status status;
    char path[NANO_TOK_MAX_PATH];
    bool named[NANO_TOK_NUM_ROLES] = {false};
    nano_tok_in_folder(path, config->folder, "tokenizer_config.json");
    tok->path = path;
    NANO_TRY(apply_added_decoder(config, tok, err));
    nano_tok_in_folder(path, config->folder, "added_tokens.json");
    NANO_TRY(apply_added(config, tok, err));
    apply_roles(config->tokenizer, tok, named);
    apply_roles(config->map, tok, named);
    if (strcmp(tok->model, "gpt2") == 0 && !config->tokenizer)
        apply_gpt2_default(tok);
    apply_model_ids(config, tok);
    NANO_TRY(apply_flags(config, tok, err));
    tok->path = config->folder;
fail:
    return status;
}

static void add_template(struct nano_meta_builder *builder, json_t *name, json_t *template)
{
    char key[96];
    const char *text = json_string_value(name);
    if (text && strcmp(text, "default") == 0)
        text = NULL;
    if (json_is_string(template) && (!text || strlen(text) < 64)) {
        snprintf(key, sizeof key, "tokenizer.chat_template%s%s", text ? "." : "", text ? text : "");
        if (!nano_weights_meta(builder->weights, key))
            nano_meta_add_string(builder, key, json_string_value(template),
                                 json_string_length(template));
    }
}

static enum nano_status add_jinja(const struct nano_tok_config *config,
                                  struct nano_meta_builder *builder, struct nano_error *err)
{
    char path[NANO_TOK_MAX_PATH];
    struct nano_os_file file;
    if (!nano_tok_in_folder(path, config->folder, "chat_template.jinja"))
        return NANO_OK;
    enum nano_status status = nano_os_file_open(&file, path, err);
    if (status != NANO_OK)
        return status;
    if (nano_utf8_valid_prefix(file.data, file.num_bytes) != file.num_bytes)
        status = nano_error_set(err, NANO_ERR_FORMAT, "%s: expected UTF-8", path);
    else
        nano_meta_add_string(builder, "tokenizer.chat_template", file.data, file.num_bytes);
    nano_os_file_close(&file);
    return status;
}

/* A string, or a list of {"name", "template"}. */
static void add_templates(struct nano_meta_builder *builder, json_t *templates)
{
    size_t i;
    json_t *entry;
    add_template(builder, NULL, templates);
    json_array_foreach(templates, i, entry)
    {
        json_t *name = json_object_get(entry, "name");
        if (json_is_string(name))
            add_template(builder, name, json_object_get(entry, "template"));
    }
}

enum nano_status nano_tok_config_templates(const struct nano_tok_config *config,
                                           struct nano_meta_builder *builder,
                                           struct nano_error *err)
{
    enum nano_status status;
    json_t *document = NULL;
    NANO_TRY(add_jinja(config, builder, err));
    NANO_TRY(open_one(&document, config->folder, "chat_template.json", err));
    add_templates(builder, json_object_get(document, "chat_template"));
    add_templates(builder, json_object_get(config->tokenizer, "chat_template"));
    json_decref(document);
fail:
    return status;
}
