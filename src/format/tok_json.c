/* tokenizer.json, as Hugging Face's tokenizers library writes it. */
#include "format/tok_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "format/tok_pre.h"

enum nano_status nano_tok_json_parse(json_t **out, const char *bytes, size_t num_bytes,
                                     const char *path, struct nano_error *err)
{
    json_error_t error;
    *out = num_bytes ? json_loadb(bytes, num_bytes, JSON_ALLOW_NUL, &error) : NULL;
    if (!num_bytes)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: the file is empty", path);
    /* transformers writes 10^30 for "no limit" (model_max_length); ids are no such numbers */
    if (!*out && json_error_code(&error) == json_error_numeric_overflow)
        *out = json_loadb(bytes, num_bytes, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (!*out && json_error_code(&error) == json_error_out_of_memory)
        return nano_error_no_memory(err, path, num_bytes);
    if (!*out)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: line %d: %s", path, error.line,
                              error.text);
    if (json_is_object(*out))
        return NANO_OK;
    json_decref(*out);
    *out = NULL;
    return nano_error_set(err, NANO_ERR_FORMAT, "%s: expected a JSON object", path);
}

enum nano_status nano_tok_json_open(json_t **out, const char *path, struct nano_error *err)
{
    struct nano_os_file file;
    *out = NULL;
    enum nano_status status = nano_os_file_open(&file, path, err);
    if (status != NANO_OK)
        return status;
    status = nano_tok_json_parse(out, file.data, file.num_bytes, path, err);
    nano_os_file_close(&file);
    return status;
}

static enum nano_status wrong(const struct nano_tok *tok, const char *field, const char *expected,
                              struct nano_error *err)
{
    return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: expected %s", tok->path, field, expected);
}

static bool is_byte_name(const char *text)
{
    return strlen(text) == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' &&
           strspn(text + 3, "0123456789ABCDEFabcdef") == 2;
}

enum nano_status nano_tok_add_vocab(struct nano_tok *tok, json_t *vocab, const char *field,
                                    float score, bool has_bytes, struct nano_error *err)
{
    enum nano_status status;
    const char *text;
    json_t *id;
    if (!json_is_object(vocab))
        return wrong(tok, field, "an object of token ids", err);
    NANO_TRY(nano_tok_expect(tok, json_object_size(vocab), err));
    json_object_foreach(vocab, text, id)
    {
        if (!json_is_integer(id))
            return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: '%.60s': expected an integer",
                                  tok->path, field, text);
        NANO_TRY(nano_tok_add(tok, json_integer_value(id), text, strlen(text), score,
                              has_bytes && is_byte_name(text) ? NANO_TOK_BYTE : NANO_TOK_NORMAL,
                              err));
    }
    return NANO_OK;
fail:
    return status;
}

/* "a b" or ["a", "b"]. */
static enum nano_status add_merge(struct nano_tok *tok, json_t *merge, size_t i,
                                  struct nano_error *err)
{
    const char *text = json_string_value(merge);
    size_t num_bytes = json_string_length(merge);
    json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    const char *space = text && num_bytes > 2 ? memchr(text + 1, ' ', num_bytes - 2) : NULL;
    if (space)
        return nano_tok_add_merge(tok, text, (size_t)(space - text), space + 1,
                                  num_bytes - (size_t)(space - text) - 1, err);
    if (json_array_size(merge) == 2 && json_string_length(left) && json_string_length(right))
        return nano_tok_add_merge(tok, json_string_value(left), json_string_length(left),
                                  json_string_value(right), json_string_length(right), err);
    return nano_error_set(err, NANO_ERR_FORMAT,
                          "%s: model.merges[%zu]: expected two tokens, \"a b\" or [\"a\", \"b\"]",
                          tok->path, i);
}

static enum nano_status load_merges(struct nano_tok *tok, json_t *merges, struct nano_error *err)
{
    enum nano_status status;
    size_t i;
    json_t *merge;
    if (!json_is_array(merges))
        return wrong(tok, "model.merges", "an array", err);
    json_array_foreach(merges, i, merge) NANO_TRY(add_merge(tok, merge, i, err));
    return NANO_OK;
fail:
    return status;
}

