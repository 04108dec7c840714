/* Vocabulary: the tokens of a model file, their types, their bytes and the special ones.
 *
 * Owns what every kind of tokenizer needs; how text becomes tokens is in bpe.c and spm.c. Texts are
 * borrowed from the weights. Read-only after nano_vocab_init. */
#ifndef NANO_TOKENIZER_VOCAB_H
#define NANO_TOKENIZER_VOCAB_H

#include "base/error.h"
#include "format/weights.h"

enum nano_tokenizer_kind {
    NANO_TOKENIZER_BPE, /* of bytes */
    NANO_TOKENIZER_SPM,
    NANO_TOKENIZER_CHAR_BPE,
    NANO_TOKENIZER_WORDPIECE, /* and WordLevel */
    NANO_TOKENIZER_UNIGRAM
};

enum nano_token_type { /* GGUF's numbers */
                       NANO_TOKEN_NORMAL = 1,
                       NANO_TOKEN_UNKNOWN = 2,
                       NANO_TOKEN_CONTROL = 3,
                       NANO_TOKEN_USER_DEFINED = 4,
                       NANO_TOKEN_UNUSED = 5,
                       NANO_TOKEN_BYTE = 6
};

#define NANO_MAX_VOCAB (1 << 28)

struct nano_vocab_slot {
    uint32_t hash;
    int32_t id; /* -1: empty */
};

struct nano_vocab {
    enum nano_tokenizer_kind kind;
    int32_t num_tokens;
    const struct nano_string *texts; /* as in the file; borrowed */
    uint8_t *types;                  /* enum nano_token_type */

    struct nano_vocab_slot *slots; /* text -> id; a power of two, at most half full */
    size_t num_slots;

    char *pieces; /* piece i is pieces[piece_ends[i - 1] … piece_ends[i]): what the decoder emits */
    uint32_t *piece_ends;
    char *first_pieces; /* the same for the first token of a text; NULL: see drops_first_space */
    uint32_t *first_ends;
    size_t max_piece_bytes;
    bool drops_first_space;

    int32_t *eog; /* tokens that end a generation, ascending */
    int num_eog;

    int32_t bos, eos, eot, eom, unk, pad; /* -1: none */
    bool add_bos, add_eos;
    bool add_space_prefix;    /* SPM only */
    bool strip_after_special; /* whitespace after a special token belongs to it (Phi-3) */
};

/* `add_bos` is what the pre-tokenizer's models expect where the file has no
 * tokenizer.ggml.add_bos_token. On failure nano_vocab_deinit releases what there is. */
enum nano_status nano_vocab_init(struct nano_vocab *vocab, enum nano_tokenizer_kind kind,
                                 bool add_bos, const struct nano_weights *weights,
                                 struct nano_error *err);

/* Writes the pieces as GGUF's conventions have them; after nano_vocab_init. */
enum nano_status nano_vocab_write_pieces(struct nano_vocab *vocab,
                                         const struct nano_weights *weights,
                                         struct nano_error *err);
void nano_vocab_deinit(struct nano_vocab *vocab);

/* The token with exactly this text (the first, if several have it), -1 if there is none. */
int32_t nano_vocab_find(const struct nano_vocab *vocab, const char *text, size_t num_bytes);

/* The token with exactly this text that merging may produce: not a control, unknown or byte one. */
int32_t nano_vocab_find_mergeable(const struct nano_vocab *vocab, const char *text,
                                  size_t num_bytes);

/* The token that stands for a single byte, -1 if there is none. */
int32_t nano_vocab_find_byte(const struct nano_vocab *vocab, unsigned char byte);

/* The byte of "<0xHH>", -1 for another text. */
int nano_vocab_hex_byte(const char *text, size_t num_bytes);

/* The token <0xHH> of a byte, -1 if there is none. */
int32_t nano_vocab_find_hex_byte(const struct nano_vocab *vocab, unsigned char byte);

/* The bytes that a token stands for in the middle of a text. */
const char *nano_vocab_piece(const struct nano_vocab *vocab, int32_t id, size_t *num_bytes);

/* Whether skip_special leaves the token out. */
bool nano_vocab_is_special(const struct nano_vocab *vocab, int32_t id);

/* What the decoder emits for a token of a text: nothing for a special one that is skipped, and
 * without the space that encoding puts before a text when it is the first one. */
const char *nano_vocab_piece_in_text(const struct nano_vocab *vocab, int32_t id, bool skip_special,
                                     bool is_first, size_t *num_bytes);

/* Ids, flags and the end-of-generation set; the second half of nano_vocab_init. */
enum nano_status nano_vocab_load_special(struct nano_vocab *vocab, bool add_bos,
                                         const struct nano_weights *weights,
                                         struct nano_error *err);

/* tokenizer.ggml.unknown_token_id alone. */
enum nano_status nano_vocab_load_unk(struct nano_vocab *vocab, const struct nano_weights *weights,
                                     struct nano_error *err);

#endif
