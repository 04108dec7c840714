/* Pipeline: a whole tokenizer.json, its model and its added tokens. */
#include "tokenizer/pipeline.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

#define KEY(name) "tokenizer.ggml." name

/* One section as a component; false where it is null or absent. */
static bool section(struct nano_component *c, const json_t *root, const char *name,
                    const struct nano_weights *weights, struct nano_error *err)
{
    const json_t *json = json_object_get(root, name);
    *c = (struct nano_component){json, name, nano_weights_label(weights), err};
    return json && !json_is_null(json);
}

/* ---- The model ---- */

enum { BPE, UNIGRAM, WORDLEVEL, WORDPIECE, NUM_MODELS };

static const char *const models[NUM_MODELS] = {"BPE", "Unigram", "WordLevel", "WordPiece"};

static enum nano_status copy_option(nano_tokenizer *tokenizer, const struct nano_component *c,
                                    const char *key, const char **out, size_t *num_bytes)
{
    struct nano_string text = {*out ? *out : "", *num_bytes};
    enum nano_status status = nano_component_string(c, key, &text);
    if (status != NANO_OK)
        return status;
    *out = nano_arena_strdup(&tokenizer->texts, text.bytes, text.num_bytes);
    *num_bytes = text.num_bytes;
    return *out ? NANO_OK : nano_error_no_memory(c->err, "tokenizer", text.num_bytes);
}

static enum nano_status read_unk(nano_tokenizer *tokenizer, const struct nano_component *c)
{
    struct nano_vocab *vocab = &tokenizer->vocab;
    struct nano_string text = {"", 0};
    int64_t id = -1;
    enum nano_status status = nano_component_string(c, "unk_token", &text);
    if (status == NANO_OK)
        status = nano_component_int(c, "unk_id", &id);
    if (status != NANO_OK)
        return status;
    if (id >= vocab->num_tokens)
        return nano_component_error(c, "unk_id: %" PRId64 ", expected 0 to %" PRId32, id,
                                    vocab->num_tokens - 1);
    vocab->unk = id >= 0 ? (int32_t)id : nano_vocab_find(vocab, text.bytes, text.num_bytes);
    if (text.num_bytes > 0 && vocab->unk < 0)
        return nano_component_error(c, "unk_token: '%.40s' is not in the vocabulary", text.bytes);
    return NANO_OK;
}

static enum nano_status read_bpe(nano_tokenizer *tokenizer, const struct nano_component *c,
                                 const struct nano_weights *weights, bool byte_level,
                                 bool byte_chars)
{
    enum nano_status status;
    struct nano_char_bpe *chars = &tokenizer->char_bpe;
    struct nano_vocab *vocab = &tokenizer->vocab;
    struct nano_pretokenizer *pre = &tokenizer->pre;
    NANO_TRY(nano_component_bool(c, "byte_fallback", &chars->byte_fallback));
    NANO_TRY(nano_component_bool(c, "fuse_unk", &chars->fuse_unk));
    NANO_TRY(nano_component_bool(c, "ignore_merges", &chars->ignore_merges));
    NANO_TRY(copy_option(tokenizer, c, "continuing_subword_prefix", &chars->prefix,
                         &chars->prefix_bytes));
    NANO_TRY(copy_option(tokenizer, c, "end_of_word_suffix", &chars->suffix, &chars->suffix_bytes));
    chars->unk = vocab->unk;
    if (byte_chars && chars->prefix_bytes == 0 && chars->suffix_bytes == 0) {
        vocab->kind = NANO_TOKENIZER_BPE;
        tokenizer->bpe.ignore_merges = chars->ignore_merges;
        NANO_TRY(nano_bpe_init(&tokenizer->bpe, vocab, weights, c->err));
        if (!tokenizer->bpe.bytes_missing || !(chars->fuse_unk || chars->byte_fallback)) {
            tokenizer->bpe.from_byte_chars = !byte_level;
            pre->num_stages -= byte_level;
            pre->use_scan = byte_level && pre->scan && pre->num_stages == 1;
            return NANO_OK;
        }
        nano_bpe_deinit(&tokenizer->bpe);
    }
    vocab->kind = NANO_TOKENIZER_CHAR_BPE;
    return nano_char_bpe_init(chars, vocab, weights, c->err);
fail:
    return status;
}