/* Whether a component, or one of a sequence, is of a type. */
static bool has_type(json_t *component, const char *list, const char *type)
{
    const char *name = json_string_value(json_object_get(component, "type"));
    size_t i;
    json_t *part;
    if (name && strcmp(name, type) == 0)
        return true;
    json_array_foreach(json_object_get(component, list), i,
                       part) if (has_type(part, list, type)) return true;
    return false;
}

static enum nano_status load_bpe(struct nano_tok *tok, json_t *root, json_t *model,
                                 struct nano_error *err)
{
    enum nano_status status;
    bool byte_level =
        has_type(json_object_get(root, "pre_tokenizer"), "pretokenizers", "ByteLevel") ||
        has_type(json_object_get(root, "decoder"), "decoders", "ByteLevel") ||
        has_type(json_object_get(root, "normalizer"), "normalizers", "ByteLevel");
    bool byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    tok->model = byte_level ? "gpt2" : "llama";
    tok->pre = byte_level ? nano_tok_pre_name(root) : "default";
    tok->has_scores = tok->ranks_score = !byte_level;
    NANO_TRY(nano_tok_add_vocab(tok, json_object_get(model, "vocab"), "model.vocab",
                                byte_level ? 0 : NAN, byte_fallback, err));
    NANO_TRY(load_merges(tok, json_object_get(model, "merges"), err));
    if (!byte_level)
        tok->add_space_prefix = nano_tok_adds_space(root) ? NANO_TOK_YES : NANO_TOK_NO;
    return NANO_OK;
fail:
    return status;
}

/* WordPiece and WordLevel. The pieces stay as the file spells them, which GGUF's bert vocabularies
 * do not: there the beginning of a word is marked instead of its continuation. */
static enum nano_status load_words(struct nano_tok *tok, json_t *model, struct nano_error *err)
{
    tok->model = "bert";
    tok->pre = "default";
    return nano_tok_add_vocab(tok, json_object_get(model, "vocab"), "model.vocab", 0, false, err);
}

/* Whether the byte fallback of a Unigram model is on is all that makes "<0x41>" a byte. */
static enum nano_status load_unigram(struct nano_tok *tok, json_t *root, json_t *model,
                                     struct nano_error *err)
{
    enum nano_status status;
    json_t *vocab = json_object_get(model, "vocab"), *entry;
    json_t *unk = json_object_get(model, "unk_id");
    bool byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    size_t id;
    tok->model = "t5";
    tok->pre = "default";
    tok->has_scores = true;
    if (!json_is_array(vocab))
        return wrong(tok, "model.vocab", "an array of [text, score]", err);
    if (unk && !json_is_null(unk) &&
        (!json_is_integer(unk) || json_integer_value(unk) < 0 ||
         (uint64_t)json_integer_value(unk) >= json_array_size(vocab)))
        return wrong(tok, "model.unk_id", "an id of model.vocab", err);
    NANO_TRY(nano_tok_expect(tok, json_array_size(vocab), err));
    json_array_foreach(vocab, id, entry)
    {
        json_t *text = json_array_get(entry, 0), *score = json_array_get(entry, 1);
        if (!json_is_string(text) || !json_is_number(score))
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: model.vocab[%zu]: expected [text, score]", tok->path, id);
        const char *bytes = json_string_value(text);
        bool is_byte = byte_fallback && is_byte_name(bytes);
        NANO_TRY(nano_tok_add(tok, (int64_t)id, bytes, json_string_length(text),
                              (float)json_number_value(score),
                              is_byte ? NANO_TOK_BYTE : NANO_TOK_NORMAL, err));
    }
    if (json_is_integer(unk)) {
        tok->roles[NANO_TOK_UNK] = json_integer_value(unk);
        tok->pieces[json_integer_value(unk)].type = NANO_TOK_UNKNOWN;
    }
    tok->add_space_prefix = nano_tok_adds_space(root) ? NANO_TOK_YES : NANO_TOK_NO;
    tok->remove_extra_whitespaces = nano_tok_removes_spaces(root) ? NANO_TOK_YES : NANO_TOK_NO;
    return nano_tok_add_charsmap(tok, root, err);
fail:
    return status;
}

