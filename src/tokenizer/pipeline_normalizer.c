/* Pipeline: the section "normalizer". */
#include "tokenizer/pipeline.h"

enum normalizer_type {
    BERT,
    BYTE_LEVEL,
    LOWERCASE,
    NFC,
    NFD,
    NFKC,
    NFKD,
    NMT,
    PRECOMPILED,
    PREPEND,
    REPLACE,
    SEQUENCE,
    STRIP,
    STRIP_ACCENTS,
    NUM_TYPES
};

static const char *const names[NUM_TYPES] = {
    "BertNormalizer", "ByteLevel", "Lowercase", "NFC",      "NFD",   "NFKC",        "NFKD", "Nmt",
    "Precompiled",    "Prepend",   "Replace",   "Sequence", "Strip", "StripAccents"};

static enum nano_status add(const struct nano_component *c, struct nano_normalizer *out,
                            enum nano_normalizer_kind kind)
{
    struct nano_normalizer_step *step;
    return nano_normalizer_add(out, kind, &step, c->err);
}

static enum nano_status copy(const struct nano_component *c, struct nano_buffer *out,
                             const struct nano_string *text)
{
    return nano_buffer_append(out, text->bytes, text->num_bytes)
               ? NANO_OK
               : nano_error_no_memory(c->err, "normalizer", text->num_bytes);
}

static enum nano_status add_bert(const struct nano_component *c, struct nano_normalizer *out)
{
    enum nano_status status;
    bool clean = true, ideographs = true, lowercase = true;
    NANO_TRY(nano_component_bool(c, "clean_text", &clean));
    NANO_TRY(nano_component_bool(c, "handle_chinese_chars", &ideographs));
    NANO_TRY(nano_component_bool(c, "lowercase", &lowercase));
    bool accents = lowercase; /* unless the file says so */
    NANO_TRY(nano_component_bool(c, "strip_accents", &accents));
    if (clean)
        NANO_TRY(add(c, out, NANO_NORMALIZE_CLEAN));
    if (ideographs)
        NANO_TRY(add(c, out, NANO_NORMALIZE_SPACE_IDEOGRAPHS));
    if (accents) {
        NANO_TRY(add(c, out, NANO_NORMALIZE_NFD));
        NANO_TRY(add(c, out, NANO_NORMALIZE_STRIP_ACCENTS));
    }
    if (lowercase)
        NANO_TRY(add(c, out, NANO_NORMALIZE_LOWERCASE));
fail:
    return status;
}

static enum nano_status add_replace(const struct nano_component *c, struct nano_normalizer *out)
{
    enum nano_status status;
    struct nano_string pattern, content = {"", 0};
    struct nano_normalizer_step *step;
    bool is_regex;
    NANO_TRY(nano_component_pattern(c, &pattern, &is_regex));
    NANO_TRY(nano_component_string(c, "content", &content));
    NANO_TRY(nano_normalizer_add(out, NANO_NORMALIZE_REPLACE, &step, c->err));
    NANO_TRY(copy(c, &step->text, &content));
    if (is_regex)
        NANO_TRY(nano_regex_init(&step->regex, pattern.bytes, pattern.num_bytes,
                                 NANO_REGEX_ONIGURUMA, "tokenizer.json: normalizer", c->err));
    else
        NANO_TRY(copy(c, &step->pattern, &pattern));
fail:
    return status;
}

static enum nano_status add_charsmap(const struct nano_component *c, struct nano_normalizer *out)
{
    struct nano_string map = {"", 0};
    enum nano_status status = nano_component_string(c, "precompiled_charsmap", &map);
    if (status == NANO_OK && out->charsmap.bytes)
        return nano_component_error(c, "more than one Precompiled is not supported");
    if (status == NANO_OK)
        status =
            nano_charsmap_init_base64(&out->charsmap, map.bytes, map.num_bytes, c->label, c->err);
    return status == NANO_OK ? add(c, out, NANO_NORMALIZE_CHARSMAP) : status;
}

static enum nano_status add_prepend(const struct nano_component *c, struct nano_normalizer *out)
{
    struct nano_string text = {"", 0};
    struct nano_normalizer_step *step;
    enum nano_status status = nano_component_string(c, "prepend", &text);
    if (status == NANO_OK)
        status = nano_normalizer_add(out, NANO_NORMALIZE_PREPEND, &step, c->err);
    return status == NANO_OK ? copy(c, &step->text, &text) : status;
}

static enum nano_status add_strip(const struct nano_component *c, struct nano_normalizer *out)
{
    enum nano_status status;
    bool left = true, right = true;
    struct nano_normalizer_step *step;
    NANO_TRY(nano_component_bool(c, "strip_left", &left));
    NANO_TRY(nano_component_bool(c, "strip_right", &right));
    NANO_TRY(nano_normalizer_add(out, NANO_NORMALIZE_STRIP, &step, c->err));
    step->left = left;
    step->right = right;
fail:
    return status;
}

static enum nano_status visit(const struct nano_component *c, int depth, void *user_data)
{
    struct nano_normalizer *out = user_data;
    size_t type;
    enum nano_status status = nano_component_type(c, names, NUM_TYPES, &type);
    if (status != NANO_OK)
        return status;
    switch ((enum normalizer_type)type) {
    case BERT:
        return add_bert(c, out);
    case BYTE_LEVEL:
        return add(c, out, NANO_NORMALIZE_BYTE_CHARS);
    case LOWERCASE:
        return add(c, out, NANO_NORMALIZE_LOWERCASE);
    case NFC:
        return add(c, out, NANO_NORMALIZE_NFC);
    case NFD:
        return add(c, out, NANO_NORMALIZE_NFD);
    case NFKC:
        return add(c, out, NANO_NORMALIZE_NFKC);
    case NFKD:
        return add(c, out, NANO_NORMALIZE_NFKD);
    case NMT:
        return add(c, out, NANO_NORMALIZE_NMT);
    case PRECOMPILED:
        return add_charsmap(c, out);
    case PREPEND:
        return add_prepend(c, out);
    case REPLACE:
        return add_replace(c, out);
    case SEQUENCE:
        return nano_component_each(c, "normalizers", depth, visit, out);
    case STRIP:
        return add_strip(c, out);
    default:
        return add(c, out, NANO_NORMALIZE_STRIP_ACCENTS);
    }
}

enum nano_status nano_pipeline_read_normalizer(const struct nano_component *c,
                                               struct nano_normalizer *out)
{
    return visit(c, 0, out);
}