static enum nano_status read_wordpiece(nano_tokenizer *tokenizer, const struct nano_component *c,
                                       bool whole_words)
{
    enum nano_status status;
    struct nano_wordpiece *wordpiece = &tokenizer->wordpiece;
    int64_t max_chars = 100;
    wordpiece->part_prefix = "##";
    wordpiece->part_prefix_bytes = 2;
    NANO_TRY(nano_component_int(c, "max_input_chars_per_word", &max_chars));
    NANO_TRY(copy_option(tokenizer, c, "continuing_subword_prefix", &wordpiece->part_prefix,
                         &wordpiece->part_prefix_bytes));
    NANO_TRY(copy_option(tokenizer, c, "nanovllm_word_prefix", &wordpiece->word_prefix,
                         &wordpiece->word_prefix_bytes));
    wordpiece->max_chars = (size_t)max_chars;
    wordpiece->whole_words = whole_words;
    wordpiece->unk = tokenizer->vocab.unk;
    nano_wordpiece_init(wordpiece, &tokenizer->vocab);
fail:
    return status;
}

static enum nano_status new_unigram(nano_tokenizer *tokenizer, struct nano_error *err)
{
    tokenizer->unigram = nano_mem_calloc(1, sizeof *tokenizer->unigram);
    if (!tokenizer->unigram)
        return nano_error_no_memory(err, "tokenizer", sizeof *tokenizer->unigram);
    tokenizer->unigram->unk = tokenizer->vocab.unk;
    return NANO_OK;
}

static enum nano_status read_model(nano_tokenizer *tokenizer, const struct nano_component *c,
                                   size_t type, const struct nano_weights *weights, bool byte_level,
                                   bool byte_chars)
{
    enum nano_status status;
    if (type == BPE)
        return read_bpe(tokenizer, c, weights, byte_level, byte_chars);
    if (type != UNIGRAM)
        return read_wordpiece(tokenizer, c, type == WORDLEVEL);
    NANO_TRY(new_unigram(tokenizer, c->err));
    NANO_TRY(nano_component_bool(c, "byte_fallback", &tokenizer->unigram->byte_fallback));
    return nano_unigram_init(tokenizer->unigram, &tokenizer->vocab, weights, c->err);
fail:
    return status;
}

/* ---- Added tokens ---- */

static enum nano_status read_added_token(nano_tokenizer *tokenizer, const struct nano_component *c,
                                         struct nano_added_token *out, bool *normalized)
{
    enum nano_status status;
    struct nano_vocab *vocab = &tokenizer->vocab;
    struct nano_string content = {"", 0};
    int64_t id = -1;
    *out = (struct nano_added_token){.id = -1};
    NANO_TRY(nano_component_int(c, "id", &id));
    NANO_TRY(nano_component_string(c, "content", &content));
    NANO_TRY(nano_component_bool(c, "special", &out->special));
    NANO_TRY(nano_component_bool(c, "lstrip", &out->lstrip));
    NANO_TRY(nano_component_bool(c, "rstrip", &out->rstrip));
    NANO_TRY(nano_component_bool(c, "single_word", &out->single_word));
    *normalized = !out->special;
    NANO_TRY(nano_component_bool(c, "normalized", normalized));
    if (id < 0 || id >= vocab->num_tokens)
        return nano_component_error(c, "'%.40s': id %" PRId64 ", expected 0 to %" PRId32,
                                    content.bytes, id, vocab->num_tokens - 1);
    const struct nano_string *text = &vocab->texts[id];
    if (text->num_bytes != content.num_bytes ||
        memcmp(text->bytes, content.bytes, content.num_bytes) != 0)
        return nano_component_error(
            c, "'%.40s': id %" PRId64 " is '%.*s' in the vocabulary", content.bytes, id,
            (int)(text->num_bytes < 40 ? text->num_bytes : 40), text->bytes);
    out->id = (int32_t)id;
    out->text = *text;
    vocab->types[id] = out->special ? NANO_TOKEN_CONTROL : NANO_TOKEN_USER_DEFINED;
fail:
    return status;
}

