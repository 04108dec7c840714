/* tokenizer: merging, pre-tokenizers and the byte alphabet, each against a plain reference. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "base/byte_char.h"
#include "tokenizer/merge.h"
#include "tokenizer/pretokenizer.h"

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

/* ---- byte alphabet */

Test(byte_char, is_a_bijection_on_printable_characters)
{
    bool seen[0x200] = {false};
    for (int byte = 0; byte < 256; byte++) {
        uint32_t c = nano_byte_char((unsigned char)byte);
        cr_assert_lt(c, 0x144);
        cr_assert(c > 0x20 && c != 0x7F && !(c >= 0x80 && c <= 0xA0) && c != 0xAD);
        cr_assert_not(seen[c]);
        seen[c] = true;
        cr_assert_eq(nano_byte_of_char(c), byte);
    }
    cr_assert_eq(nano_byte_char(' '), 0x120);
    cr_assert_eq(nano_byte_char('\n'), 0x10A);
    cr_assert_eq(nano_byte_char(0xAD), 0x143);
    cr_assert_eq(nano_byte_of_char(' '), -1);
    cr_assert_eq(nano_byte_of_char(0x144), -1);
    cr_assert_eq(nano_byte_of_char(0x2581), -1);
}

Test(byte_char, text_round_trips_and_foreign_characters_stay)
{
    char bytes[256], text[512], back[512];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    size_t encoded = nano_byte_chars_encode(bytes, 256, text);
    cr_assert_eq(encoded, 256 + 68 + 94); /* 68 shifted ones and Latin-1 take two bytes each */
    cr_assert_eq(nano_byte_chars_decode(text, encoded, back), 256);
    cr_assert_arr_eq(back, bytes, 256);
    cr_assert_eq(nano_byte_chars_decode("\xE2\x96\x81 \xFF", 5, back), 5);
    cr_assert_arr_eq(back, "\xE2\x96\x81 \xFF", 5);
}

/* ---- merging */

enum { NUM_BASE = 4, NUM_SYMBOLS = 60 };

/* Merges the best pair, then starts all over: the definition, in O(n^2). */
static size_t merge_naively(const struct nano_pair *pairs, size_t num_pairs, int32_t *ids, size_t n)
{
    for (;;) {
        const struct nano_pair *best = NULL;
        size_t best_at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t p = 0; p < num_pairs; p++)
                if (pairs[p].key == ((uint64_t)(uint32_t)ids[i] << 32 | (uint32_t)ids[i + 1]) &&
                    (!best || pairs[p].rank < best->rank)) {
                    best = &pairs[p];
                    best_at = i;
                }
        if (!best)
            return n;
        ids[best_at] = best->merged;
        memmove(ids + best_at + 1, ids + best_at + 2, (n - best_at - 2) * sizeof *ids);
        n--;
    }
}

/* Random merge rules; with few distinct ranks there are ties, as between SentencePiece's scores. */
static void check_merging(uint32_t num_ranks)
{
    struct nano_pair_table table;
    struct nano_pair pairs[NUM_SYMBOLS];
    struct nano_merge_scratch scratch = {0};
    size_t num_pairs = 0;
    cr_assert(nano_pair_table_init(&table, 0));
    for (int32_t merged = NUM_BASE; merged < NUM_SYMBOLS; merged++) {
        int32_t left = (int32_t)random_below((uint32_t)merged);
        int32_t right = (int32_t)random_below((uint32_t)merged);
        uint32_t rank = num_ranks ? random_below(num_ranks) : (uint32_t)merged;
        struct nano_pair pair = {(uint64_t)left << 32 | (uint32_t)right, rank, merged};
        size_t known = 0;
        while (known < num_pairs && pairs[known].key != pair.key)
            known++;
        if (known == num_pairs)
            pairs[num_pairs++] = pair;
        cr_assert(nano_pair_table_add(&table, left, right, rank, merged));
    }
    cr_assert_eq(table.num_pairs, num_pairs);
    for (int round = 0; round < 60; round++) {
        int32_t ids[300], expected[300];
        size_t n = random_below(round % 2 ? 40 : 300);
        for (size_t i = 0; i < n; i++)
            ids[i] = expected[i] = random_below(20) == 0 ? -1 - (int32_t)random_below(3)
                                                         : (int32_t)random_below(NUM_BASE);
        size_t expected_n = merge_naively(pairs, num_pairs, expected, n);
        cr_assert(nano_merge(&table, &scratch, ids, &n));
        cr_assert_eq(n, expected_n);
        if (n)
            cr_assert_arr_eq(ids, expected, n * sizeof *ids);
    }
    nano_merge_scratch_deinit(&scratch);
    nano_pair_table_deinit(&table);
}

