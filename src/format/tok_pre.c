/* What tokenizer.json's pipeline says, in the words of GGUF's keys. */
#include "format/tok_pre.h"

#include <string.h>

#include "base/memory.h"

/* Regular expressions as the models' files spell them. */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CL100K(digits) CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits REST
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CAMEL(contraction, digits)                                                           \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" contraction "|[^\\r\\n\\p{L}\\p{N}]?" UPPER \
    "+" LOWER "*" contraction "|" digits                                                     \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char nano_tok_o200k_regex[] = CAMEL(CONTRACTIONS "?", "\\p{N}{1,3}");

/* A pre-tokenizer is written as its parts: "gpt2;" is ByteLevel with its own expression, "digits;"
 * and "numbers;" are Digits, "punctuation;" is Punctuation, a Split is its expression. */
static const struct {
    const char *parts;
    int ignore_merges; /* -1: either */
    const char *name;
} known[] = {
    {"gpt2;", -1, "gpt-2"},
    {"digits;gpt2;", -1, "smollm"},
    {"punctuation;gpt2;numbers;[0-9][0-9][0-9];", -1, "falcon"},
    {CL100K("\\p{N}{1,3}") ";", 1, "llama-bpe"},
    {CL100K("\\p{N}{1,3}") ";", 0, "dbrx"},
    {CL100K("\\p{N}") ";", -1, "qwen2"},
    {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+"
                  "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+;",
     -1, "qwen35"},
    {CAMEL("", "\\p{N}") ";", -1, "tekken"},
    {CAMEL(CONTRACTIONS "?", "\\p{N}{1,3}") ";", -1, "gpt-4o"},
    {"\\p{N}{1,3};[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+;"
     "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
     "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+;",
     -1, "deepseek-v3"},
};