/* The text as the normalizer leaves it: what is looked for behind it. */
static enum nano_status normalize_token(nano_tokenizer *tokenizer,
                                        struct nano_normalizer_scratch *scratch,
                                        struct nano_added_token *token, struct nano_error *err)
{
    const char *text;
    size_t num_bytes;
    enum nano_status status =
        nano_normalizer_run(&tokenizer->normalizer, scratch, token->text.bytes,
                            token->text.num_bytes, &text, &num_bytes, err);
    if (status != NANO_OK)
        return status;
    char *copy = nano_arena_strdup(&tokenizer->texts, text, num_bytes);
    token->text = (struct nano_string){copy, num_bytes};
    return copy ? NANO_OK : nano_error_no_memory(err, "added tokens", num_bytes);
}

static enum nano_status read_added_tokens(nano_tokenizer *tokenizer, const json_t *root,
                                          const struct nano_weights *weights,
                                          struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct nano_component c;
    struct nano_normalizer_scratch scratch = {0};
    section(&c, root, "added_tokens", weights, err);
    size_t count = json_array_size(c.json), num_plain = 0, num_normalized = 0;
    struct nano_added_token *plain = nano_mem_alloc(count, sizeof *plain);
    struct nano_added_token *normal = nano_mem_alloc(count, sizeof *normal);
    if (!plain || !normal) {
        status = nano_error_no_memory(err, "added tokens", count * sizeof *plain);
        goto fail;
    }
    for (size_t i = 0; i < count; i++) {
        struct nano_added_token token;
        bool normalized;
        struct nano_component item = c;
        item.json = json_array_get(c.json, i);
        NANO_TRY(read_added_token(tokenizer, &item, &token, &normalized));
        if (normalized)
            normal[num_normalized++] = token;
        else
            plain[num_plain++] = token;
    }
    for (size_t i = 0; i < num_normalized; i++)
        NANO_TRY(normalize_token(tokenizer, &scratch, &normal[i], err));
    NANO_TRY(nano_special_finder_init(&tokenizer->added, plain, num_plain, err));
    NANO_TRY(nano_special_finder_init(&tokenizer->added_normalized, normal, num_normalized, err));
fail:
    nano_normalizer_scratch_deinit(&scratch);
    nano_mem_free(plain);
    nano_mem_free(normal);
    return status;
}

/* ---- What stands around a text ---- */

/* tokenizer.ggml.add_bos_token and add_eos_token overrule the template. */
static void apply_flags(nano_tokenizer *tokenizer, const struct nano_weights *weights)
{
    struct nano_vocab *vocab = &tokenizer->vocab;
    struct nano_template *around = &tokenizer->around;
    bool has_bos = around->num_prefix > 0 && around->prefix[0] == vocab->bos && vocab->bos >= 0;
    bool has_eos = around->num_suffix > 0 && vocab->eos >= 0 &&
                   around->suffix[around->num_suffix - 1] == vocab->eos;
    if (!nano_weights_meta(weights, KEY("add_bos_token")))
        vocab->add_bos = has_bos;
    if (!nano_weights_meta(weights, KEY("add_eos_token")))
        vocab->add_eos = has_eos;
    if (vocab->add_bos != has_bos) {
        if (has_bos)
            around->num_prefix--;
        size_t kept = (size_t)around->num_prefix * sizeof *around->prefix;
        if (has_bos) {
            memmove(around->prefix, around->prefix + 1, kept);
        } else if (around->num_prefix < NANO_MAX_TEMPLATE_IDS) {
            memmove(around->prefix + 1, around->prefix, kept);
            around->prefix[0] = vocab->bos;
            around->num_prefix++;
        }
    }
    if (vocab->add_eos != has_eos) {
        if (has_eos)
            around->num_suffix--;
        else if (around->num_suffix < NANO_MAX_TEMPLATE_IDS)
            around->suffix[around->num_suffix++] = vocab->eos;
    }
}