Test(merge, equals_the_definition)
{
    for (random_state = 1; random_state < 40; random_state++) {
        uint32_t seed = random_state;
        check_merging(0);
        random_state = seed;
        check_merging(5);
        random_state = seed;
    }
}

Test(merge, a_million_symbols_take_no_quadratic_time, .timeout = 120)
{
    enum { N = 1 << 20 };
    struct nano_pair_table table;
    struct nano_merge_scratch scratch = {0};
    cr_assert(nano_pair_table_init(&table, 4));
    for (int i = 0; i < 20; i++) /* symbol i is 2^i times the letter */
        cr_assert(nano_pair_table_add(&table, i, i, (uint32_t)i, i + 1));
    int32_t *ids = nano_mem_calloc(N, sizeof *ids);
    size_t n = N;
    cr_assert(nano_merge(&table, &scratch, ids, &n));
    cr_assert_eq(n, 1);
    cr_assert_eq(ids[0], 20);
    nano_mem_free(ids);
    nano_merge_scratch_deinit(&scratch);
    nano_pair_table_deinit(&table);
}

/* ---- pre-tokenizers */

struct words {
    char text[4096]; /* the words with | between them */
    size_t num_bytes;
};

static enum nano_status collect(void *user_data, const char *word, size_t num_bytes,
                                struct nano_error *err)
{
    (void)err;
    struct words *words = user_data;
    cr_assert_gt(num_bytes, 0);
    cr_assert_lt(words->num_bytes + num_bytes + 1, sizeof words->text);
    if (words->num_bytes)
        words->text[words->num_bytes++] = '|';
    memcpy(words->text + words->num_bytes, word, num_bytes);
    words->num_bytes += num_bytes;
    words->text[words->num_bytes] = '\0';
    return NANO_OK;
}

static void split(const struct nano_pretokenizer *pre, const char *text, size_t num_bytes,
                  struct words *words)
{
    struct nano_error err;
    words->num_bytes = 0;
    words->text[0] = '\0';
    cr_assert_eq(nano_pretokenizer_split(pre, text, num_bytes, collect, words, &err), NANO_OK, "%s",
                 err.message);
}

static void init_pre(struct nano_pretokenizer *pre, const char *name)
{
    struct nano_error err;
    const struct nano_pre_row *row = nano_pre_find(name, strlen(name));
    cr_assert_not_null(row, "%s", name);
    cr_assert_eq(nano_pretokenizer_init(pre, row, &err), NANO_OK, "%s: %s", name, err.message);
}

static void check_split(const char *name, const char *text, const char *expected)
{
    struct nano_pretokenizer pre;
    struct words words;
    init_pre(&pre, name);
    for (int scan = 0; scan < 2; scan++) {
        pre.use_scan = scan && pre.row->pattern->scan;
        split(&pre, text, strlen(text), &words);
        cr_expect_str_eq(words.text, expected, "%s: %s, expected %s", name, words.text, expected);
    }
    nano_pretokenizer_deinit(&pre);
}

#define E_ACUTE "\xC3\xA9"
#define IDEOGRAPHIC_SPACE "\xE3\x80\x80"

