/* Vocabularies made in memory for the tokenizer's tests. */
#ifndef TESTS_TOKENIZER_FIXTURE_H
#define TESTS_TOKENIZER_FIXTURE_H

#include "format/weights.h"

/* Adds one metadata entry; strings and arrays are copied. Entries are freed by nano_weights_close.
 * These abort without memory. */
void fixture_add_string(struct nano_weights *weights, const char *key, const char *value);
void fixture_add_int(struct nano_weights *weights, const char *key, int64_t value);
void fixture_add_bool(struct nano_weights *weights, const char *key, bool value);
void fixture_add_strings(struct nano_weights *weights, const char *key, size_t count,
                         const struct nano_string *values);
void fixture_add_ints(struct nano_weights *weights, const char *key, size_t count,
                      const int32_t *values);
void fixture_add_floats(struct nano_weights *weights, const char *key, size_t count,
                        const float *values);

/* The entry with the key, to be damaged by a test; NULL if there is none. */
struct nano_meta *fixture_find(struct nano_weights *weights, const char *key);

/* Ids of the toy byte-level vocabulary: bytes, then the merges' results, then special tokens. */
enum {
    TOY_MERGED = 256,
    TOY_NUM_MERGES = 15,
    TOY_END = TOY_MERGED + TOY_NUM_MERGES, /* <|endoftext|>, control */
    TOY_IM_START,                          /* <|im_start|>, control */
    TOY_IM,                                /* <|im, control */
    TOY_TAG,                               /* <tag>, user-defined */
    TOY_UNUSED,                            /* [unused], unused */
    TOY_NUM_TOKENS
};

/* What the toy merges make, in order of rank. */
extern const char *const toy_merges[TOY_NUM_MERGES];

void fixture_toy_bpe(struct nano_weights *weights, const char *pre);

/* The toy SentencePiece vocabulary: <unk> <s> </s>, 256 bytes, then these pieces (_ is U+2581). "z"
 * is no token, but "xz" is. */
#define SPM_PIECE_LIST                         \
    SPM_PIECE(SPM_SPACE, "_", -10, 1)          \
    SPM_PIECE(SPM_A, "a", -11, 1)              \
    SPM_PIECE(SPM_B, "b", -12, 1)              \
    SPM_PIECE(SPM_C, "c", -13, 1)              \
    SPM_PIECE(SPM_X, "x", -14, 1)              \
    SPM_PIECE(SPM_E_ACUTE, "\xC3\xA9", -15, 1) \
    SPM_PIECE(SPM_AB, "ab", -3, 1)             \
    SPM_PIECE(SPM_BC, "bc", -2, 1)             \
    SPM_PIECE(SPM_AA, "aa", -3, 1)             \
    SPM_PIECE(SPM_ABC, "abc", -5, 1)           \
    SPM_PIECE(SPM_SPACE_A, "_a", -6, 1)        \
    SPM_PIECE(SPM_SPACE_SPACE, "__", -7, 1)    \
    SPM_PIECE(SPM_XZ, "xz", -8, 1)             \
    SPM_PIECE(SPM_B_SPACE_C, "b_c", -20, 1)    \
    SPM_PIECE(SPM_SPACE_C, "_c", -9, 1)        \
    SPM_PIECE(SPM_TAG, "<tag>", 0, 4)          \
    SPM_PIECE(SPM_CB, "cb", -2, 3)

enum { SPM_FIRST_BYTE = 3, SPM_PIECES = SPM_FIRST_BYTE + 256 };
enum {
    SPM_LAST_BYTE = SPM_PIECES - 1,
#define SPM_PIECE(name, text, score, type) name,
    SPM_PIECE_LIST
#undef SPM_PIECE
        SPM_NUM_TOKENS
};

void fixture_toy_spm(struct nano_weights *weights);

#endif
