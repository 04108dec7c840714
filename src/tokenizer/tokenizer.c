/* Tokenizer: creation, decoding, and what is known about its tokens. */
#include "tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

#define KEY_MODEL "tokenizer.ggml.model"

#define KEY_PIPELINE "nanovllm.tokenizer.pipeline"

/* GGUF's "bert" as a tokenizer.json would say it; words of its vocabulary begin with U+2581. */
#define BERT_PIPELINE                                                                              \
    "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":%s,\"strip_accents\":%s},"         \
    "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"decoder\":{\"type\":\"WordPieceMarked\"}" \
    ","                                                                                            \
    "\"model\":{\"type\":\"WordPiece\",\"continuing_subword_prefix\":\"\","                        \
    "\"nanovllm_word_prefix\":\"\xE2\x96\x81\",\"max_input_chars_per_word\":1000000}}"

static enum nano_status init_gpt2(nano_tokenizer *tokenizer, const struct nano_weights *weights,
                                  struct nano_error *err)
{
    enum nano_status status;
    const struct nano_pre_row *row;
    struct nano_vocab *vocab = &tokenizer->vocab;
    NANO_TRY(nano_bpe_find_pre(&row, weights, err));
    NANO_TRY(nano_vocab_init(vocab, NANO_TOKENIZER_BPE, row->add_bos, weights, err));
    NANO_TRY(nano_vocab_write_pieces(vocab, weights, err));
    NANO_TRY(nano_special_finder_init_vocab(&tokenizer->added, vocab, err));
    NANO_TRY(nano_pretokenizer_init(&tokenizer->pre, row, err));
    tokenizer->bpe.ignore_merges = row->ignore_merges;
    return nano_bpe_init(&tokenizer->bpe, vocab, weights, err);
fail:
    return status;
}

static enum nano_status init_llama(nano_tokenizer *tokenizer, const struct nano_weights *weights,
                                   struct nano_error *err)
{
    enum nano_status status;
    struct nano_vocab *vocab = &tokenizer->vocab;
    NANO_TRY(nano_vocab_init(vocab, NANO_TOKENIZER_SPM, true, weights, err));
    NANO_TRY(nano_vocab_write_pieces(vocab, weights, err));
    NANO_TRY(nano_special_finder_init_vocab(&tokenizer->added, vocab, err));
    return nano_spm_init(&tokenizer->spm, vocab, weights, err);
fail:
    return status;
}

static enum nano_status init_json(nano_tokenizer *tokenizer, const char *text, size_t num_bytes,
                                  const struct nano_weights *weights, struct nano_error *err)
{
    json_error_t problem;
    json_t *root = json_loadb(text, num_bytes, JSON_ALLOW_NUL, &problem);
    if (!json_is_object(root)) {
        json_decref(root);
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: tokenizer.json: expected an object: %s",
                              nano_weights_label(weights), problem.text);
    }
    enum nano_status status = nano_pipeline_init(tokenizer, root, weights, err);
    json_decref(root);
    return status;
}

