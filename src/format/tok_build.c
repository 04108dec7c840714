/* Building a tokenizer's metadata. */
#include "format/tok_build.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"
#include "format/little_endian.h"

/* Real vocabularies have a few hundred; more would let a small file ask for any amount of memory.
 */
#define MAX_HOLES 65536
#define MAX_TOKENS ((size_t)1 << 26)

#define BAR "\xEF\xBD\x9C" /* U+FF5C */

const char *const nano_tok_role_names[NANO_TOK_NUM_ROLES] = {"bos", "eos", "unk", "sep",
                                                             "pad", "cls", "mask"};

void nano_tok_init(struct nano_tok *tok, struct nano_meta_builder *builder)
{
    *tok = (struct nano_tok){.builder = builder, .path = "", .id_limit = MAX_HOLES};
    for (int role = 0; role < NANO_TOK_NUM_ROLES; role++)
        tok->roles[role] = -1;
    tok->add_bos = tok->add_eos = NANO_TOK_UNSET;
    tok->add_space_prefix = tok->remove_extra_whitespaces = NANO_TOK_UNSET;
}

void nano_tok_deinit(struct nano_tok *tok)
{
    nano_mem_free(tok->pieces);
    nano_mem_free(tok->merges);
    nano_mem_free(tok->slots);
}

/* The place of the text in `slots`, or the empty one where it belongs. */
static size_t slot_of(const struct nano_tok *tok, const char *text, size_t num_bytes)
{
    size_t i = (size_t)XXH3_64bits(text, num_bytes) & (tok->num_slots - 1);
    while (tok->slots[i] >= 0) {
        const struct nano_string *other = &tok->pieces[tok->slots[i]].text;
        if (other->num_bytes == num_bytes && memcmp(other->bytes, text, num_bytes) == 0)
            break;
        i = (i + 1) & (tok->num_slots - 1);
    }
    return i;
}

static bool grow_slots(struct nano_tok *tok, size_t num_tokens)
{
    if (num_tokens < tok->num_slots / 2)
        return true;
    size_t num_slots = tok->num_slots ? tok->num_slots : 1024;
    while (num_slots / 2 <= num_tokens)
        num_slots *= 2;
    int32_t *slots = nano_mem_alloc(num_slots, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < num_slots; i++)
        slots[i] = -1;
    nano_mem_free(tok->slots);
    tok->slots = slots;
    tok->num_slots = num_slots;
    for (size_t id = 0; id < tok->num_pieces; id++) {
        const struct nano_string *text = &tok->pieces[id].text;
        size_t slot = text->bytes ? slot_of(tok, text->bytes, text->num_bytes) : 0;
        if (text->bytes && slots[slot] < 0)
            slots[slot] = (int32_t)id;
    }
    return true;
}

enum nano_status nano_tok_expect(struct nano_tok *tok, size_t count, struct nano_error *err)
{
    if (count > MAX_TOKENS - tok->num_used)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: %zu tokens, expected at most %zu",
                              tok->path, count, MAX_TOKENS);
    tok->id_limit = tok->num_used + count + MAX_HOLES;
    if (!nano_mem_grow((void **)&tok->pieces, &tok->pieces_capacity, tok->num_pieces + count,
                       sizeof *tok->pieces) ||
        !grow_slots(tok, tok->num_used + count))
        return nano_error_no_memory(err, "vocabulary", count * sizeof *tok->pieces);
    return NANO_OK;
}

int32_t nano_tok_find(const struct nano_tok *tok, const char *text, size_t num_bytes)
{
    return tok->num_slots ? tok->slots[slot_of(tok, text, num_bytes)] : -1;
}

/* Makes room for an id that is below id_limit. */
static bool reserve_piece(struct nano_tok *tok, size_t id)
{
    if (!nano_mem_grow((void **)&tok->pieces, &tok->pieces_capacity, id + 1, sizeof *tok->pieces) ||
        !grow_slots(tok, tok->num_used + 1))
        return false;
    for (; tok->num_pieces <= id; tok->num_pieces++)
        tok->pieces[tok->num_pieces] = (struct nano_tok_piece){.type = NANO_TOK_UNUSED};
    return true;
}

