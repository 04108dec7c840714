/* tokenizer: toy vocabularies with hand-verified ids, special tokens, streaming, bad files. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"
#include "tokenizer_fixture.h"

#define KEY(name) "tokenizer.ggml." name
#define END_OF_IDS INT32_MIN

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static nano_tokenizer *create(const struct nano_weights *weights)
{
    struct nano_error err;
    nano_tokenizer *tokenizer;
    cr_assert_eq(nano_tokenizer_create(&tokenizer, weights, &err), NANO_OK, "%s", err.message);
    return tokenizer;
}

static void destroy(nano_tokenizer *tokenizer, struct nano_weights *weights)
{
    nano_tokenizer_destroy(tokenizer);
    nano_weights_close(weights);
}

static size_t encode(const nano_tokenizer *tokenizer, const char *text, size_t num_bytes,
                     unsigned flags, int32_t **ids)
{
    size_t num_ids;
    struct nano_error err;
    cr_assert_eq(nano_tokenizer_encode(tokenizer, text, num_bytes, flags, ids, &num_ids, &err),
                 NANO_OK, "%s", err.message);
    return num_ids;
}

/* The ids end with END_OF_IDS. */
static void check_ids(const nano_tokenizer *tokenizer, const char *text, unsigned flags, ...)
{
    int32_t *ids;
    size_t num_ids = encode(tokenizer, text, strlen(text), flags, &ids), i = 0;
    va_list expected;
    va_start(expected, flags);
    for (int32_t id; (id = va_arg(expected, int)) != END_OF_IDS; i++)
        cr_expect(i < num_ids && ids[i] == id, "'%s' [%zu]: %d, expected %d", text, i,
                  i < num_ids ? ids[i] : -1, id);
    cr_expect_eq(i, num_ids, "'%s': %zu ids, expected %zu", text, num_ids, i);
    va_end(expected);
    nano_free(ids);
}

static void check_text(const nano_tokenizer *tokenizer, const int32_t *ids, size_t num_ids,
                       bool skip_special, const char *expected)
{
    char *text;
    size_t num_bytes;
    struct nano_error err;
    cr_assert_eq(
        nano_tokenizer_decode(tokenizer, ids, num_ids, skip_special, &text, &num_bytes, &err),
        NANO_OK, "%s", err.message);
    cr_expect_str_eq(text, expected, "'%s', expected '%s'", text, expected);
    cr_expect_eq(num_bytes, strlen(expected));
    nano_free(text);
}

static void check_round_trip(const nano_tokenizer *tokenizer, const char *text, size_t num_bytes)
{
    int32_t *ids;
    char *back;
    size_t back_bytes, num_ids = encode(tokenizer, text, num_bytes, 0, &ids);
    struct nano_error err;
    cr_assert_eq(nano_tokenizer_decode(tokenizer, ids, num_ids, false, &back, &back_bytes, &err),
                 NANO_OK);
    cr_assert_leq(nano_tokenizer_min_tokens(tokenizer, num_bytes), num_ids);
    cr_assert_eq(back_bytes, num_bytes);
    cr_assert_eq(back[back_bytes], '\0');
    if (num_bytes)
        cr_assert_arr_eq(back, text, num_bytes);
    nano_free(ids);
    nano_free(back);
}

/* ---- byte-level BPE */

enum {
    HE = TOY_MERGED,
    LL,
    HELL,
    HELLO,
    SPACE_H,
    SPACE_HE,
    LD,
    OR,
    SPACE_W,
    SPACE_WOR,
    SPACE_WORLD,
    TWELVE,
    TWO_SPACES,
    EE
};

Test(bpe, hand_verified_ids)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "gpt-2");
    nano_tokenizer *tokenizer = create(&weights);
    check_ids(tokenizer, "", 0, END_OF_IDS);
    check_ids(tokenizer, "hello world", 0, HELLO, SPACE_WORLD, END_OF_IDS);
    /* "l l" outranks " h e", and "he" outranks " h" */
    check_ids(tokenizer, " hello", 0, ' ', HELLO, END_OF_IDS);
    check_ids(tokenizer, " hi", 0, SPACE_H, 'i', END_OF_IDS);
    check_ids(tokenizer, "lll", 0, LL, 'l', END_OF_IDS);
    check_ids(tokenizer, "llll", 0, LL, LL, END_OF_IDS);
    check_ids(tokenizer, "1212", 0, TWELVE, TWELVE, END_OF_IDS);
    check_ids(tokenizer, "\xC3\xA9\xC3", 0, EE, 0xC3, END_OF_IDS);
    check_ids(tokenizer, "a   b", 0, 'a', TWO_SPACES, ' ', 'b', END_OF_IDS);
    check_ids(tokenizer, "orld", 0, OR, LD, END_OF_IDS);
    struct nano_tokenizer_info info;
    nano_tokenizer_get_info(tokenizer, &info);
    cr_expect_str_eq(info.kind, "bpe");
    cr_expect_str_eq(info.pre, "gpt-2");
    cr_expect_eq(info.vocab_size, TOY_NUM_TOKENS);
    cr_expect_eq(info.bos_token_id, -1);
    cr_expect_eq(info.eos_token_id, TOY_END);
    cr_expect_not(info.add_bos);
    destroy(tokenizer, &weights);
}

