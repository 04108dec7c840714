/* Vocabulary: special token ids, flags, and which tokens end a generation. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/vocab.h"

#define KEY(name) "tokenizer.ggml." name

/* Names that end a turn or a text in the models that use them, whatever the file's id keys say
 * (the list that llama.cpp keeps in llama-vocab.cpp). The first one present is the EOT of a file
 * without eot_token_id, as far as is_eot goes. */
static const struct {
    const char *name;
    bool is_eot;
} eog_names[] = {
    {"<|eot_id|>", true},
    {"<|im_end|>", true},
    {"<|end|>", true},
    {"<end_of_turn>", true},
    {"<|endoftext|>", true},
    {"<|end_of_text|>", true},
    {"<EOT>", true},
    {"_<EOT>", true},
    {"[EOT]", true},
    {"<\xEF\xBD\x9C"
     "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
     true},
    {"<end_of_utterance>", true},
    {"<|eom_id|>", false},
    {"<|return|>", false},
    {"<|call|>", false},
    {"<|flush|>", false},
    {"<|calls|>", false},
    {"</s>", false},
    {"[EOS]", false},
    {"<eos>", false},
    {"<|fim_pad|>", false},
    {"<fim_pad>", false},
    {"<fim-pad>", false},
    {"<|fim_repo|>", false},
    {"<|repo_name|>", false},
    {"<fim-repo>", false},
    {"<|file_sep|>", false},
};

static enum nano_status load_id(const struct nano_vocab *vocab, const struct nano_weights *weights,
                                const char *key, int32_t *id, struct nano_error *err)
{
    int64_t value = *id;
    enum nano_status status = nano_meta_get_int(weights, key, INT64_MIN, INT64_MAX, &value, err);
    if (status != NANO_OK)
        return status;
    if (value == -1 || value == UINT32_MAX) { /* how converters write "none" */
        *id = -1;
        return NANO_OK;
    }
    if (value < 0 || value >= vocab->num_tokens)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: %s: %" PRId64 ", expected a token id from 0 to %" PRId32,
                              nano_weights_label(weights), key, value, vocab->num_tokens - 1);
    *id = (int32_t)value;
    return NANO_OK;
}

enum nano_status nano_vocab_load_unk(struct nano_vocab *vocab, const struct nano_weights *weights,
                                     struct nano_error *err)
{
    return load_id(vocab, weights, KEY("unknown_token_id"), &vocab->unk, err);
}

static enum nano_status load_ids(struct nano_vocab *vocab, const struct nano_weights *weights,
                                 struct nano_error *err)
{
    enum nano_status status;
    vocab->bos = vocab->eos = vocab->eot = vocab->eom = vocab->unk = vocab->pad = -1;
    if (vocab->kind == NANO_TOKENIZER_SPM) { /* SentencePiece's own numbers */
        vocab->unk = 0;
        vocab->bos = vocab->num_tokens > 1 ? 1 : -1;
        vocab->eos = vocab->num_tokens > 2 ? 2 : -1;
    }
    if (vocab->kind == NANO_TOKENIZER_WORDPIECE)
        NANO_TRY(load_id(vocab, weights, KEY("cls_token_id"), &vocab->bos, err));
    if (vocab->kind == NANO_TOKENIZER_UNIGRAM && vocab->num_tokens > 2 &&
        !nano_weights_meta(weights, "nanovllm.tokenizer.pipeline")) { /* T5's numbers */
        vocab->pad = 0;
        vocab->eos = 1;
        vocab->unk = 2;
    }
    NANO_TRY(load_id(vocab, weights, KEY("bos_token_id"), &vocab->bos, err));
    NANO_TRY(load_id(vocab, weights, KEY("eos_token_id"), &vocab->eos, err));
    NANO_TRY(load_id(vocab, weights, KEY("eot_token_id"), &vocab->eot, err));
    NANO_TRY(load_id(vocab, weights, KEY("eom_token_id"), &vocab->eom, err));
    NANO_TRY(load_id(vocab, weights, KEY("unknown_token_id"), &vocab->unk, err));
    NANO_TRY(load_id(vocab, weights, KEY("padding_token_id"), &vocab->pad, err));
    return NANO_OK;
fail:
    return status;
}

/* A flag without its token is an error when the file sets it and nothing when it is a default. */
static enum nano_status load_add_flag(const struct nano_weights *weights, const char *key,
                                      const char *id_key, int32_t id, bool *flag,
                                      struct nano_error *err)
{
    enum nano_status status = nano_meta_get_bool(weights, key, flag, err);
    if (status != NANO_OK)
        return status;
    if (*flag && id < 0 && nano_weights_meta(weights, key))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s is true, but there is no %s",
                              nano_weights_label(weights), key, id_key);
    *flag = *flag && id >= 0;
    return NANO_OK;
}