enum nano_status nano_tok_add(struct nano_tok *tok, int64_t id, const char *text, size_t num_bytes,
                              float score, enum nano_tok_type type, struct nano_error *err)
{
    int shown = (int)(num_bytes < 60 ? num_bytes : 60);
    if (id < 0 || (uint64_t)id >= tok->id_limit)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: token '%.*s': id %" PRId64 ", expected 0 to %zu", tok->path,
                              shown, text, id, tok->id_limit - 1);
    if (!reserve_piece(tok, (size_t)id))
        return nano_error_no_memory(err, "vocabulary", (size_t)id * sizeof *tok->pieces);
    struct nano_tok_piece *piece = &tok->pieces[id];
    piece->score = score;
    if (piece->text.bytes) {
        if (piece->text.num_bytes != num_bytes || memcmp(piece->text.bytes, text, num_bytes) != 0)
            return nano_error_set(
                err, NANO_ERR_FORMAT, "%s: token '%.*s': id %" PRId64 " is '%.*s' already",
                tok->path, shown, text, id,
                (int)(piece->text.num_bytes < 60 ? piece->text.num_bytes : 60), piece->text.bytes);
        piece->type = (uint8_t)type;
        return NANO_OK;
    }
    nano_meta_copy_string(tok->builder, &piece->text, text, num_bytes);
    if (!piece->text.bytes)
        return nano_error_no_memory(err, "a token", num_bytes);
    piece->type = (uint8_t)type;
    tok->num_used++;
    size_t slot = slot_of(tok, text, num_bytes);
    if (tok->slots[slot] < 0)
        tok->slots[slot] = (int32_t)id;
    return NANO_OK;
}

void nano_tok_clear(struct nano_tok *tok, int64_t id)
{
    if (id < 0 || (uint64_t)id >= tok->num_pieces || !tok->pieces[id].text.bytes)
        return;
    /* its slot stays and finds nothing: no text is as long */
    tok->pieces[id].text = (struct nano_string){NULL, SIZE_MAX};
    tok->num_used--;
}

static bool begins(const char *text, size_t num_bytes, const char *with)
{
    return num_bytes >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, size_t num_bytes, const char *with)
{
    size_t length = strlen(with);
    return num_bytes >= length && memcmp(text + num_bytes - length, with, length) == 0;
}

/* Names that mark control tokens where a file forgets to call them special (llama.cpp's list). */
static bool looks_special(const char *text, size_t num_bytes)
{
    static const char *const names[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (num_bytes == strlen(names[i]) && memcmp(text, names[i], num_bytes) == 0)
            return true;
    return (begins(text, num_bytes, "<|") && ends(text, num_bytes, "|>")) ||
           (begins(text, num_bytes, "<" BAR) && ends(text, num_bytes, BAR ">")) ||
           (begins(text, num_bytes, "<unused") && ends(text, num_bytes, ">"));
}

enum nano_status nano_tok_add_special(struct nano_tok *tok, int64_t id, const char *text,
                                      size_t num_bytes, bool is_special, struct nano_error *err)
{
    int32_t known = nano_tok_find(tok, text, num_bytes);
    enum nano_tok_type type =
        is_special || looks_special(text, num_bytes) ? NANO_TOK_CONTROL : NANO_TOK_USER_DEFINED;
    if (known >= 0)
        id = known;
    if (known >= 0 && tok->pieces[known].type == NANO_TOK_UNKNOWN)
        type = NANO_TOK_UNKNOWN;
    float score = known >= 0 ? tok->pieces[known].score : 0;
    return nano_tok_add(tok, id, text, num_bytes, score, type, err);
}

enum nano_status nano_tok_add_merge(struct nano_tok *tok, const char *left, size_t left_bytes,
                                    const char *right, size_t right_bytes, struct nano_error *err)
{
    size_t num_bytes;
    char *text = NULL;
    if (nano_mem_size(1, left_bytes, 1, &num_bytes) && num_bytes < SIZE_MAX - right_bytes &&
        nano_mem_grow((void **)&tok->merges, &tok->merges_capacity, tok->num_merges + 1,
                      sizeof *tok->merges))
        text = nano_arena_alloc(&tok->builder->weights->arena, num_bytes + right_bytes + 1, 1);
    if (!text)
        return nano_error_no_memory(err, "merges", tok->num_merges * sizeof *tok->merges);
    memcpy(text, left, left_bytes);
    memcpy(text + left_bytes, right, right_bytes);
    if (tok->ranks_score) {
        int32_t id = nano_tok_find(tok, text, left_bytes + right_bytes);
        if (id >= 0 && isnan(tok->pieces[id].score))
            tok->pieces[id].score = -(float)tok->num_scored++;
    }
    memmove(text + left_bytes + 1, text + left_bytes, right_bytes);
    text[left_bytes] = ' ';
    tok->merges[tok->num_merges++] = (struct nano_string){text, num_bytes + right_bytes};
    return NANO_OK;
}

/* Tokens that no merge makes come after those that some merge makes, in order of their ids. */
static void finish_scores(struct nano_tok *tok)
{
    for (size_t id = 0; id < tok->num_pieces; id++) {
        struct nano_tok_piece *piece = &tok->pieces[id];
        if (isnan(piece->score))
            piece->score = piece->type == NANO_TOK_NORMAL ? -(float)tok->num_scored++ : 0;
    }
}

static enum nano_status fill_holes(struct nano_tok *tok, size_t vocab_size, struct nano_error *err)
{
    enum nano_status status;
    char text[40];
    if (vocab_size > tok->num_used + MAX_HOLES)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: vocab_size: %zu, expected at most %zu for a vocabulary of %zu",
                              tok->path, vocab_size, tok->num_used + MAX_HOLES, tok->num_used);
    NANO_TRY(nano_tok_expect(tok, vocab_size, err));
    if (vocab_size < tok->num_pieces)
        vocab_size = tok->num_pieces;
    for (size_t id = 0; id < vocab_size; id++) {
        if (id < tok->num_pieces && tok->pieces[id].text.bytes)
            continue;
        int length = snprintf(text, sizeof text, "[PAD%zu]", id);
        NANO_TRY(nano_tok_add(tok, (int64_t)id, text, (size_t)length, -1000, NANO_TOK_UNUSED, err));
    }
    return NANO_OK;
fail:
    return status;
}