static enum nano_status init_bert(nano_tokenizer *tokenizer, const struct nano_weights *weights,
                                  struct nano_error *err)
{
    enum nano_status status;
    bool lowercase = true, accents = true, cls = true, sep = true;
    char text[sizeof BERT_PIPELINE + 16];
    struct nano_vocab *vocab = &tokenizer->vocab;
    struct nano_template *around = &tokenizer->around;
    int64_t sep_id = -1;
    NANO_TRY(nano_meta_get_bool(weights, "tokenizer.ggml.normalizer.lowercase", &lowercase, err));
    NANO_TRY(nano_meta_get_bool(weights, "tokenizer.ggml.normalizer.strip_accents", &accents, err));
    NANO_TRY(nano_meta_get_bool(weights, "tokenizer.ggml.add_bos_token", &cls, err));
    NANO_TRY(nano_meta_get_bool(weights, "tokenizer.ggml.add_sep_token", &sep, err));
    NANO_TRY(nano_meta_get_int(weights, "tokenizer.ggml.seperator_token_id", -1, INT32_MAX, &sep_id,
                               err));
    int length = snprintf(text, sizeof text, BERT_PIPELINE, lowercase ? "true" : "false",
                          accents ? "true" : "false");
    NANO_TRY(init_json(tokenizer, text, (size_t)length, weights, err));
    NANO_TRY(nano_vocab_load_unk(vocab, weights, err));
    tokenizer->wordpiece.unk = vocab->unk;
    nano_special_finder_deinit(&tokenizer->added);
    NANO_TRY(nano_special_finder_init_vocab(&tokenizer->added, vocab, err));
    *around = (struct nano_template){0};
    vocab->add_bos = cls && vocab->bos >= 0;
    if (vocab->add_bos)
        around->prefix[around->num_prefix++] = vocab->bos;
    if (sep && sep_id >= 0 && sep_id < vocab->num_tokens)
        around->suffix[around->num_suffix++] = (int32_t)sep_id;
fail:
    return status;
}

static enum nano_status init_by_keys(nano_tokenizer *tokenizer, const struct nano_weights *weights,
                                     struct nano_error *err)
{
    static const struct {
        const char *model;
        enum nano_status (*init)(nano_tokenizer *tokenizer, const struct nano_weights *weights,
                                 struct nano_error *err);
    } kinds[] = {{"gpt2", init_gpt2},
                 {"llama", init_llama},
                 {"bert", init_bert},
                 {"t5", nano_pipeline_init_t5}};
    struct nano_string model = {"", 0};
    enum nano_status status = nano_meta_get_string(weights, KEY_MODEL, &model, err);
    if (status != NANO_OK)
        return status;
    if (!nano_weights_meta(weights, KEY_MODEL))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: there is no %s",
                              nano_weights_label(weights), KEY_MODEL);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].model) == model.num_bytes &&
            memcmp(kinds[i].model, model.bytes, model.num_bytes) == 0)
            return kinds[i].init(tokenizer, weights, err);
    return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                          "%s: %s: unknown '%.*s', expected gpt2, llama, bert or t5",
                          nano_weights_label(weights), KEY_MODEL,
                          (int)(model.num_bytes < 40 ? model.num_bytes : 40), model.bytes);
}

/* Without a template, what the vocabulary's flags say stands around a text. */
static void default_template(nano_tokenizer *tokenizer)
{
    const struct nano_vocab *vocab = &tokenizer->vocab;
    struct nano_template *around = &tokenizer->around;
    if (tokenizer->has_pipeline)
        return;
    if (vocab->add_bos)
        around->prefix[around->num_prefix++] = vocab->bos;
    if (vocab->add_eos)
        around->suffix[around->num_suffix++] = vocab->eos;
}

enum nano_status nano_tokenizer_create(nano_tokenizer **out, const struct nano_weights *weights,
                                       struct nano_error *err)
{
    enum nano_status status;
    struct nano_string pipeline = {"", 0};
    nano_tokenizer *tokenizer = NULL;
    *out = NULL;
    NANO_TRY(nano_meta_get_string(weights, KEY_PIPELINE, &pipeline, err));
    tokenizer = nano_mem_calloc(1, sizeof *tokenizer);
    if (!tokenizer) {
        status = nano_error_no_memory(err, "tokenizer", sizeof *tokenizer);
        goto fail;
    }
    nano_arena_init(&tokenizer->texts);
    if (nano_weights_meta(weights, KEY_PIPELINE))
        NANO_TRY(init_json(tokenizer, pipeline.bytes, pipeline.num_bytes, weights, err));
    else
        NANO_TRY(init_by_keys(tokenizer, weights, err));
    default_template(tokenizer);
    *out = tokenizer;
    return NANO_OK;
fail:
    nano_tokenizer_destroy(tokenizer);
    return status;
}