enum nano_status nano_pipeline_init(nano_tokenizer *tokenizer, const json_t *root,
                                    const struct nano_weights *weights, struct nano_error *err)
{
    static const enum nano_tokenizer_kind kinds[NUM_MODELS] = {
        NANO_TOKENIZER_CHAR_BPE, NANO_TOKENIZER_UNIGRAM, NANO_TOKENIZER_WORDPIECE,
        NANO_TOKENIZER_WORDPIECE};
    enum nano_status status;
    struct nano_vocab *vocab = &tokenizer->vocab;
    struct nano_component c, model;
    size_t type;
    bool byte_level = false, byte_chars = false;
    tokenizer->has_pipeline = true;
    section(&model, root, "model", weights, err);
    NANO_TRY(nano_component_type(&model, models, NUM_MODELS, &type));
    NANO_TRY(nano_vocab_init(vocab, kinds[type], false, weights, err));
    NANO_TRY(read_unk(tokenizer, &model));
    if (vocab->unk >= 0 && vocab->types[vocab->unk] == NANO_TOKEN_UNKNOWN)
        vocab->types[vocab->unk] = NANO_TOKEN_NORMAL; /* special only if it was added as such */
    if (section(&c, root, "normalizer", weights, err))
        NANO_TRY(nano_pipeline_read_normalizer(&c, &tokenizer->normalizer));
    if (section(&c, root, "pre_tokenizer", weights, err))
        NANO_TRY(nano_pipeline_read_pretokenizer(&c, &tokenizer->pre, &byte_level, &byte_chars));
    for (int i = 0; i < tokenizer->normalizer.num_steps; i++)
        if (tokenizer->normalizer.steps[i].kind == NANO_NORMALIZE_BYTE_CHARS) {
            byte_chars = true;
            byte_level = false;
        }
    NANO_TRY(read_added_tokens(tokenizer, root, weights, err));
    NANO_TRY(read_model(tokenizer, &model, type, weights, byte_level, byte_chars));
    if (section(&c, root, "post_processor", weights, err))
        NANO_TRY(nano_pipeline_read_template(&c, vocab->num_tokens, &tokenizer->around));
    apply_flags(tokenizer, weights);
    if (!section(&c, root, "decoder", weights, err))
        c.json = NULL;
    NANO_TRY(nano_decoder_init(&tokenizer->decoder, &c, vocab));
fail:
    return status;
}

/* ---- GGUF's t5 ---- */

static enum nano_status read_charsmap(struct nano_charsmap *map, const struct nano_weights *weights,
                                      struct nano_error *err)
{
    const struct nano_meta *meta = nano_weights_meta(weights, KEY("precompiled_charsmap"));
    if (!meta)
        return NANO_OK;
    if (meta->type != NANO_META_ARRAY ||
        (meta->element_type != NANO_META_U8 && meta->element_type != NANO_META_I8))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: expected an array of bytes",
                              nano_weights_label(weights), KEY("precompiled_charsmap"));
    return nano_charsmap_init(map, meta->elements, meta->num_elements, nano_weights_label(weights),
                              err);
}

enum nano_status nano_pipeline_init_t5(nano_tokenizer *tokenizer,
                                       const struct nano_weights *weights, struct nano_error *err)
{
    enum nano_status status;
    struct nano_normalizer_step *step;
    struct nano_vocab *vocab = &tokenizer->vocab;
    bool prefix = true, extra = true;
    NANO_TRY(nano_vocab_init(vocab, NANO_TOKENIZER_UNIGRAM, false, weights, err));
    NANO_TRY(nano_special_finder_init_vocab(&tokenizer->added, vocab, err));
    NANO_TRY(nano_meta_get_bool(weights, KEY("add_space_prefix"), &prefix, err));
    NANO_TRY(nano_meta_get_bool(weights, KEY("remove_extra_whitespaces"), &extra, err));
    NANO_TRY(nano_normalizer_add(&tokenizer->normalizer, NANO_NORMALIZE_SENTENCEPIECE, &step, err));
    step->add_prefix = prefix;
    step->remove_extra_spaces = extra;
    vocab->drops_first_space = prefix;
    NANO_TRY(read_charsmap(&tokenizer->normalizer.charsmap, weights, err));
    NANO_TRY(new_unigram(tokenizer, err));
    NANO_TRY(nano_unigram_init(tokenizer->unigram, vocab, weights, err));
    NANO_TRY(nano_vocab_write_pieces(vocab, weights, err));
fail:
    return status;
}