Test(bpe, the_pre_tokenizer_bounds_merging)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "qwen2");
    nano_tokenizer *tokenizer = create(&weights);
    check_ids(tokenizer, "12", 0, '1', '2', END_OF_IDS); /* digits stand alone */
    destroy(tokenizer, &weights);
}

Test(bpe, ignore_merges_takes_whole_words)
{
    for (int i = 0; i < 2; i++) {
        struct nano_weights weights = {0};
        fixture_toy_bpe(&weights, i ? "llama-bpe" : "dbrx"); /* the same pattern */
        /* " world" stays a token, but nothing merges to it any more */
        struct nano_meta *merges = fixture_find(&weights, KEY("merges"));
        merges->num_elements = SPACE_WORLD - TOY_MERGED;
        nano_tokenizer *tokenizer = create(&weights);
        if (i)
            check_ids(tokenizer, " world", 0, SPACE_WORLD, END_OF_IDS);
        else
            check_ids(tokenizer, " world", 0, SPACE_WOR, LD, END_OF_IDS);
        check_ids(tokenizer, " worlds", 0, SPACE_WOR, LD, 's', END_OF_IDS);
        /* control tokens are no words */
        check_ids(tokenizer, "hello", NANO_ENCODE_PARSE_SPECIAL, HELLO, END_OF_IDS);
        destroy(tokenizer, &weights);
    }
}

Test(bpe, any_bytes_round_trip)
{
    static const char *const names[] = {"gpt-2",        "llama-bpe", "qwen2", "falcon",
                                        "deepseek-llm", "gpt-4o",    NULL};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct nano_weights weights = {0};
        fixture_toy_bpe(&weights, names[n]);
        nano_tokenizer *tokenizer = create(&weights);
        random_state = 3;
        for (int round = 0; round < 300; round++) {
            char bytes[700];
            size_t num_bytes = random_below(sizeof bytes);
            bool ascii = round % 3 == 0;
            for (size_t i = 0; i < num_bytes; i++)
                bytes[i] = (char)(ascii ? random_below(128) : random_below(256));
            check_round_trip(tokenizer, bytes, num_bytes);
        }
        check_round_trip(tokenizer, "a\0b\0\0", 5);
        destroy(tokenizer, &weights);
    }
}

/* The word cache must not change anything: texts against their words one by one, with words such
 * as a careless cache would mix up. They are equal but for the length or a byte somewhere. */
Test(bpe, repeated_words_get_the_same_ids)
{
    static const char *const parts[] = {"hello", "hell", "world", "he", "l", "ll", "x", "o"};
    static const char *const long_words[] = {" worldhellohello", " worldhellohellox",
                                             " worldhexlohellox", " worldhellohellol"};
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "gpt-2");
    nano_tokenizer *tokenizer = create(&weights);
    random_state = 5;
    for (int round = 0; round < 1000; round++) {
        char text[2048] = "";
        int32_t expected[2048], *ids;
        size_t num_expected = 0;
        for (int i = 0; i < 50; i++) {
            char word[32] = " ";
            uint32_t choice = random_below(8);
            if (choice == 0)
                strcpy(word, long_words[random_below(sizeof long_words / sizeof *long_words)]);
            else if (choice < 4)
                memset(word + 1, '!' + (int)random_below(94), 1 + random_below(2));
            else
                for (uint32_t k = 1 + random_below(3); k-- > 0;)
                    strcat(word, parts[random_below(sizeof parts / sizeof *parts)]);
            strcat(text, word);
            size_t n = encode(tokenizer, word, strlen(word), 0, &ids);
            memcpy(expected + num_expected, ids, n * sizeof *ids);
            num_expected += n;
            nano_free(ids);
        }
        size_t n = encode(tokenizer, text, strlen(text), 0, &ids);
        cr_assert_eq(n, num_expected);
        cr_assert_arr_eq(ids, expected, n * sizeof *ids);
        nano_free(ids);
    }
    destroy(tokenizer, &weights);
}

Test(bpe, bytes_without_a_token)
{
    for (int with_unk = 0; with_unk < 2; with_unk++) {
        struct nano_weights weights = {0};
        fixture_toy_bpe(&weights, "gpt-2");
        if (with_unk)
            fixture_add_int(&weights, KEY("unknown_token_id"), TOY_UNUSED);
        struct nano_string *tokens =
            (struct nano_string *)(uintptr_t)fixture_find(&weights, KEY("tokens"))->strings;
        tokens['l'].num_bytes = 0; /* an empty text is no token; merges with it are left out */
        nano_tokenizer *tokenizer = create(&weights);
        if (with_unk)
            check_ids(tokenizer, "help", 0, HE, TOY_UNUSED, 'p', END_OF_IDS);
        else
            check_ids(tokenizer, "help", 0, HE, 'p', END_OF_IDS);
        check_ids(tokenizer, "hle", 0, 'h', with_unk ? TOY_UNUSED : 'e',
                  with_unk ? 'e' : END_OF_IDS, END_OF_IDS);
        destroy(tokenizer, &weights);
    }
}

Test(bpe, of_equal_texts_the_first_is_used)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "gpt-2");
    struct nano_string *tokens =
        (struct nano_string *)(uintptr_t)fixture_find(&weights, KEY("tokens"))->strings;
    tokens[TOY_UNUSED] = tokens[HELLO];
    nano_tokenizer *tokenizer = create(&weights);
    check_ids(tokenizer, "hello", 0, HELLO, END_OF_IDS);
    destroy(tokenizer, &weights);
}