void nano_tokenizer_destroy(nano_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    nano_bpe_deinit(&tokenizer->bpe);
    nano_spm_deinit(&tokenizer->spm);
    nano_char_bpe_deinit(&tokenizer->char_bpe);
    if (tokenizer->unigram)
        nano_unigram_deinit(tokenizer->unigram);
    nano_mem_free(tokenizer->unigram);
    nano_pretokenizer_deinit(&tokenizer->pre);
    nano_normalizer_deinit(&tokenizer->normalizer);
    nano_special_finder_deinit(&tokenizer->added);
    nano_special_finder_deinit(&tokenizer->added_normalized);
    nano_vocab_deinit(&tokenizer->vocab);
    nano_arena_deinit(&tokenizer->texts);
    nano_mem_free(tokenizer);
}

static size_t finder_bytes(const struct nano_special_finder *finder)
{
    return finder->num_slots * sizeof *finder->edges +
           finder->num_nodes * sizeof *finder->node_tokens +
           finder->num_tokens * sizeof *finder->tokens;
}

size_t nano_tokenizer_memory_bytes(const nano_tokenizer *tokenizer)
{
    const struct nano_vocab *vocab = &tokenizer->vocab;
    const struct nano_spm *spm = &tokenizer->spm;
    size_t n = (size_t)vocab->num_tokens;
    size_t bytes = sizeof *tokenizer + n * (sizeof *vocab->types + sizeof *vocab->piece_ends) +
                   vocab->num_slots * sizeof *vocab->slots + vocab->piece_ends[n - 1];
    if (vocab->first_pieces)
        bytes += n * sizeof *vocab->first_ends + vocab->first_ends[n - 1];
    bytes += finder_bytes(&tokenizer->added) + finder_bytes(&tokenizer->added_normalized);
    bytes +=
        (tokenizer->bpe.pairs.capacity + spm->pairs.capacity + tokenizer->char_bpe.pairs.capacity) *
        sizeof *spm->pairs.slots;
    bytes +=
        spm->num_char_slots * sizeof *spm->chars + spm->tokenless_capacity * sizeof *spm->tokenless;
    if (tokenizer->unigram)
        bytes += sizeof *tokenizer->unigram +
                 n * (sizeof *tokenizer->unigram->sorted + sizeof *tokenizer->unigram->scores);
    bytes += tokenizer->texts.total_bytes + 4 * tokenizer->normalizer.charsmap.num_units +
             tokenizer->normalizer.charsmap.replacement_bytes;
    return bytes + nano_pretokenizer_memory_bytes(&tokenizer->pre);
}

int nano_tokenizer_eog_tokens(const nano_tokenizer *tokenizer, const int32_t **tokens)
{
    *tokens = tokenizer->vocab.eog;
    return tokenizer->vocab.num_eog;
}

bool nano_tokenizer_is_eog(const nano_tokenizer *tokenizer, int32_t token_id)
{
    for (int i = 0; i < tokenizer->vocab.num_eog; i++)
        if (tokenizer->vocab.eog[i] == token_id)
            return true;
    return false;
}

void nano_tokenizer_get_info(const nano_tokenizer *tokenizer, struct nano_tokenizer_info *out)
{
    const struct nano_vocab *vocab = &tokenizer->vocab;
    static const char *const kinds[] = {"bpe", "spm", "bpe", "wordpiece", "unigram"};
    *out = (struct nano_tokenizer_info){
        .kind = kinds[vocab->kind],
        .pre = tokenizer->pre.row ? tokenizer->pre.row->name : "",
        .vocab_size = vocab->num_tokens,
        .bos_token_id = vocab->bos,
        .eos_token_id = vocab->eos,
        .eot_token_id = vocab->eot,
        .unk_token_id = vocab->unk,
        .pad_token_id = vocab->pad,
        .add_bos = vocab->add_bos,
        .add_eos = vocab->add_eos,
    };
}