Test(pretokenizer, hand_verified_splits)
{
    static const char text[] = "I'd say  'TIS 1234 o'CLOCK!!\n\n\tTab \n x";
    check_split("gpt-2", text, "I|'d| say| | '|TIS| 1234| o|'|CLOCK|!!|\n\n|\t|Tab| \n| x");
    check_split("llama-bpe", text, "I|'d| say| | '|TIS| |123|4| o|'CLOCK|!!\n\n|\tTab| \n| x");
    check_split("qwen2", text, "I|'d| say| | '|TIS| |1|2|3|4| o|'CLOCK|!!\n\n|\tTab| \n| x");
    check_split("starcoder", "ab 12 c", "ab| |1|2| c");
    check_split("falcon", "a  (1234)", "a|  |(|123|4|)");
    check_split("default", "x 12345", "x| |123|45");
    check_split("gpt-4o", "HelloWORLD camelCase it'll 1234",
                "Hello|WORLD| camel|Case| it'll| |123|4");
    check_split("tekken", "HelloWORLD it'll 12", "Hello|WORLD| it|'ll| |1|2");
    check_split("deepseek-llm", "hi  there 123\n\nx  ", "hi| | there| |123|\n|\n|x|  ");
    check_split("deepseek-v3", "x=foo(12345)~~", "x|=foo|(|123|45|)~~");
    check_split("qwen35", "e\xCC\x81t 12", "e\xCC\x81t| |1|2");
    check_split("qwen2", "e\xCC\x81t 12", "e|\xCC\x81t| |1|2");
    check_split("gpt-2", "caf" E_ACUTE " " E_ACUTE "t" E_ACUTE " 1",
                "caf" E_ACUTE "| " E_ACUTE "t" E_ACUTE "| 1");
    /* U+3000 is whitespace, U+180E is not (PCRE2's own \s takes both) */
    check_split("gpt-2", "a" IDEOGRAPHIC_SPACE " b", "a|" IDEOGRAPHIC_SPACE "| b");
    check_split("gpt-2",
                "a \xE1\xA0\x8E"
                "b",
                "a| \xE1\xA0\x8E|b");
    check_split("deepseek-llm", "!" IDEOGRAPHIC_SPACE "1", "!|" IDEOGRAPHIC_SPACE "|1");
}

Test(pretokenizer, contractions_follow_their_pattern)
{
    check_split("gpt-2", "'s't'm'd're've'll'x'S'RE'", "'s|'t|'m|'d|'re|'ve|'ll|'|x|'|S|'|RE|'");
    check_split("llama3", "'S'rE'LL'x", "'S|'rE|'LL|'x");
}

Test(pretokenizer, invalid_bytes_are_words_of_their_own)
{
    check_split("gpt-2",
                "ab\xFF\xFE"
                "cd \xC3",
                "ab|\xFF\xFE|cd| |\xC3");
    check_split("llama-bpe", "\xE2\x82 x", "\xE2\x82| x");
    check_split("default", "\xF0\x9F\x99", "\xF0\x9F\x99");
}

Test(pretokenizer, every_row_compiles_and_loses_nothing)
{
    static const char *const parts[] = {"the",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r\n",
                                        "\t",
                                        "123",
                                        "'s",
                                        "'LL",
                                        "!?",
                                        "~$",
                                        E_ACUTE,
                                        "\xE6\x97\xA5",
                                        IDEOGRAPHIC_SPACE,
                                        "\xF0\x9F\x99\x82",
                                        "\xFF",
                                        "\xE0\xA4\xBF",
                                        "\xD9\xA3",
                                        "A",
                                        "bC",
                                        "/",
                                        "\x01",
                                        "\xC2\x85"};
    for (size_t i = 0; nano_pre_at(i); i++) {
        struct nano_pretokenizer pre;
        struct words words;
        init_pre(&pre, nano_pre_at(i)->name);
        if (i > 0)
            cr_assert_lt(strcmp(nano_pre_at(i - 1)->name, nano_pre_at(i)->name), 0);
        random_state = 7;
        for (int round = 0; round < 300; round++) {
            char text[256] = "";
            for (uint32_t k = random_below(12); k-- > 0;)
                strcat(text, parts[random_below(sizeof parts / sizeof *parts)]);
            split(&pre, text, strlen(text), &words);
            size_t kept = 0;
            for (size_t k = 0; k < words.num_bytes; k++)
                if (words.text[k] != '|')
                    words.text[kept++] = words.text[k];
            words.text[kept] = '\0';
            cr_assert_str_eq(words.text, text, "%s", pre.row->name);
        }
        nano_pretokenizer_deinit(&pre);
    }
    cr_assert_null(nano_pre_find("gpt-2x", 6));
    cr_assert_null(nano_pre_find("", 0));
}