/* ---- special tokens */

Test(special, found_in_the_text_when_asked_for)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "gpt-2");
    fixture_add_int(&weights, KEY("bos_token_id"), TOY_END);
    fixture_add_bool(&weights, KEY("add_bos_token"), true);
    fixture_add_bool(&weights, KEY("add_eos_token"), true);
    nano_tokenizer *tokenizer = create(&weights);
    const unsigned parse = NANO_ENCODE_PARSE_SPECIAL;
    check_ids(tokenizer, "<|im_start|>hello<|endoftext|>", parse, TOY_IM_START, HELLO, TOY_END,
              END_OF_IDS);
    check_ids(tokenizer, "<|im_x<|im<", parse, TOY_IM, '_', 'x', TOY_IM, '<', END_OF_IDS);
    check_ids(tokenizer, "<|<|im_start|>", parse, '<', '|', TOY_IM_START, END_OF_IDS);
    check_ids(tokenizer, "<|im", 0, '<', '|', 'i', 'm', END_OF_IDS);
    check_ids(tokenizer, "a<tag>hello", 0, 'a', TOY_TAG, HELLO, END_OF_IDS); /* user-defined */
    check_ids(tokenizer, "[unused]", parse, '[', 'u', 'n', 'u', 's', 'e', 'd', ']', END_OF_IDS);
    check_ids(tokenizer, "", NANO_ENCODE_ADD_SPECIAL, TOY_END, TOY_END, END_OF_IDS);
    check_ids(tokenizer, "hello", NANO_ENCODE_ADD_SPECIAL, TOY_END, HELLO, TOY_END, END_OF_IDS);
    /* words do not merge across a special token */
    check_ids(tokenizer, "he<tag>ll", 0, HE, TOY_TAG, LL, END_OF_IDS);
    destroy(tokenizer, &weights);
}

Test(special, decoding_leaves_them_out_when_asked)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "gpt-2");
    nano_tokenizer *tokenizer = create(&weights);
    static const int32_t ids[] = {TOY_IM_START, HELLO, TOY_TAG, TOY_UNUSED, SPACE_WORLD, TOY_END};
    check_text(tokenizer, ids, 6, true, "hello<tag> world");
    check_text(tokenizer, ids, 6, false, "<|im_start|>hello<tag> world<|endoftext|>");
    check_text(tokenizer, ids, 0, false, "");
    const char *piece;
    size_t num_bytes;
    cr_assert(nano_tokenizer_get_piece(tokenizer, SPACE_WORLD, &piece, &num_bytes));
    cr_expect_eq(num_bytes, 6);
    cr_expect_arr_eq(piece, " world", 6);
    cr_assert(nano_tokenizer_get_piece(tokenizer, TOY_END, &piece, &num_bytes));
    cr_expect_arr_eq(piece, "<|endoftext|>", 13);
    cr_expect_not(nano_tokenizer_get_piece(tokenizer, TOY_NUM_TOKENS, &piece, &num_bytes));
    cr_expect_not(nano_tokenizer_get_piece(tokenizer, -1, &piece, &num_bytes));
    static const int32_t outside[] = {HELLO, TOY_NUM_TOKENS};
    char *text;
    struct nano_error err;
    cr_expect_eq(nano_tokenizer_decode(tokenizer, outside, 2, false, &text, &num_bytes, &err),
                 NANO_ERR_INVALID_ARGUMENT);
    cr_expect(strstr(err.message, "token id 276"), "%s", err.message);
    destroy(tokenizer, &weights);
}

Test(special, end_of_generation)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "gpt-2");
    struct nano_string *tokens =
        (struct nano_string *)(uintptr_t)fixture_find(&weights, KEY("tokens"))->strings;
    tokens[TOY_UNUSED] = (struct nano_string){"<|im_end|>", 10};
    tokens[TOY_TAG] = (struct nano_string){"<|eom_id|>", 10};
    fixture_find(&weights, KEY("eos_token_id"))->value.i = TOY_IM_START;
    nano_tokenizer *tokenizer = create(&weights);
    static const int32_t expected[] = {TOY_END, TOY_IM_START, TOY_TAG, TOY_UNUSED};
    const int32_t *eog;
    cr_assert_eq(nano_tokenizer_eog_tokens(tokenizer, &eog), 4);
    cr_expect_arr_eq(eog, expected, sizeof expected);
    for (int32_t id = -1; id <= TOY_NUM_TOKENS; id++)
        cr_expect_eq(nano_tokenizer_is_eog(tokenizer, id),
                     id == TOY_END || id == TOY_IM_START || id == TOY_TAG || id == TOY_UNUSED);
    struct nano_tokenizer_info info;
    nano_tokenizer_get_info(tokenizer, &info);
    cr_expect_eq(info.eot_token_id, TOY_UNUSED); /* <|im_end|> goes before <|endoftext|> */
    /* whatever type the file gave it, it is a control token now */
    check_ids(tokenizer, "<|im_end|>", NANO_ENCODE_PARSE_SPECIAL, TOY_UNUSED, END_OF_IDS);
    check_text(tokenizer, expected + 3, 1, true, "");
    destroy(tokenizer, &weights);
}