static const char *string_of(json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static bool is_type(json_t *component, const char *type)
{
    return strcmp(string_of(component, "type"), type) == 0;
}

/* Appends the parts; false without memory or for a part that no known pre-tokenizer has. */
static bool write_parts(json_t *component, struct nano_buffer *out)
{
    const char *part = NULL;
    size_t i;
    json_t *child;
    if (is_type(component, "Sequence")) {
        json_array_foreach(json_object_get(component, "pretokenizers"), i, child)
        {
            if (!write_parts(child, out))
                return false;
        }
        return true;
    }
    if (is_type(component, "ByteLevel")) {
        if (json_is_true(json_object_get(component, "add_prefix_space")))
            return false;
        json_t *use_regex = json_object_get(component, "use_regex");
        if (json_is_false(use_regex))
            return true;
        part = "gpt2";
    } else if (is_type(component, "Digits")) {
        part = json_is_true(json_object_get(component, "individual_digits")) ? "digits" : "numbers";
    } else if (is_type(component, "Punctuation")) {
        part = strcmp(string_of(component, "behavior"), "Contiguous") == 0 ? "punctuation" : NULL;
    } else if (is_type(component, "Split") &&
               strcmp(string_of(component, "behavior"), "Isolated") == 0 &&
               !json_is_true(json_object_get(component, "invert"))) {
        part = json_string_value(json_object_get(json_object_get(component, "pattern"), "Regex"));
    }
    return part && nano_buffer_append(out, part, strlen(part)) && nano_buffer_append(out, ";", 1);
}

const char *nano_tok_pre_name(json_t *root)
{
    const char *name = "default";
    struct nano_buffer parts = {0};
    json_t *model = json_object_get(root, "model");
    int ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    bool ok = write_parts(json_object_get(root, "pre_tokenizer"), &parts);
    for (size_t i = 0; ok && parts.data && i < sizeof known / sizeof *known; i++) {
        if (strcmp(parts.data, known[i].parts) == 0 &&
            (known[i].ignore_merges < 0 || known[i].ignore_merges == ignore_merges)) {
            name = known[i].name;
            break;
        }
    }
    nano_buffer_deinit(&parts);
    return name;
}

/* Calls `test` for a component and the parts of a sequence until it is true. */
static json_t *find_part(json_t *component, bool (*test)(json_t *))
{
    static const char *const lists[] = {"normalizers", "pretokenizers"};
    size_t i;
    json_t *child, *found = NULL;
    if (test(component))
        return component;
    for (int list = 0; list < 2; list++)
        json_array_foreach(json_object_get(component, lists[list]), i, child)
        {
            found = find_part(child, test);
            if (found)
                return found;
        }
    return NULL;
}

static bool adds_space(json_t *part)
{
    const char *scheme = json_string_value(json_object_get(part, "prepend_scheme"));
    if (is_type(part, "Prepend"))
        return true;
    if (!is_type(part, "Metaspace"))
        return false;
    return scheme ? strcmp(scheme, "never") != 0
                  : !json_is_false(json_object_get(part, "add_prefix_space"));
}

/* Unigram's converters write it as a replacement of " {2,}"; WhitespaceSplit loses them as well. */
static bool removes_spaces(json_t *part)
{
    const char *regex = string_of(json_object_get(part, "pattern"), "Regex");
    return is_type(part, "WhitespaceSplit") ||
           (is_type(part, "Replace") && strcmp(regex, " {2,}") == 0);
}

static bool is_precompiled(json_t *part)
{
    return is_type(part, "Precompiled");
}

static json_t *find_in_pipeline(json_t *root, bool (*test)(json_t *))
{
    json_t *found = find_part(json_object_get(root, "normalizer"), test);
    return found ? found : find_part(json_object_get(root, "pre_tokenizer"), test);
}

bool nano_tok_adds_space(json_t *root)
{
    return find_in_pipeline(root, adds_space) != NULL;
}

bool nano_tok_removes_spaces(json_t *root)
{
    return find_in_pipeline(root, removes_spaces) != NULL;
}

bool nano_tok_base64(const char *text, size_t num_bytes, unsigned char *out, size_t *out_bytes)
{
    uint32_t bits = 0;
    int num_bits = 0;
    size_t written = 0;
    while (num_bytes > 0 && text[num_bytes - 1] == '=')
        num_bytes--;
    for (size_t i = 0; i < num_bytes; i++) {
        char c = text[i];
        int digit = c >= 'A' && c <= 'Z'   ? c - 'A'
                    : c >= 'a' && c <= 'z' ? c - 'a' + 26
                    : c >= '0' && c <= '9' ? c - '0' + 52
                    : c == '+'             ? 62
                    : c == '/'             ? 63
                                           : -1;
        if (digit < 0)
            return false;
        bits = (bits << 6 | (uint32_t)digit) & 0xFFFFFF;
        num_bits += 6;
        if (num_bits >= 8) {
            num_bits -= 8;
            out[written++] = (unsigned char)(bits >> num_bits);
        }
    }
    *out_bytes = written;
    return num_bytes % 4 != 1;
}

enum nano_status nano_tok_add_charsmap(struct nano_tok *tok, json_t *root, struct nano_error *err)
{
    json_t *part = find_in_pipeline(root, is_precompiled);
    json_t *map = json_object_get(part, "precompiled_charsmap");
    size_t num_bytes = json_string_length(map);
    if (!part || num_bytes == 0)
        return NANO_OK;
    unsigned char *bytes = nano_mem_alloc(num_bytes, 1);
    if (!bytes)
        return nano_error_no_memory(err, "precompiled_charsmap", num_bytes);
    enum nano_status status = NANO_OK;
    if (nano_tok_base64(json_string_value(map), num_bytes, bytes, &num_bytes)) {
        unsigned char *out = nano_meta_add_numbers(
            tok->builder, "tokenizer.ggml.precompiled_charsmap", NANO_META_U8, num_bytes);
        if (out)
            memcpy(out, bytes, num_bytes);
    } else {
        status = nano_error_set(err, NANO_ERR_FORMAT,
                                "%s: normalizer.precompiled_charsmap: expected base64", tok->path);
    }
    nano_mem_free(bytes);
    return status;
}

/* The first or the last id of a template's item, -1 if it is the text. */
static int64_t template_token(const struct nano_tok *tok, json_t *processor, json_t *item,
                              bool last)
{
    json_t *id = json_object_get(json_object_get(item, "SpecialToken"), "id");
    if (!json_is_string(id))
        return -1;
    json_t *specials = json_object_get(processor, "special_tokens");
    json_t *ids = json_object_get(json_object_get(specials, json_string_value(id)), "ids");
    json_t *found = json_array_get(ids, last ? json_array_size(ids) - 1 : 0);
    return json_is_integer(found)
               ? json_integer_value(found)
               : nano_tok_find(tok, json_string_value(id), json_string_length(id));
}

static void set_edges(struct nano_tok *tok, int64_t first, int64_t last)
{
    tok->add_bos = first >= 0 ? NANO_TOK_YES : NANO_TOK_NO;
    tok->add_eos = last >= 0 ? NANO_TOK_YES : NANO_TOK_NO;
    if (first >= 0)
        tok->roles[NANO_TOK_BOS] = first;
    if (last >= 0)
        tok->roles[NANO_TOK_EOS] = last;
}

void nano_tok_read_post_processor(struct nano_tok *tok, json_t *processor)
{
    size_t i;
    json_t *child;
    if (is_type(processor, "TemplateProcessing")) {
        json_t *single = json_object_get(processor, "single");
        size_t count = json_array_size(single);
        set_edges(tok, template_token(tok, processor, json_array_get(single, 0), false),
                  count > 1
                      ? template_token(tok, processor, json_array_get(single, count - 1), true)
                      : -1);
    } else if (is_type(processor, "RobertaProcessing") || is_type(processor, "BertProcessing")) {
        json_t *cls = json_array_get(json_object_get(processor, "cls"), 0);
        json_t *sep = json_array_get(json_object_get(processor, "sep"), 0);
        set_edges(tok,
                  json_is_string(cls)
                      ? nano_tok_find(tok, json_string_value(cls), json_string_length(cls))
                      : -1,
                  json_is_string(sep)
                      ? nano_tok_find(tok, json_string_value(sep), json_string_length(sep))
                      : -1);
    }
    json_array_foreach(json_object_get(processor, "processors"), i, child)
    {
        nano_tok_read_post_processor(tok, child);
    }
}