/* Phi-3's own tokenizer drops whitespace after its special tokens; GGUF has no key for it. */
static enum nano_status detect_phi3(struct nano_vocab *vocab, const struct nano_weights *weights,
                                    struct nano_error *err)
{
    struct nano_string name = {"", 0};
    enum nano_status status = nano_meta_get_string(weights, "general.name", &name, err);
    if (status != NANO_OK)
        return status;
    for (size_t i = 0; i + 4 <= name.num_bytes; i++) {
        const char *s = name.bytes + i;
        bool phi = (s[0] | 0x20) == 'p' && (s[1] | 0x20) == 'h' && (s[2] | 0x20) == 'i';
        size_t digit = s[3] == '-' ? 4 : 3;
        if (phi && i + digit < name.num_bytes && s[digit] == '3')
            vocab->strip_after_special = true;
    }
    return NANO_OK;
}

static int32_t find_name(const struct nano_vocab *vocab, const char *name)
{
    return nano_vocab_find(vocab, name, strlen(name));
}

static void add_eog(struct nano_vocab *vocab, int32_t id)
{
    for (int i = 0; i < vocab->num_eog; i++)
        if (vocab->eog[i] == id)
            id = -1;
    if (id >= 0)
        vocab->eog[vocab->num_eog++] = id;
}

static int compare_ids(const void *a, const void *b)
{
    int32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* A list that folders have beside the one eos_token_id. */
static const struct nano_meta *eos_list(const struct nano_weights *weights)
{
    const struct nano_meta *list = nano_weights_meta(weights, KEY("eos_token_ids"));
    const bool is_list = list && list->type == NANO_META_ARRAY &&
                         list->element_type != NANO_META_STRING && list->num_elements <= 1024;
    return is_list ? list : NULL;
}

static enum nano_status load_eog(struct nano_vocab *vocab, const struct nano_weights *weights,
                                 struct nano_error *err)
{
    size_t num_names = sizeof eog_names / sizeof *eog_names;
    const struct nano_meta *list = eos_list(weights);
    vocab->eog =
        nano_mem_alloc(num_names + 3 + (list ? list->num_elements : 0), sizeof *vocab->eog);
    if (!vocab->eog)
        return nano_error_no_memory(err, "end-of-generation tokens", 0);
    /* Harmony's and Solar's channels end with <|end|>, their turns do not. */
    bool end_goes_on =
        find_name(vocab, "<|end|>") >= 0 &&
        ((find_name(vocab, "<|return|>") >= 0 && find_name(vocab, "<|call|>") >= 0) ||
         (find_name(vocab, "<|calls|>") >= 0 && find_name(vocab, "<|flush|>") >= 0));
    for (size_t i = 0; i < num_names; i++) {
        int32_t id = find_name(vocab, eog_names[i].name);
        if (id < 0 || (end_goes_on && strcmp(eog_names[i].name, "<|end|>") == 0))
            continue;
        vocab->types[id] = NANO_TOKEN_CONTROL; /* some converters leave these as normal tokens */
        if (vocab->eot < 0 && eog_names[i].is_eot)
            vocab->eot = id;
        add_eog(vocab, id);
    }
    for (size_t i = 0; list && i < list->num_elements; i++) {
        int64_t id = nano_meta_array_int(list, i);
        add_eog(vocab, id >= 0 && id < vocab->num_tokens ? (int32_t)id : -1);
    }
    add_eog(vocab, vocab->eos);
    add_eog(vocab, vocab->eot);
    add_eog(vocab, vocab->eom);
    qsort(vocab->eog, (size_t)vocab->num_eog, sizeof *vocab->eog, compare_ids);
    return NANO_OK;
}

enum nano_status nano_vocab_load_special(struct nano_vocab *vocab, bool add_bos,
                                         const struct nano_weights *weights, struct nano_error *err)
{
    enum nano_status status;
    NANO_TRY(load_ids(vocab, weights, err));
    vocab->add_bos = add_bos;
    vocab->add_eos = vocab->kind == NANO_TOKENIZER_UNIGRAM;
    NANO_TRY(load_add_flag(weights, KEY("add_bos_token"), KEY("bos_token_id"), vocab->bos,
                           &vocab->add_bos, err));
    NANO_TRY(load_add_flag(weights, KEY("add_eos_token"), KEY("eos_token_id"), vocab->eos,
                           &vocab->add_eos, err));
    if (vocab->kind == NANO_TOKENIZER_SPM) {
        vocab->add_space_prefix = true;
        NANO_TRY(
            nano_meta_get_bool(weights, KEY("add_space_prefix"), &vocab->add_space_prefix, err));
        vocab->drops_first_space = vocab->add_space_prefix;
    }
    NANO_TRY(detect_phi3(vocab, weights, err));
    return load_eog(vocab, weights, err);
fail:
    return status;
}