Test(special, phi3_drops_whitespace_after_them)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "gpt-2");
    fixture_add_string(&weights, "general.name", "Microsoft Phi-3 mini");
    nano_tokenizer *tokenizer = create(&weights);
    check_ids(tokenizer, "<|im_start|> \n hello<|endoftext|> x", NANO_ENCODE_PARSE_SPECIAL,
              TOY_IM_START, HELLO, TOY_END, ' ', 'x', END_OF_IDS);
    destroy(tokenizer, &weights);
}

/* ---- SentencePiece */

#define BYTE(b) (SPM_FIRST_BYTE + (b))

Test(spm, hand_verified_ids)
{
    struct nano_weights weights = {0};
    fixture_toy_spm(&weights);
    nano_tokenizer *tokenizer = create(&weights);
    check_ids(tokenizer, "", 0, END_OF_IDS);
    check_ids(tokenizer, "", NANO_ENCODE_ADD_SPECIAL, 1, END_OF_IDS);
    /* "bc" (-2) goes before "ab" (-3), then "abc" (-5) before "_a" (-6) */
    check_ids(tokenizer, "abc", 0, SPM_SPACE, SPM_ABC, END_OF_IDS);
    check_ids(tokenizer, "abc", NANO_ENCODE_ADD_SPECIAL, 1, SPM_SPACE, SPM_ABC, END_OF_IDS);
    check_ids(tokenizer, "a", 0, SPM_SPACE_A, END_OF_IDS);
    check_ids(tokenizer, "aaa", 0, SPM_SPACE, SPM_AA, SPM_A,
              END_OF_IDS); /* the leftmost pair of equals */
    check_ids(tokenizer, "  a", 0, SPM_SPACE_SPACE, SPM_SPACE_A, END_OF_IDS);
    check_ids(tokenizer, "a c", 0, SPM_SPACE_A, SPM_SPACE_C, END_OF_IDS);
    /* no token: byte by byte; "z" has none, but "xz" */
    check_ids(tokenizer, "q", 0, SPM_SPACE, BYTE('q'), END_OF_IDS);
    check_ids(tokenizer, "xzz", 0, SPM_SPACE, SPM_XZ, BYTE('z'), END_OF_IDS);
    check_ids(tokenizer, "\xC3\xA9\xC3\xA8", 0, SPM_SPACE, SPM_E_ACUTE, BYTE(0xC3), BYTE(0xA8),
              END_OF_IDS);
    check_ids(tokenizer,
              "\xC3"
              "a\xFF",
              0, SPM_SPACE, BYTE(0xC3), SPM_A, BYTE(0xFF), END_OF_IDS);
    check_ids(tokenizer, "cb", 0, SPM_SPACE_C, SPM_B,
              END_OF_IDS); /* a control token is never merged to */
    check_ids(tokenizer, "\n", 0, SPM_SPACE, BYTE('\n'), END_OF_IDS);
    struct nano_tokenizer_info info;
    nano_tokenizer_get_info(tokenizer, &info);
    cr_expect_str_eq(info.kind, "spm");
    cr_expect_str_eq(info.pre, "");
    cr_expect_eq(info.bos_token_id, 1);
    cr_expect_eq(info.eos_token_id, 2);
    cr_expect_eq(info.unk_token_id, 0);
    cr_expect(info.add_bos);
    cr_expect(nano_tokenizer_is_eog(tokenizer, 2));
    destroy(tokenizer, &weights);
}

Test(spm, special_tokens_and_the_space_before_text)
{
    struct nano_weights weights = {0};
    fixture_toy_spm(&weights);
    nano_tokenizer *tokenizer = create(&weights);
    const unsigned parse = NANO_ENCODE_PARSE_SPECIAL;
    check_ids(tokenizer, "<s>a</s>", parse, 1, SPM_SPACE_A, 2, END_OF_IDS);
    check_ids(tokenizer, "a<tag>a", 0, SPM_SPACE_A, SPM_TAG, SPM_SPACE_A, END_OF_IDS);
    static const int32_t ids[] = {1, SPM_SPACE_A, 2, SPM_SPACE_A};
    check_text(tokenizer, ids, 4, false, "<s> a</s> a");
    check_text(tokenizer, ids, 4, true,
               " a a"); /* only the very first token gives its space back */
    check_text(tokenizer, ids + 1, 3, true, "a a");
    destroy(tokenizer, &weights);

    memset(&weights, 0, sizeof weights);
    fixture_toy_spm(&weights);
    fixture_add_bool(&weights, KEY("add_space_prefix"), false);
    fixture_add_bool(&weights, KEY("add_bos_token"), false);
    tokenizer = create(&weights);
    check_ids(tokenizer, "a", NANO_ENCODE_ADD_SPECIAL, SPM_A, END_OF_IDS);
    check_ids(tokenizer, " a", 0, SPM_SPACE_A, END_OF_IDS);
    check_text(tokenizer, ids + 1, 1, true, " a");
    destroy(tokenizer, &weights);
}

/* The definition, on the whole text at once: of all adjacent symbols that together are a token the
 * best-scored, leftmost pair is joined, until there is none. */