static void write_vocabulary(struct nano_tok *tok)
{
    struct nano_meta_builder *builder = tok->builder;
    size_t n = tok->num_pieces;
    struct nano_string *texts = nano_meta_add_strings(builder, "tokenizer.ggml.tokens", n);
    unsigned char *types =
        nano_meta_add_numbers(builder, "tokenizer.ggml.token_type", NANO_META_I32, n);
    unsigned char *scores =
        tok->has_scores ? nano_meta_add_numbers(builder, "tokenizer.ggml.scores", NANO_META_F32, n)
                        : NULL;
    for (size_t id = 0; id < n; id++) {
        if (texts)
            texts[id] = tok->pieces[id].text;
        if (types)
            nano_le_store(types + 4 * id, tok->pieces[id].type, 4);
        if (scores)
            nano_le_store(scores + 4 * id, nano_le_bits_f32(tok->pieces[id].score), 4);
    }
    const bool is_bpe =
        strcmp(tok->model, "gpt2") == 0 || (tok->pipeline && strcmp(tok->model, "llama") == 0);
    if (tok->num_merges == 0 && !is_bpe)
        return;
    struct nano_string *merges =
        nano_meta_add_strings(builder, "tokenizer.ggml.merges", tok->num_merges);
    if (merges && tok->num_merges)
        memcpy(merges, tok->merges, tok->num_merges * sizeof *merges);
}

static void write_flag(struct nano_tok *tok, const char *key, enum nano_tok_flag flag)
{
    if (flag != NANO_TOK_UNSET)
        nano_meta_add_bool(tok->builder, key, flag == NANO_TOK_YES);
}

enum nano_status nano_tok_finish(struct nano_tok *tok, size_t vocab_size, struct nano_error *err)
{
    static const char *const id_keys[NANO_TOK_NUM_ROLES] = {
        "tokenizer.ggml.bos_token_id",     "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.seperator_token_id",
        "tokenizer.ggml.padding_token_id", "tokenizer.ggml.cls_token_id",
        "tokenizer.ggml.mask_token_id",
    };
    finish_scores(tok);
    enum nano_status status = fill_holes(tok, vocab_size, err);
    if (status != NANO_OK)
        return status;
    if (tok->num_pieces == 0)
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: the vocabulary is empty", tok->path);
    nano_meta_add_cstring(tok->builder, "tokenizer.ggml.model", tok->model);
    if (tok->pre)
        nano_meta_add_cstring(tok->builder, "tokenizer.ggml.pre", tok->pre);
    write_vocabulary(tok);
    for (int role = 0; role < NANO_TOK_NUM_ROLES; role++)
        if (tok->roles[role] >= 0 && (uint64_t)tok->roles[role] < tok->num_pieces)
            nano_meta_add_u32(tok->builder, id_keys[role], (uint32_t)tok->roles[role]);
    bool has_bos = tok->roles[NANO_TOK_BOS] >= 0, has_eos = tok->roles[NANO_TOK_EOS] >= 0;
    write_flag(tok, "tokenizer.ggml.add_bos_token", has_bos ? tok->add_bos : NANO_TOK_NO);
    write_flag(tok, "tokenizer.ggml.add_eos_token", has_eos ? tok->add_eos : NANO_TOK_NO);
    write_flag(tok, "tokenizer.ggml.add_space_prefix", tok->add_space_prefix);
    write_flag(tok, "tokenizer.ggml.remove_extra_whitespaces", tok->remove_extra_whitespaces);
    return nano_meta_build_finish(tok->builder, err);
}