/* The alphabet has few letters, so that contractions, runs and their ends meet often. */
static void check_scanner(const char *name, const char *const *alphabet, uint32_t num_letters)
{
    struct nano_pretokenizer pre;
    struct words by_scan, by_regex;
    init_pre(&pre, name);
    for (int round = 0; round < 30000; round++) {
        char text[128] = "";
        for (uint32_t n = random_below(24); n-- > 0;)
            strcat(text, alphabet[random_below(num_letters)]);
        pre.use_scan = true;
        split(&pre, text, strlen(text), &by_scan);
        pre.use_scan = false;
        split(&pre, text, strlen(text), &by_regex);
        cr_assert_str_eq(by_scan.text, by_regex.text, "%s: '%s'", name, text);
    }
    nano_pretokenizer_deinit(&pre);
}

Test(pretokenizer, scanners_equal_the_patterns)
{
    static const char *const ascii[] = {" ", "\t", "\n", "\r", "\v",   "\f",   "'", "s", "t", "l",
                                        "r", "e",  "v",  "m",  "d",    "S",    "L", "E", "R", "0",
                                        "9", "!",  ".",  "/",  "\x1C", "\x7F", "a", " "};
    static const char *const mixed[] = {" ",        "\n",
                                        "'",        "s",
                                        "l",        "1",
                                        ".",        E_ACUTE,
                                        "\xC2\xA0", IDEOGRAPHIC_SPACE,
                                        "\xD9\xA3", "\xE2\x80\x99",
                                        "\xC2\x85"};
    static const char *const names[] = {"gpt-2", "llama-bpe", "qwen2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        random_state = 11;
        check_scanner(names[i], ascii, sizeof ascii / sizeof *ascii);
        check_scanner(names[i], mixed, sizeof mixed / sizeof *mixed);
    }
    /* every ASCII pair and triple around an apostrophe or a space */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct nano_pretokenizer pre;
        struct words by_scan, by_regex;
        init_pre(&pre, names[i]);
        for (int a = 1; a < 128; a++)
            for (int b = 1; b < 128; b++) {
                char text[8] = {(char)a, (char)b, '\'', (char)a, (char)b, ' ', (char)a, '\0'};
                if (a == '|' || b == '|')
                    continue;
                pre.use_scan = true;
                split(&pre, text, 7, &by_scan);
                pre.use_scan = false;
                split(&pre, text, 7, &by_regex);
                cr_assert_str_eq(by_scan.text, by_regex.text, "%s: %d %d", names[i], a, b);
            }
        nano_pretokenizer_deinit(&pre);
    }
}

static enum nano_status count_words(void *user_data, const char *word, size_t num_bytes,
                                    struct nano_error *err)
{
    (void)word;
    (void)err;
    (void)num_bytes;
    ++*(size_t *)user_data;
    return NANO_OK;
}

Test(pretokenizer, long_runs_take_linear_time, .timeout = 120)
{
    enum { N = 1 << 18 };
    static const char *const fill[] = {" ", "\n", "a",    "A",     "7",
                                       "!", "\t", "\x01", E_ACUTE, "\xE0\xA4\xBF"};
    char *text = nano_mem_alloc(N + 8, 1);
    for (size_t i = 0; nano_pre_at(i); i++) {
        struct nano_pretokenizer pre;
        init_pre(&pre, nano_pre_at(i)->name);
        for (size_t f = 0; f < sizeof fill / sizeof *fill; f++) {
            size_t length = strlen(fill[f]), num_words = 0;
            for (size_t k = 0; k < N; k++)
                text[k] = fill[f][k % length];
            size_t end = N - N % length;
            memcpy(text + end, "x1", 2);
            struct nano_error err;
            cr_assert_eq(
                nano_pretokenizer_split(&pre, text, end + 2, count_words, &num_words, &err),
                NANO_OK, "%s: %s", pre.row->name, err.message);
            cr_assert_gt(num_words, 0);
        }
        nano_pretokenizer_deinit(&pre);
    }
    nano_mem_free(text);
}
