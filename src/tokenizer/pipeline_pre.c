/* Pipeline: the section "pre_tokenizer". */
#include <string.h>

#include "tokenizer/pipeline.h"

#define SPACES "[\\s]+"
#define BYTE_LEVEL_REGEX \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define PUNCTUATION "[\\p{P}$+<=>^`|~]"

enum pre_type {
    BERT,
    BYTE_LEVEL,
    CHAR_DELIMITER,
    DIGITS,
    METASPACE,
    PUNCTUATION_TYPE,
    SEQUENCE,
    SPLIT,
    WHITESPACE,
    WHITESPACE_SPLIT,
    NUM_TYPES
};

static const char *const names[NUM_TYPES] = {"BertPreTokenizer", "ByteLevel", "CharDelimiterSplit",
                                             "Digits",           "Metaspace", "Punctuation",
                                             "Sequence",         "Split",     "Whitespace",
                                             "WhitespaceSplit"};

struct reader {
    struct nano_pretokenizer *out;
    bool byte_chars; /* a ByteLevel was seen */
};

/* Expressions that scanners know, as they stand in files. */
static const struct {
    const char *regex;
    nano_scan_fn scan;
} scanned[] = {
    {BYTE_LEVEL_REGEX, nano_scan_gpt2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
     "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     nano_scan_llama3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
     "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     nano_scan_qwen2},
};

static enum nano_status add_split(const struct nano_component *c, struct nano_pretokenizer *out,
                                  const char *regex, enum nano_split_behavior behavior, bool invert)
{
    out->scan = NULL;
    for (size_t i = 0; i < sizeof scanned / sizeof *scanned && out->num_stages == 0; i++)
        if (behavior == NANO_SPLIT_ISOLATED && strcmp(regex, scanned[i].regex) == 0)
            out->scan = scanned[i].scan;
    return nano_pretokenizer_add_split(out, regex, strlen(regex), NANO_REGEX_ONIGURUMA, behavior,
                                       invert, c->err);
}

static enum nano_status read_behavior(const struct nano_component *c,
                                      enum nano_split_behavior *behavior)
{
    static const char *const behaviors[] = {"Isolated", "Removed", "MergedWithPrevious",
                                            "MergedWithNext", "Contiguous"};
    struct nano_string name = {"", 0};
    enum nano_status status = nano_component_string(c, "behavior", &name);
    if (status != NANO_OK || name.num_bytes == 0)
        return status;
    for (size_t i = 0; i < sizeof behaviors / sizeof *behaviors; i++)
        if (strcmp(behaviors[i], name.bytes) == 0) {
            *behavior = (enum nano_split_behavior)i;
            return NANO_OK;
        }
    return nano_component_error(c,
                                "behavior '%.40s' is unknown, expected Isolated, Removed, "
                                "MergedWithPrevious, MergedWithNext or Contiguous",
                                name.bytes);
}

static enum nano_status read_split(const struct nano_component *c, struct nano_pretokenizer *out)
{
    enum nano_status status;
    enum nano_split_behavior behavior = NANO_SPLIT_ISOLATED;
    struct nano_string pattern;
    bool is_regex, invert = false;
    NANO_TRY(nano_component_pattern(c, &pattern, &is_regex));
    NANO_TRY(read_behavior(c, &behavior));
    NANO_TRY(nano_component_bool(c, "invert", &invert));
    if (is_regex && strlen(pattern.bytes) == pattern.num_bytes && !invert)
        return add_split(c, out, pattern.bytes, behavior, invert);
    out->scan = NULL;
    if (pattern.num_bytes == 0)
        return NANO_OK; /* splits nothing */
    return nano_pretokenizer_add_split(out, pattern.bytes, pattern.num_bytes,
                                       is_regex ? NANO_REGEX_ONIGURUMA : NANO_REGEX_LITERAL,
                                       behavior, invert, c->err);
fail:
    return status;
}

static enum nano_status read_byte_level(const struct nano_component *c, struct reader *reader)
{
    enum nano_status status;
    bool prefix = true, use_regex = true;
    NANO_TRY(nano_component_bool(c, "add_prefix_space", &prefix));
    NANO_TRY(nano_component_bool(c, "use_regex", &use_regex));
    if (prefix)
        NANO_TRY(nano_pretokenizer_add(reader->out, NANO_PRE_PREFIX, " ", false, c->err));
    if (use_regex)
        NANO_TRY(add_split(c, reader->out, BYTE_LEVEL_REGEX, NANO_SPLIT_ISOLATED, false));
    NANO_TRY(nano_pretokenizer_add(reader->out, NANO_PRE_BYTE_CHARS, "", false, c->err));
    reader->byte_chars = true;
fail:
    return status;
}

static enum nano_status read_metaspace(const struct nano_component *c,
                                       struct nano_pretokenizer *out)
{
    enum nano_status status;
    struct nano_string mark = {"\xE2\x96\x81", 3}, scheme = {"", 0};
    bool prefix = true, split = true;
    NANO_TRY(nano_component_string(c, "replacement", &mark));
    NANO_TRY(nano_component_string(c, "prepend_scheme", &scheme));
    NANO_TRY(nano_component_bool(c, "add_prefix_space", &prefix));
    NANO_TRY(nano_component_bool(c, "split", &split));
    if (mark.num_bytes == 0 || mark.num_bytes > 4)
        return nano_component_error(c, "replacement: expected one character");
    if (scheme.num_bytes > 0 && strcmp(scheme.bytes, "always") != 0 &&
        strcmp(scheme.bytes, "first") != 0 && strcmp(scheme.bytes, "never") != 0)
        return nano_component_error(
            c, "prepend_scheme '%.40s' is unknown, expected always, first or never", scheme.bytes);
    if (scheme.num_bytes > 0)
        prefix = strcmp(scheme.bytes, "never") != 0;
    NANO_TRY(nano_pretokenizer_add(out, NANO_PRE_REPLACE, mark.bytes, false, c->err));
    if (prefix)
        NANO_TRY(nano_pretokenizer_add(out, NANO_PRE_PREFIX, mark.bytes,
                                       strcmp(scheme.bytes, "first") == 0, c->err));
    if (split)
        NANO_TRY(nano_pretokenizer_add_split(out, mark.bytes, mark.num_bytes, NANO_REGEX_LITERAL,
                                             NANO_SPLIT_MERGED_WITH_NEXT, false, c->err));
fail:
    return status;
}

static enum nano_status read_delimiter(const struct nano_component *c,
                                       struct nano_pretokenizer *out)
{
    struct nano_string delimiter = {"", 0};
    enum nano_status status = nano_component_string(c, "delimiter", &delimiter);
    if (status == NANO_OK && delimiter.num_bytes == 0)
        return nano_component_error(c, "delimiter: expected a character");
    return status == NANO_OK
               ? nano_pretokenizer_add_split(out, delimiter.bytes, delimiter.num_bytes,
                                             NANO_REGEX_LITERAL, NANO_SPLIT_REMOVED, false, c->err)
               : status;
}

static enum nano_status read_bert(const struct nano_component *c, struct nano_pretokenizer *out)
{
    enum nano_status status = add_split(c, out, SPACES, NANO_SPLIT_REMOVED, false);
    return status == NANO_OK ? add_split(c, out, PUNCTUATION, NANO_SPLIT_ISOLATED, false) : status;
}

static enum nano_status read_digits(const struct nano_component *c, struct nano_pretokenizer *out)
{
    bool single = false;
    enum nano_status status = nano_component_bool(c, "individual_digits", &single);
    return status == NANO_OK
               ? add_split(c, out, single ? "\\p{N}" : "\\p{N}+", NANO_SPLIT_ISOLATED, false)
               : status;
}

static enum nano_status visit(const struct nano_component *c, int depth, void *user_data)
{
    struct reader *reader = user_data;
    enum nano_split_behavior behavior = NANO_SPLIT_ISOLATED;
    size_t type;
    enum nano_status status = nano_component_type(c, names, NUM_TYPES, &type);
    if (status != NANO_OK)
        return status;
    switch ((enum pre_type)type) {
    case BERT:
        return read_bert(c, reader->out);
    case BYTE_LEVEL:
        return read_byte_level(c, reader);
    case CHAR_DELIMITER:
        return read_delimiter(c, reader->out);
    case DIGITS:
        return read_digits(c, reader->out);
    case METASPACE:
        return read_metaspace(c, reader->out);
    case PUNCTUATION_TYPE:
        status = read_behavior(c, &behavior);
        return status == NANO_OK ? add_split(c, reader->out, PUNCTUATION, behavior, false) : status;
    case SEQUENCE:
        return nano_component_each(c, "pretokenizers", depth, visit, reader);
    case SPLIT:
        return read_split(c, reader->out);
    case WHITESPACE:
        return add_split(c, reader->out, "\\w+|[^\\w\\s]+", NANO_SPLIT_REMOVED, true);
    default:
        return add_split(c, reader->out, SPACES, NANO_SPLIT_REMOVED, false);
    }
}

enum nano_status nano_pipeline_read_pretokenizer(const struct nano_component *c,
                                                 struct nano_pretokenizer *out, bool *byte_level,
                                                 bool *byte_chars)
{
    struct reader reader = {out, false};
    enum nano_status status = visit(c, 0, &reader);
    if (status != NANO_OK)
        return status;
    *byte_chars = reader.byte_chars;
    /* At the end the characters need not be made: BPE takes the bytes. */
    if (out->num_stages > 0 && out->stages[out->num_stages - 1].kind == NANO_PRE_BYTE_CHARS) {
        *byte_level = true;
        for (int i = 0; i + 1 < out->num_stages; i++)
            *byte_level = *byte_level && out->stages[i].kind != NANO_PRE_BYTE_CHARS;
    }
    out->use_scan = out->scan && out->num_stages == 1 + *byte_level;
    return NANO_OK;
}