size_t nano_tokenizer_min_tokens(const nano_tokenizer *tokenizer, size_t num_bytes)
{
    const struct nano_vocab *vocab = &tokenizer->vocab;
    if (vocab->kind > NANO_TOKENIZER_SPM || tokenizer->has_pipeline || vocab->strip_after_special ||
        (tokenizer->bpe.bytes_missing && vocab->unk < 0))
        return 0; /* any amount of white space, or of what else the parts drop, can vanish */
    /* An unknown token stands for one character. SPM's space is three bytes long in a text that
     * spells it as in the vocabulary, and one in a piece. */
    size_t longest = vocab->max_piece_bytes > 4 ? vocab->max_piece_bytes : 4;
    return num_bytes / (vocab->kind == NANO_TOKENIZER_SPM ? 3 * longest : longest);
}

bool nano_tokenizer_get_piece(const nano_tokenizer *tokenizer, int32_t token_id, const char **bytes,
                              size_t *num_bytes)
{
    if (token_id < 0 || token_id >= tokenizer->vocab.num_tokens)
        return false;
    *bytes = nano_vocab_piece(&tokenizer->vocab, token_id, num_bytes);
    return true;
}

struct text_out {
    char *text;
    size_t num_bytes;
};

static void append_byte(void *user_data, char byte)
{
    struct text_out *out = user_data;
    out->text[out->num_bytes++] = byte;
}

/* The pieces of all tokens, through the decoder's filters; or only their length (out NULL). */
static size_t join_pieces(const nano_tokenizer *tokenizer, const int32_t *token_ids,
                          size_t num_tokens, bool skip_special, struct text_out *out)
{
    size_t total = 0, length;
    bool is_first = true;
    const bool filters = tokenizer->decoder.num_filters > 0;
    uint32_t states[NANO_MAX_FILTERS];
    nano_decoder_start(&tokenizer->decoder, true, states);
    for (size_t i = 0; i < num_tokens; i++) {
        const char *piece = nano_vocab_piece_in_text(&tokenizer->vocab, token_ids[i], skip_special,
                                                     is_first, &length);
        is_first = is_first && nano_token_keeps_first(tokenizer, token_ids[i], skip_special);
        total += length;
        for (size_t k = 0; k < length && out && filters; k++)
            nano_decoder_push(&tokenizer->decoder, states, piece[k], append_byte, out);
        if (out && !filters) {
            memcpy(out->text + out->num_bytes, piece, length);
            out->num_bytes += length;
        }
    }
    if (out && filters)
        nano_decoder_finish(&tokenizer->decoder, states, append_byte, out);
    return total;
}

enum nano_status nano_tokenizer_decode(const nano_tokenizer *tokenizer, const int32_t *token_ids,
                                       size_t num_tokens, bool skip_special, char **text,
                                       size_t *num_bytes, struct nano_error *err)
{
    const struct nano_vocab *vocab = &tokenizer->vocab;
    for (size_t i = 0; i < num_tokens; i++)
        if (token_ids[i] < 0 || token_ids[i] >= vocab->num_tokens)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "token id %" PRId32 ", expected 0 to %" PRId32, token_ids[i],
                                  vocab->num_tokens - 1);
    size_t total = nano_decoder_max_bytes(
        &tokenizer->decoder, join_pieces(tokenizer, token_ids, num_tokens, skip_special, NULL));
    struct text_out out = {total < SIZE_MAX ? nano_mem_alloc(total + 1, 1) : NULL, 0};
    if (!out.text)
        return nano_error_no_memory(err, "decoded text", total);
    join_pieces(tokenizer, token_ids, num_tokens, skip_special, &out);
    out.text[out.num_bytes] = '\0';
    *text = out.text;
    *num_bytes = out.num_bytes;
    return NANO_OK;
}