static enum nano_status load_added(struct nano_tok *tok, json_t *added, struct nano_error *err)
{
    enum nano_status status;
    size_t i;
    json_t *token;
    if (!added || json_is_null(added))
        return NANO_OK;
    if (!json_is_array(added))
        return wrong(tok, "added_tokens", "an array", err);
    NANO_TRY(nano_tok_expect(tok, json_array_size(added), err));
    json_array_foreach(added, i, token)
    {
        json_t *id = json_object_get(token, "id"), *content = json_object_get(token, "content");
        if (!json_is_integer(id) || !json_is_string(content))
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: added_tokens[%zu]: expected an object with id and content",
                                  tok->path, i);
        NANO_TRY(nano_tok_add_special(tok, json_integer_value(id), json_string_value(content),
                                      json_string_length(content),
                                      json_is_true(json_object_get(token, "special")), err));
    }
    return NANO_OK;
fail:
    return status;
}

static void mark_unknown(struct nano_tok *tok, json_t *model)
{
    json_t *unk = json_object_get(model, "unk_token");
    int32_t id = json_is_string(unk)
                     ? nano_tok_find(tok, json_string_value(unk), json_string_length(unk))
                     : -1;
    if (id < 0)
        return;
    tok->roles[NANO_TOK_UNK] = id;
    tok->pieces[id].type = NANO_TOK_UNKNOWN;
}

/* Old files name no type. */
static const char *model_type(json_t *model)
{
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type)
        return type;
    if (json_object_get(model, "merges"))
        return "BPE";
    return json_is_array(json_object_get(model, "vocab")) ? "Unigram" : "WordPiece";
}

enum nano_status nano_tok_json_load(struct nano_tok *tok, json_t *root, struct nano_error *err)
{
    enum nano_status status;
    json_t *model = json_object_get(root, "model");
    if (!json_is_object(model))
        return wrong(tok, "model", "an object", err);
    const char *type = model_type(model);
    if (strcmp(type, "BPE") == 0)
        NANO_TRY(load_bpe(tok, root, model, err));
    else if (strcmp(type, "WordPiece") == 0 || strcmp(type, "WordLevel") == 0)
        NANO_TRY(load_words(tok, model, err));
    else if (strcmp(type, "Unigram") == 0)
        NANO_TRY(load_unigram(tok, root, model, err));
    else
        return nano_error_set(
            err, NANO_ERR_UNSUPPORTED,
            "%s: model.type: unknown '%.40s', expected BPE, WordPiece, Unigram or "
            "WordLevel",
            tok->path, type);
    mark_unknown(tok, model);
    NANO_TRY(load_added(tok, json_object_get(root, "added_tokens"), err));
    nano_tok_read_post_processor(tok, json_object_get(root, "post_processor"));
    json_object_del(model, "vocab");
    json_object_del(model, "merges");
    tok->pipeline = json_incref(root);
    return NANO_OK;
fail:
    return status;
}

void nano_tok_json_close(struct nano_tok *tok)
{
    json_decref(tok->pipeline);
    tok->pipeline = NULL;
}

enum nano_status nano_tok_json_byte_level(struct nano_tok *tok, const char *regex,
                                          struct nano_error *err)
{
    tok->pipeline =
        json_pack("{s:{s:s,s:b},s:{s:s,s:[{s:s,s:{s:s},s:s,s:b},{s:s,s:b,s:b}]},s:{s:s},s:[]}",
                  "model", "type", "BPE", "ignore_merges", 1, "pre_tokenizer", "type", "Sequence",
                  "pretokenizers", "type", "Split", "pattern", "Regex", regex, "behavior",
                  "Isolated", "invert", 0, "type", "ByteLevel", "add_prefix_space", 0, "use_regex",
                  0, "decoder", "type", "ByteLevel", "added_tokens");
    return tok->pipeline ? NANO_OK : nano_error_no_memory(err, "a tokenizer's pipeline", 0);
}