static size_t encode_spm_naively(const char *text, int32_t *ids)
{
    static const struct {
        const char *text;
        double score;
        int32_t id, type;
    } pieces[] = {
#define SPM_PIECE(name, piece_text, piece_score, piece_type) \
    {piece_text, piece_score, name, piece_type},
        SPM_PIECE_LIST
#undef SPM_PIECE
    };
    enum { NUM_PIECES = sizeof pieces / sizeof *pieces };
    char symbols[64][64];
    size_t n = 0, num_ids = 0;
    snprintf(symbols[n++], 64, "_");
    for (size_t i = 0; text[i];) {
        uint32_t codepoint;
        size_t length = (size_t)nano_utf8_decode(text + i, strlen(text + i), &codepoint);
        snprintf(symbols[n++], 64, "%.*s", (int)length, text[i] == ' ' ? "_" : text + i);
        i += length;
    }
    for (;;) {
        double best_score = -1e9;
        size_t best = n;
        for (size_t i = 0; i + 1 < n; i++) {
            size_t left = strlen(symbols[i]), right = strlen(symbols[i + 1]);
            for (size_t p = 0; p < NUM_PIECES; p++)
                if (pieces[p].type != NANO_TOKEN_CONTROL && pieces[p].score > best_score &&
                    strlen(pieces[p].text) == left + right &&
                    memcmp(pieces[p].text, symbols[i], left) == 0 &&
                    memcmp(pieces[p].text + left, symbols[i + 1], right) == 0) {
                    best_score = pieces[p].score;
                    best = i;
                }
        }
        if (best == n)
            break;
        memcpy(symbols[best] + strlen(symbols[best]), symbols[best + 1],
               strlen(symbols[best + 1]) + 1);
        memmove(symbols + best + 1, symbols + best + 2, (n - best - 2) * sizeof *symbols);
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        size_t p = 0;
        while (p < NUM_PIECES && strcmp(pieces[p].text, symbols[i]) != 0)
            p++;
        if (p < NUM_PIECES)
            ids[num_ids++] = pieces[p].id;
        else
            for (const char *s = symbols[i]; *s; s++)
                ids[num_ids++] = BYTE((unsigned char)*s);
    }
    return num_ids;
}

/* Text is cut before spaces to merge its words one by one. That must show nowhere, neither where a
 * token spans a space ("b_c") nor with characters that only parts of tokens have ("xz"). */
Test(spm, equals_the_definition_on_the_whole_text)
{
    static const char *const alphabet[] = {"a", "a", "b", "c", " ", " ", "x", "z", "\xC3\xA9", "q"};
    struct nano_weights weights = {0};
    fixture_toy_spm(&weights);
    nano_tokenizer *tokenizer = create(&weights);
    check_ids(tokenizer, "b c", 0, SPM_SPACE, SPM_B_SPACE_C, END_OF_IDS);
    random_state = 21;
    for (int round = 0; round < 3000; round++) {
        char text[128] = "";
        int32_t expected[256], *ids;
        for (uint32_t k = 1 + random_below(40); k-- > 0;)
            strcat(text, alphabet[random_below(sizeof alphabet / sizeof *alphabet)]);
        size_t num_expected = encode_spm_naively(text, expected);
        size_t num_ids = encode(tokenizer, text, strlen(text), 0, &ids);
        cr_assert_eq(num_ids, num_expected, "'%s'", text);
        cr_assert_arr_eq(ids, expected, num_ids * sizeof *ids, "'%s'", text);
        nano_free(ids);
    }
    destroy(tokenizer, &weights);
}

Test(spm, any_bytes_round_trip)
{
    struct nano_weights weights = {0};
    fixture_toy_spm(&weights);
    nano_tokenizer *tokenizer = create(&weights);
    static const char alphabet[] = "aabbccxz  \n\xC3\xA9q";
    random_state = 9;
    for (int round = 0; round < 600; round++) {
        char bytes[700];
        size_t num_bytes = random_below(sizeof bytes);
        for (size_t i = 0; i < num_bytes; i++)
            bytes[i] =
                round % 2 ? alphabet[random_below(sizeof alphabet - 1)] : (char)random_below(256);
        check_round_trip(tokenizer, bytes, num_bytes);
    }
    check_round_trip(tokenizer, " ", 1);
    check_round_trip(tokenizer, "\0 \0", 3);
    destroy(tokenizer, &weights);
}

Test(spm, characters_without_bytes_become_unknown)
{
    struct nano_weights weights = {0};
    fixture_toy_spm(&weights);
    struct nano_string *tokens =
        (struct nano_string *)(uintptr_t)fixture_find(&weights, KEY("tokens"))->strings;
    tokens[BYTE(0xA8)].num_bytes = 0;
    tokens[BYTE('z')].num_bytes = 0;
    nano_tokenizer *tokenizer = create(&weights);
    check_ids(tokenizer,
              "\xC3\xA8"
              "az",
              0, SPM_SPACE, 0, SPM_A, 0, END_OF_IDS);
    destroy(tokenizer, &weights);
}

/* ---- streaming */

