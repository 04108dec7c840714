/* Tokenizer: creation, decoding, and what is known about its tokens. */
#include "tokenizer/tokenizer.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

#define KEY_MODEL "tokenizer.ggml.model"

static enum nano_status read_kind(enum nano_tokenizer_kind *kind,
                                  const struct nano_weights *weights, struct nano_error *err)
{
    struct nano_string model = {"", 0};
    enum nano_status status = nano_meta_get_string(weights, KEY_MODEL, &model, err);
    if (status != NANO_OK)
        return status;
    if (!nano_weights_meta(weights, KEY_MODEL))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: there is no %s",
                              nano_weights_label(weights), KEY_MODEL);
    if (model.num_bytes == 4 && memcmp(model.bytes, "gpt2", 4) == 0)
        *kind = NANO_TOKENIZER_BPE;
    else if (model.num_bytes == 5 && memcmp(model.bytes, "llama", 5) == 0)
        *kind = NANO_TOKENIZER_SPM;
    else
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: %s: unknown '%.*s', expected gpt2 or llama",
                              nano_weights_label(weights), KEY_MODEL,
                              (int)(model.num_bytes < 40 ? model.num_bytes : 40), model.bytes);
    return NANO_OK;
}

enum nano_status nano_tokenizer_create(nano_tokenizer **out, const struct nano_weights *weights,
                                       struct nano_error *err)
{
    enum nano_status status;
    enum nano_tokenizer_kind kind = NANO_TOKENIZER_BPE;
    const struct nano_pre_row *row = NULL;
    nano_tokenizer *tokenizer = NULL;
    *out = NULL;
    NANO_TRY(read_kind(&kind, weights, err));
    if (kind == NANO_TOKENIZER_BPE)
        NANO_TRY(nano_bpe_find_pre(&row, weights, err));
    tokenizer = nano_mem_calloc(1, sizeof *tokenizer);
    if (!tokenizer) {
        status = nano_error_no_memory(err, "tokenizer", sizeof *tokenizer);
        goto fail;
    }
    NANO_TRY(nano_vocab_init(&tokenizer->vocab, kind, row ? row->add_bos : true, weights, err));
    NANO_TRY(nano_special_finder_init(&tokenizer->special, &tokenizer->vocab, err));
    if (kind == NANO_TOKENIZER_BPE)
        NANO_TRY(nano_bpe_init(&tokenizer->bpe, row, &tokenizer->vocab, weights, err));
    else
        NANO_TRY(nano_spm_init(&tokenizer->spm, &tokenizer->vocab, weights, err));
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
    nano_special_finder_deinit(&tokenizer->special);
    nano_vocab_deinit(&tokenizer->vocab);
    nano_mem_free(tokenizer);
}

size_t nano_tokenizer_memory_bytes(const nano_tokenizer *tokenizer)
{
    const struct nano_vocab *vocab = &tokenizer->vocab;
    const struct nano_special_finder *special = &tokenizer->special;
    const struct nano_spm *spm = &tokenizer->spm;
    size_t n = (size_t)vocab->num_tokens;
    size_t bytes = sizeof *tokenizer + n * (sizeof *vocab->types + sizeof *vocab->piece_ends) +
                   vocab->num_slots * sizeof *vocab->slots + vocab->piece_ends[n - 1];
    bytes += special->num_slots * sizeof *special->edges +
             special->num_nodes * sizeof *special->node_tokens;
    bytes += (tokenizer->bpe.pairs.capacity + spm->pairs.capacity) * sizeof *spm->pairs.slots;
    bytes +=
        spm->num_char_slots * sizeof *spm->chars + spm->tokenless_capacity * sizeof *spm->tokenless;
    return bytes + nano_pretokenizer_memory_bytes(&tokenizer->bpe.pre);
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
    bool is_bpe = vocab->kind == NANO_TOKENIZER_BPE;
    *out = (struct nano_tokenizer_info){
        .kind = is_bpe ? "bpe" : "spm",
        .pre = is_bpe ? tokenizer->bpe.pre.row->name : "",
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
    if (vocab->strip_after_special || (tokenizer->bpe.bytes_missing && vocab->unk < 0))
        return 0; /* any amount of white space, or of bytes without a token, can vanish */
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

enum nano_status nano_tokenizer_decode(const nano_tokenizer *tokenizer, const int32_t *token_ids,
                                       size_t num_tokens, bool skip_special, char **text,
                                       size_t *num_bytes, struct nano_error *err)
{
    const struct nano_vocab *vocab = &tokenizer->vocab;
    size_t total = 0, length;
    for (size_t i = 0; i < num_tokens; i++) {
        if (token_ids[i] < 0 || token_ids[i] >= vocab->num_tokens)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "token id %" PRId32 ", expected 0 to %" PRId32, token_ids[i],
                                  vocab->num_tokens - 1);
        nano_vocab_piece_in_text(vocab, token_ids[i], skip_special, i == 0, &length);
        total += length;
    }
    char *out = total < SIZE_MAX ? nano_mem_alloc(total + 1, 1) : NULL;
    if (!out)
        return nano_error_no_memory(err, "decoded text", total);
    size_t written = 0;
    for (size_t i = 0; i < num_tokens; i++) {
        const char *piece =
            nano_vocab_piece_in_text(vocab, token_ids[i], skip_special, i == 0, &length);
        memcpy(out + written, piece, length);
        written += length;
    }
    out[written] = '\0';
    *text = out;
    *num_bytes = written;
    return NANO_OK;
}