enum nano_status nano_tok_json_add_token(struct nano_tok *tok, int64_t id, json_t *token,
                                         struct nano_error *err)
{
    json_t *added = json_object_get(tok->pipeline, "added_tokens"), *other, *copy;
    json_t *content = json_object_get(token, "content");
    size_t i;
    if (!tok->pipeline)
        return NANO_OK;
    json_array_foreach(added, i, other)
    {
        if (json_equal(json_object_get(other, "content"), content))
            return NANO_OK;
    }
    if (!json_is_array(added)) {
        added = json_array();
        if (json_object_set_new(tok->pipeline, "added_tokens", added) != 0)
            return nano_error_no_memory(err, "added tokens", 0);
    }
    copy = json_copy(token);
    if (json_object_set_new(copy, "id", json_integer(id)) != 0 ||
        json_array_append(added, copy) != 0) {
        json_decref(copy);
        return nano_error_no_memory(err, "added tokens", 0);
    }
    json_decref(copy);
    return NANO_OK;
}

/* Adds a token to the template's items and to its table. */
static bool add_template_token(struct nano_tok *tok, int64_t id, json_t *items, json_t *table)
{
    const struct nano_string *text = &tok->pieces[id].text;
    json_t *item = json_pack("{s:{s:s%,s:i}}", "SpecialToken", "id", text->bytes, text->num_bytes,
                             "type_id", 0);
    json_t *entry = json_pack("{s:s%,s:[I],s:[s%]}", "id", text->bytes, text->num_bytes, "ids",
                              (json_int_t)id, "tokens", text->bytes, text->num_bytes);
    bool ok = json_array_append_new(items, item) == 0;
    return json_object_set_new(table, text->bytes, entry) == 0 && ok;
}

static bool has_role(const struct nano_tok *tok, enum nano_tok_role role)
{
    return tok->roles[role] >= 0 && (uint64_t)tok->roles[role] < tok->num_pieces &&
           tok->pieces[tok->roles[role]].text.bytes;
}

enum nano_status nano_tok_json_set_template(struct nano_tok *tok, struct nano_error *err)
{
    if (!tok->pipeline)
        return NANO_OK;
    json_t *single = json_array(), *table = json_object();
    bool ok = true;
    if (tok->add_bos == NANO_TOK_YES && has_role(tok, NANO_TOK_BOS))
        ok = add_template_token(tok, tok->roles[NANO_TOK_BOS], single, table);
    ok = json_array_append_new(
             single, json_pack("{s:{s:s,s:i}}", "Sequence", "id", "A", "type_id", 0)) == 0 &&
         ok;
    if (tok->add_eos == NANO_TOK_YES && has_role(tok, NANO_TOK_EOS))
        ok = add_template_token(tok, tok->roles[NANO_TOK_EOS], single, table) && ok;
    json_t *processor = json_pack("{s:s,s:o,s:[],s:o}", "type", "TemplateProcessing", "single",
                                  single, "pair", "special_tokens", table);
    if (!processor || json_object_set_new(tok->pipeline, "post_processor", processor) != 0 || !ok)
        return nano_error_no_memory(err, "post_processor", 0);
    return NANO_OK;
}

enum nano_status nano_tok_json_finish(struct nano_tok *tok, struct nano_error *err)
{
    if (!tok->pipeline)
        return NANO_OK;
    char *text = json_dumps(tok->pipeline, JSON_COMPACT);
    if (!text)
        return nano_error_no_memory(err, "tokenizer.json's pipeline", 0);
    nano_meta_add_cstring(tok->builder, "nanovllm.tokenizer.pipeline", text);
    free(text);
    return NANO_OK;
}