/* Invalid bytes replaced, written from the definition in chapter 3 of the Unicode standard. */
static size_t replace_invalid(const char *text, size_t num_bytes, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < num_bytes;) {
        uint32_t codepoint;
        int length = nano_utf8_decode(text + i, num_bytes - i, &codepoint);
        if (length > 0) {
            memcpy(out + written, text + i, (size_t)length);
            written += (size_t)length;
            i += (size_t)length;
            continue;
        }
        size_t part = 1; /* the longest beginning of a character */
        for (size_t n = 2; n <= 3 && i + n <= num_bytes; n++)
            if (nano_utf8_incomplete_suffix(text + i, n) == n)
                part = n;
        memcpy(out + written, NANO_UTF8_REPLACEMENT, 3);
        written += 3;
        i += part;
    }
    return written;
}

static size_t stream_all(const nano_tokenizer *tokenizer, const int32_t *ids, size_t num_ids,
                         bool skip_special, char *out)
{
    struct nano_token_stream stream;
    size_t written = 0, max_bytes = nano_token_stream_max_bytes(tokenizer);
    nano_token_stream_init(&stream, tokenizer, skip_special);
    for (size_t i = 0; i < num_ids; i++) {
        size_t n = nano_token_stream_push(&stream, ids[i], out + written);
        cr_assert_leq(n, max_bytes);
        cr_assert_eq(nano_utf8_valid_prefix(out + written, n), n);
        written += n;
    }
    size_t n = nano_token_stream_flush(&stream, out + written);
    cr_assert_leq(n, max_bytes);
    cr_assert_eq(nano_token_stream_flush(&stream, out + written), 0);
    return written + n;
}

static void check_streaming(const nano_tokenizer *tokenizer, const int32_t *ids, size_t num_ids,
                            bool skip_special)
{
    static char streamed[1 << 16], expected[1 << 16];
    char *text;
    size_t num_bytes;
    struct nano_error err;
    cr_assert_eq(
        nano_tokenizer_decode(tokenizer, ids, num_ids, skip_special, &text, &num_bytes, &err),
        NANO_OK);
    size_t num_expected = replace_invalid(text, num_bytes, expected);
    size_t num_streamed = stream_all(tokenizer, ids, num_ids, skip_special, streamed);
    cr_assert_eq(num_streamed, num_expected);
    cr_assert_arr_eq(streamed, expected, num_expected);
    nano_free(text);
}

Test(stream, equals_the_whole_text_with_replacements)
{
    struct nano_weights bpe_weights = {0}, spm_weights = {0};
    fixture_toy_bpe(&bpe_weights, "gpt-2");
    fixture_toy_spm(&spm_weights);
    nano_tokenizer *bpe = create(&bpe_weights), *spm = create(&spm_weights);
    /* bytes around the borders of UTF-8's tables */
    static const unsigned char bytes[] = {0x00, 'a',  0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                          0xA0, 0xBF, 0xC0, 0xC2, 0xC3, 0xE0, 0xE2,
                                          0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
    random_state = 13;
    for (int round = 0; round < 4000; round++) {
        int32_t ids[40];
        size_t n = random_below(40);
        for (size_t i = 0; i < n; i++)
            ids[i] = random_below(8) ? bytes[random_below(sizeof bytes)]
                                     : (int32_t)random_below(TOY_NUM_TOKENS);
        check_streaming(bpe, ids, n, round % 2);
        for (size_t i = 0; i < n; i++)
            ids[i] = random_below(8) ? BYTE(bytes[random_below(sizeof bytes)])
                                     : (int32_t)random_below(SPM_NUM_TOKENS);
        check_streaming(spm, ids, n, round % 2);
    }
    destroy(bpe, &bpe_weights);
    destroy(spm, &spm_weights);
}

Test(stream, holds_back_what_may_become_a_character)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "gpt-2");
    nano_tokenizer *tokenizer = create(&weights);
    struct nano_token_stream stream;
    char out[256];
    nano_token_stream_init(&stream, tokenizer, false);
    cr_expect_eq(nano_token_stream_push(&stream, 0xF0, out), 0);
    cr_expect_eq(nano_token_stream_push(&stream, 0x9F, out), 0);
    cr_expect_eq(nano_token_stream_push(&stream, 0x99, out), 0);
    cr_expect_eq(nano_token_stream_push(&stream, 0x82, out), 4);
    cr_expect_arr_eq(out, "\xF0\x9F\x99\x82", 4);
    cr_expect_eq(nano_token_stream_push(&stream, 0xE2, out), 0);
    cr_expect_eq(nano_token_stream_push(&stream, HELLO, out), 8);
    cr_expect_arr_eq(out, NANO_UTF8_REPLACEMENT "hello", 8);
    cr_expect_eq(nano_token_stream_push(&stream, TOY_NUM_TOKENS, out), 0);
    cr_expect_eq(nano_token_stream_push(&stream, 0xC3, out), 0);
    cr_expect_eq(nano_token_stream_flush(&stream, out), 3);
    destroy(tokenizer, &weights);
}

/* ---- bad files */

static void expect_error(struct nano_weights *weights, enum nano_status status, const char *part)
{
    struct nano_error err = {0};
    nano_tokenizer *tokenizer = (nano_tokenizer *)1;
    cr_expect_eq(nano_tokenizer_create(&tokenizer, weights, &err), status, "'%s': %s", part,
                 err.message);
    cr_expect_null(tokenizer);
    cr_expect(strstr(err.message, part), "'%s', expected '%s' in it", err.message, part);
    cr_expect_not(strchr(err.message, '\n'));
    nano_weights_close(weights);
}

