/* Building a tokenizer's metadata: what all readers of tokenizer files put together.
 *
 * A reader adds tokens, merges and what it knows about special tokens in any order;
 * nano_tok_finish fills holes and writes GGUF's tokenizer.ggml.* keys. Texts are copied to the
 * weights' arena when they are added. */
#ifndef NANO_FORMAT_TOK_BUILD_H
#define NANO_FORMAT_TOK_BUILD_H

#include "format/meta_build.h"

enum nano_tok_type { /* GGUF's numbers */
                     NANO_TOK_NORMAL = 1,
                     NANO_TOK_UNKNOWN = 2,
                     NANO_TOK_CONTROL = 3,
                     NANO_TOK_USER_DEFINED = 4,
                     NANO_TOK_UNUSED = 5,
                     NANO_TOK_BYTE = 6
};

enum nano_tok_role {
    NANO_TOK_BOS,
    NANO_TOK_EOS,
    NANO_TOK_UNK,
    NANO_TOK_SEP,
    NANO_TOK_PAD,
    NANO_TOK_CLS,
    NANO_TOK_MASK,
    NANO_TOK_NUM_ROLES
};

/* How configuration files call a role: "bos", … */
extern const char *const nano_tok_role_names[NANO_TOK_NUM_ROLES];

struct nano_tok_piece {
    struct nano_string text; /* bytes NULL: a hole */
    float score;
    uint8_t type;
};

enum nano_tok_flag { NANO_TOK_UNSET = -1, NANO_TOK_NO, NANO_TOK_YES };

struct json_t;

struct nano_tok {
    struct nano_meta_builder *builder;
    const char *path;  /* the file that is being read, for messages */
    const char *model; /* tokenizer.ggml.model; NULL: none was found */
    const char *pre;   /* tokenizer.ggml.pre */
    struct nano_tok_piece *pieces;
    size_t num_pieces, pieces_capacity; /* num_pieces: the highest id + 1 */
    size_t num_used;                    /* pieces that are no holes */
    size_t id_limit;                    /* ids are smaller */
    struct nano_string *merges;
    size_t num_merges, merges_capacity;
    int32_t *slots; /* text -> id; a power of two, at most half full; -1: empty */
    size_t num_slots;
    int64_t roles[NANO_TOK_NUM_ROLES]; /* ids, -1: unknown */
    enum nano_tok_flag add_bos, add_eos, add_space_prefix, remove_extra_whitespaces;
    struct json_t *pipeline; /* tokenizer.json without vocabulary and merges; or NULL; owned by
                                tok_json.c's functions */
    bool has_scores, ranks_score;
    size_t num_scored; /* with ranks_score; tokens that have none yet have NAN */
};

void nano_tok_init(struct nano_tok *tok, struct nano_meta_builder *builder);
void nano_tok_deinit(struct nano_tok *tok);

/* Says that `count` more tokens will be added: ids may be as large as that and a few holes allow.
 */
enum nano_status nano_tok_expect(struct nano_tok *tok, size_t count, struct nano_error *err);

/* Adds a token. An id that has another text, or is too large, is an error. The same text at the
 * same id once more only changes type and score. */
enum nano_status nano_tok_add(struct nano_tok *tok, int64_t id, const char *text, size_t num_bytes,
                              float score, enum nano_tok_type type, struct nano_error *err);

/* The id of a text, -1 if it is none's. */
int32_t nano_tok_find(const struct nano_tok *tok, const char *text, size_t num_bytes);

/* Adds "left right". With `ranks_score`, a token that this is the first merge to make gets a score:
 * the negative number of tokens made before, so that merging the best-scored pair first does the
 * same as merging by rank. */
enum nano_status nano_tok_add_merge(struct nano_tok *tok, const char *left, size_t left_bytes,
                                    const char *right, size_t right_bytes, struct nano_error *err);

/* An added token, as tokenizer.json's added_tokens or added_tokens_decoder have it; its type is
 * what llama.cpp's converter would give it. A text that is there already keeps its id. */
enum nano_status nano_tok_add_special(struct nano_tok *tok, int64_t id, const char *text,
                                      size_t num_bytes, bool is_special, struct nano_error *err);

/* Makes an id a hole again; nothing if it is one or is out of range. */
void nano_tok_clear(struct nano_tok *tok, int64_t id);

/* Fills the vocabulary with unused tokens up to `vocab_size` (0: only the holes) and writes all
 * keys. */
enum nano_status nano_tok_finish(struct nano_tok *tok, size_t vocab_size, struct nano_error *err);

#endif