static struct nano_weights toy(bool spm)
{
    struct nano_weights weights = {0};
    if (spm)
        fixture_toy_spm(&weights);
    else
        fixture_toy_bpe(&weights, "gpt-2");
    return weights;
}

static void rename_key(struct nano_weights *weights, const char *key)
{
    struct nano_meta *meta = fixture_find(weights, key);
    meta->key = (struct nano_string){"other", 5};
}

Test(bad_file, missing_or_mistyped_entries)
{
    static const char *const bpe_keys[] = {KEY("model"), KEY("tokens"), KEY("merges")};
    static const char *const spm_keys[] = {KEY("model"), KEY("tokens"), KEY("scores")};
    for (int spm = 0; spm < 2; spm++)
        for (int i = 0; i < 3; i++) {
            const char *key = spm ? spm_keys[i] : bpe_keys[i];
            struct nano_weights weights = toy(spm);
            rename_key(&weights, key);
            expect_error(&weights, NANO_ERR_FORMAT, key);
            weights = toy(spm);
            struct nano_meta *meta = fixture_find(&weights, key);
            meta->type = NANO_META_BOOL;
            meta->value.u = 1;
            expect_error(&weights, NANO_ERR_FORMAT, key);
        }
    struct nano_weights weights = toy(false);
    fixture_find(&weights, KEY("token_type"))->type = NANO_META_U32;
    expect_error(&weights, NANO_ERR_FORMAT, KEY("token_type"));
    weights = toy(false);
    fixture_find(&weights, KEY("token_type"))->element_type = NANO_META_F32;
    expect_error(&weights, NANO_ERR_FORMAT, KEY("token_type"));
    weights = toy(false);
    fixture_find(&weights, KEY("tokens"))->element_type = NANO_META_I32;
    expect_error(&weights, NANO_ERR_FORMAT, KEY("tokens"));
    weights = toy(true);
    fixture_find(&weights, KEY("scores"))->element_type = NANO_META_STRING;
    expect_error(&weights, NANO_ERR_FORMAT, KEY("scores"));
    weights = toy(false);
    fixture_add_int(&weights, KEY("add_bos_token"), 1);
    expect_error(&weights, NANO_ERR_FORMAT, KEY("add_bos_token"));
    weights = toy(false);
    fixture_find(&weights, KEY("pre"))->type = NANO_META_U32;
    expect_error(&weights, NANO_ERR_FORMAT, KEY("pre"));
}

Test(bad_file, values_that_contradict)
{
    struct nano_weights weights = toy(false);
    fixture_find(&weights, KEY("tokens"))->num_elements = 0;
    expect_error(&weights, NANO_ERR_FORMAT, "0 tokens");
    weights = toy(false);
    fixture_find(&weights, KEY("tokens"))->num_elements--;
    expect_error(&weights, NANO_ERR_FORMAT, "276 entries, expected 275");
    weights = toy(true);
    fixture_find(&weights, KEY("scores"))->num_elements--;
    expect_error(&weights, NANO_ERR_FORMAT, KEY("scores"));
    weights = toy(false);
    int32_t bad_type = 7;
    memcpy((char *)(uintptr_t)fixture_find(&weights, KEY("token_type"))->elements + 8, &bad_type,
           4);
    expect_error(&weights, NANO_ERR_FORMAT, "token_type[2]: 7");
    weights = toy(false);
    fixture_find(&weights, KEY("eos_token_id"))->value.i = TOY_NUM_TOKENS;
    expect_error(&weights, NANO_ERR_FORMAT, "eos_token_id: 276, expected a token id from 0 to 275");
    weights = toy(false);
    fixture_find(&weights, KEY("eos_token_id"))->value.i = -2;
    expect_error(&weights, NANO_ERR_FORMAT, "eos_token_id");
    weights = toy(false);
    fixture_add_bool(&weights, KEY("add_bos_token"), true);
    expect_error(&weights, NANO_ERR_FORMAT, "bos_token_id");
    weights = toy(false);
    struct nano_string *merges =
        (struct nano_string *)(uintptr_t)fixture_find(&weights, KEY("merges"))->strings;
    merges[3] = (struct nano_string){"hello", 5};
    expect_error(&weights, NANO_ERR_FORMAT, "merges[3]: 'hello'");
    weights = toy(false);
    merges = (struct nano_string *)(uintptr_t)fixture_find(&weights, KEY("merges"))->strings;
    merges[3] = (struct nano_string){"", 0};
    expect_error(&weights, NANO_ERR_FORMAT, "merges[3]");
    weights = toy(true);
    float not_a_number = NAN;
    memcpy((char *)(uintptr_t)fixture_find(&weights, KEY("scores"))->elements, &not_a_number, 4);
    expect_error(&weights, NANO_ERR_FORMAT, "scores[0]");
    weights = toy(true);
    fixture_add_int(&weights, KEY("unknown_token_id"), -1);
    ((struct nano_string *)(uintptr_t)fixture_find(&weights, KEY("tokens"))->strings)[BYTE(0x41)]
        .num_bytes = 0;
    expect_error(&weights, NANO_ERR_FORMAT, "<0x41>");
}

Test(bad_file, unknown_kinds_are_named)
{
    struct nano_weights weights = {0};
    fixture_toy_bpe(&weights, "no-such-pre");
    expect_error(&weights, NANO_ERR_UNSUPPORTED, "'no-such-pre', expected one of: chatglm-bpe");
    memset(&weights, 0, sizeof weights);
    fixture_toy_bpe(&weights, "other");
    expect_error(&weights, NANO_ERR_UNSUPPORTED, "tekken"); /* the list is complete */
    memset(&weights, 0, sizeof weights);
    fixture_add_string(&weights, KEY("model"), "unigram");
    expect_error(&weights, NANO_ERR_UNSUPPORTED, "'unigram', expected gpt2, llama, bert or t5");
}

Test(bad_file, none_is_not_an_error)
{
    struct nano_weights weights = toy(false);
    fixture_add_int(&weights, KEY("padding_token_id"), UINT32_MAX);
    fixture_add_int(&weights, KEY("bos_token_id"), -1);
    nano_tokenizer *tokenizer = create(&weights);
    struct nano_tokenizer_info info;
    nano_tokenizer_get_info(tokenizer, &info);
    cr_expect_eq(info.pad_token_id, -1);
    cr_expect_eq(info.bos_token_id, -1);
    destroy(tokenizer, &weights);
    nano_tokenizer_destroy(NULL);
}

/* ---- allocation failures, threads */

Test(memory, every_allocation_may_fail)
{
    static const char text[] =
        "hello world lllllllllllllllllllllllllllllllllllllllllllllllll \xC3\xA9 hello <tag>";
    char longer[600] = "";
    for (int i = 0; i < 5; i++)
        strcat(longer, text);
    for (int spm = 0; spm < 2; spm++) {
        struct nano_weights weights = toy(spm);
        bool done = false;
        int num_failures = 0;
        for (uint64_t n = 1; !done; n++) {
            struct nano_error err = {0};
            nano_tokenizer *tokenizer;
            int32_t *ids = NULL;
            char *back = NULL;
            size_t num_ids, num_bytes;
            nano_mem_fail_after(n);
            enum nano_status status = nano_tokenizer_create(&tokenizer, &weights, &err);
            if (status == NANO_OK)
                status = nano_tokenizer_encode(tokenizer, longer, strlen(longer), 0, &ids, &num_ids,
                                               &err);
            if (status == NANO_OK)
                status =
                    nano_tokenizer_decode(tokenizer, ids, num_ids, false, &back, &num_bytes, &err);
            nano_mem_fail_after(0);
            done = status == NANO_OK;
            cr_assert(done || status == NANO_ERR_NO_MEMORY, "%d: %s", status, err.message);
            num_failures += !done;
            nano_free(ids);
            nano_free(back);
            nano_tokenizer_destroy(tokenizer);
        }
        cr_expect_gt(num_failures, 8);
        nano_weights_close(&weights);
    }
}

struct job {
    const nano_tokenizer *tokenizer;
    const char *text;
    const int32_t *expected;
    size_t num_bytes, num_expected;
    int num_wrong;
};

static void *encode_often(void *argument)
{
    struct job *job = argument;
    for (int i = 0; i < 50; i++) {
        int32_t *ids;
        size_t num_ids;
        if (nano_tokenizer_encode(job->tokenizer, job->text, job->num_bytes, 0, &ids, &num_ids,
                                  NULL) != NANO_OK) {
            job->num_wrong++;
            continue;
        }
        job->num_wrong +=
            num_ids != job->num_expected || memcmp(ids, job->expected, num_ids * sizeof *ids) != 0;
        nano_free(ids);
    }
    return NULL;
}

Test(threads, encode_at_once)
{
    enum { NUM_THREADS = 4 };
    static const char *const names[] = {"gpt-2", "default"};
    for (int i = 0; i < 3; i++) {
        struct nano_weights weights = {0};
        if (i < 2)
            fixture_toy_bpe(&weights, names[i]);
        else
            fixture_toy_spm(&weights);
        nano_tokenizer *tokenizer = create(&weights);
        static char text[20000];
        random_state = 17;
        for (size_t k = 0; k < sizeof text; k++)
            text[k] = "hello world abc 12 \xC3\xA9!"[random_below(22)];
        int32_t *expected;
        size_t num_expected = encode(tokenizer, text, sizeof text, 0, &expected);
        struct job jobs[NUM_THREADS];
        pthread_t threads[NUM_THREADS];
        for (int t = 0; t < NUM_THREADS; t++) {
            jobs[t] = (struct job){tokenizer, text, expected, sizeof text, num_expected, 0};
            cr_assert_eq(pthread_create(&threads[t], NULL, encode_often, &jobs[t]), 0);
        }
        for (int t = 0; t < NUM_THREADS; t++) {
            pthread_join(threads[t], NULL);
            cr_expect_eq(jobs[t].num_wrong, 0);
        }
        nano_free(expected);
        destroy(tokenizer, &weights);
    }
}

Test(memory, is_accounted)
{
    struct nano_weights weights = toy(false);
    nano_tokenizer *tokenizer = create(&weights);
    cr_expect_gt(nano_tokenizer_memory_bytes(tokenizer), TOY_NUM_TOKENS * 10);
    cr_expect_lt(nano_tokenizer_memory_bytes(tokenizer), 200000);
    destroy(tokenizer, &weights);
}
