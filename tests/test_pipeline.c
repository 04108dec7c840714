/* tokenizer: the components of a tokenizer.json, with texts and tokens worked out by hand. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "hf_fixture.h"
#include "tokenizer/tokenizer.h"

/* A file of one model; sections are JSON or "null". */
static nano_tokenizer *open_parts(struct nano_weights *weights, const char *normalizer,
                                  const char *pre, const char *decoder, const char *post,
                                  const char *added, const char *model)
{
    char json[16384];
    struct nano_error err;
    nano_tokenizer *tokenizer;
    int length = snprintf(json, sizeof json,
                          "{\"normalizer\":%s,\"pre_tokenizer\":%s,\"decoder\":%s,"
                          "\"post_processor\":%s,\"added_tokens\":[%s],\"model\":%s}",
                          normalizer, pre, decoder, post, added, model);
    cr_assert(hf_fixture(weights, json, (size_t)length, NULL), "%s", json);
    cr_assert_eq(nano_tokenizer_create(&tokenizer, weights, &err), NANO_OK, "%s", err.message);
    return tokenizer;
}

static void close_parts(nano_tokenizer *tokenizer, struct nano_weights *weights)
{
    nano_tokenizer_destroy(tokenizer);
    nano_weights_close(weights);
}

/* The ids of a text with spaces between them. */
static void tokens_of(const nano_tokenizer *tokenizer, const char *text, unsigned flags, char *out,
                      size_t out_bytes)
{
    int32_t *ids;
    size_t num_ids, used = 0;
    struct nano_error err;
    cr_assert_eq(nano_tokenizer_encode(tokenizer, text, strlen(text), flags, &ids, &num_ids, &err),
                 NANO_OK, "%s", err.message);
    out[0] = '\0';
    for (size_t i = 0; i < num_ids && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%d", i ? " " : "", ids[i]);
    nano_free(ids);
}

static void expect_ids(const nano_tokenizer *tokenizer, const char *text, unsigned flags,
                       const char *expected)
{
    char found[2048];
    tokens_of(tokenizer, text, flags, found, sizeof found);
    cr_expect_str_eq(found, expected, "'%s': %s, expected %s", text, found, expected);
}

/* Decodes at once and as a stream. */
static void expect_text(const nano_tokenizer *tokenizer, size_t num_ids, const int32_t *ids,
                        bool skip_special, const char *expected)
{
    char *whole, *out = nano_mem_alloc(nano_token_stream_max_bytes(tokenizer), 1);
    char streamed[1024];
    size_t num_bytes, used = 0;
    struct nano_error err;
    struct nano_token_stream stream;
    cr_assert_eq(
        nano_tokenizer_decode(tokenizer, ids, num_ids, skip_special, &whole, &num_bytes, &err),
        NANO_OK, "%s", err.message);
    cr_expect_str_eq(whole, expected);
    nano_token_stream_init(&stream, tokenizer, skip_special);
    for (size_t i = 0; i <= num_ids; i++) {
        size_t n = i < num_ids ? nano_token_stream_push(&stream, ids[i], out)
                               : nano_token_stream_flush(&stream, out);
        cr_assert_leq(n, nano_token_stream_max_bytes(tokenizer));
        cr_assert_lt(used + n, sizeof streamed);
        memcpy(streamed + used, out, n);
        used += n;
    }
    streamed[used] = '\0';
    cr_expect_str_eq(streamed, expected);
    nano_free(whole);
    nano_mem_free(out);
}

#define IDS(...)                                                          \
    sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (const int32_t[]) \
    {                                                                     \
        __VA_ARGS__                                                       \
    }

/* Words are ids: WordLevel shows what the parts before the model made. Unknown words are 0. */
#define WORDS(list) "{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0" list "}}"

static void expect_normalized(const char *normalizer, const char *text, const char *expected)
{
    char model[1024];
    struct nano_weights weights;
    snprintf(model, sizeof model, WORDS(",\"%s\":1"), expected);
    nano_tokenizer *tokenizer = open_parts(&weights, normalizer, "null", "null", "null", "", model);
    char found[64];
    tokens_of(tokenizer, text, 0, found, sizeof found);
    cr_expect_str_eq(found, *expected ? "1" : "", "%s: '%s' is not '%s'", normalizer, text,
                     expected);
    close_parts(tokenizer, &weights);
}

Test(pipeline, normalizers)
{
    /* e + combining acute, e acute; the ligature fi; superscript 2 */
    expect_normalized("{\"type\":\"NFC\"}", "ae\xCC\x81z", "a\xC3\xA9z");
    expect_normalized("{\"type\":\"NFD\"}", "\xC3\xA9", "e\xCC\x81");
    expect_normalized("{\"type\":\"NFKC\"}", "\xEF\xAC\x81\xC2\xB2", "fi2");
    expect_normalized("{\"type\":\"NFKD\"}", "\xEF\xAC\x81\xC3\xA9", "fie\xCC\x81");
    expect_normalized("{\"type\":\"NFC\"}", "\xEF\xAC\x81", "\xEF\xAC\x81");
    expect_normalized("{\"type\":\"Lowercase\"}", "\xC3\x89L \xC4\xB0", "\xC3\xA9l i\xCC\x87");
    expect_normalized("{\"type\":\"StripAccents\"}", "e\xCC\x81\xC3\xA9", "e\xC3\xA9");
    expect_normalized("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "a", "_a");
    expect_normalized("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "", "");
    expect_normalized("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}",
                      " \xC2\xA0 a ", "a ");
    expect_normalized("{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}",
                      " a\xE3\x80\x80", " a");
    expect_normalized("{\"type\":\"Replace\",\"pattern\":{\"String\":\"aa\"},\"content\":\"b\"}",
                      "aaaxa", "baxa");
    expect_normalized("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"$1\"}",
                      "a   b c", "a$1b c");
    expect_normalized("{\"type\":\"Nmt\"}",
                      "a\x01\xE2\x80\x8B"
                      "b\xEF\xBB\xBF",
                      "a b ");
    expect_normalized("{\"type\":\"ByteLevel\"}", " \xC3\xA9", "\xC4\xA0\xC3\x83\xC2\xA9");
    expect_normalized("{\"type\":\"BertNormalizer\",\"clean_text\":true,"
                      "\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true}",
                      "\xC3\x89\x01\xC2\xA0\xE4\xB8\xADx", "e  \xE4\xB8\xAD x");
    expect_normalized("{\"type\":\"BertNormalizer\",\"handle_chinese_chars\":false,"
                      "\"lowercase\":false}",
                      "\xC3\x89\xE4\xB8\xAD", "\xC3\x89\xE4\xB8\xAD");
    expect_normalized("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},"
                      "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"StripAccents\"}]},"
                      "{\"type\":\"Lowercase\"}]}",
                      "\xC3\x89", "e");
}

/* A map with one key: 'A' becomes "bc". Units: the root's base is 1, so that 'A' is unit 1 ^ 0x41 =
 * 0x40; that one is a leaf with base 1 and its value stands at 0x40 ^ 1 = 0x41. Written by hand:
 * [0] = 1 << 10, [0x40] = 1 << 10 | 1 << 8 | 0x41, [0x41] = 1 << 31 | 0. */
Test(pipeline, precompiled_charsmap)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char map[4 + 4 * 66 + 3] = {0};
    const uint32_t units[][2] = {
        {0, 1u << 10}, {0x40, 1u << 10 | 1u << 8 | 0x41}, {0x41, 1u << 31}};
    map[0] = 4 * 66 & 0xFF;
    map[1] = 4 * 66 >> 8;
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 4; k++)
            map[4 + 4 * units[i][0] + k] = (unsigned char)(units[i][1] >> 8 * k);
    memcpy(map + sizeof map - 3, "bc", 3);
    char text[512], step[700];
    size_t written = 0;
    for (size_t i = 0; i < sizeof map; i += 3) {
        unsigned group = (unsigned)map[i] << 16;
        group |= (i + 1 < sizeof map ? (unsigned)map[i + 1] : 0) << 8;
        group |= i + 2 < sizeof map ? map[i + 2] : 0;
        for (int k = 18; k >= 0; k -= 6)
            text[written++] = digits[group >> k & 63];
    }
    cr_assert_eq(sizeof map % 3, 1);
    text[written - 1] = text[written - 2] = '=';
    text[written] = '\0';
    snprintf(step, sizeof step, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"}", text);
    expect_normalized(step, "xAAa", "xbcbca");
    expect_normalized(step, "A\xCC\x81", "bc"); /* a small cluster goes as a whole */
}

static void expect_words(const char *pre, const char *text, const char *words, const char *expected)
{
    char model[1024];
    struct nano_weights weights;
    snprintf(model, sizeof model, WORDS(",%s"), words);
    nano_tokenizer *tokenizer = open_parts(&weights, "null", pre, "null", "null", "", model);
    expect_ids(tokenizer, text, 0, expected);
    close_parts(tokenizer, &weights);
}

#define SPLIT(pattern, behavior, invert)                                                           \
    "{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"" behavior "\",\"invert\":" invert \
    "}"

Test(pipeline, split_behaviors)
{
    const char *words = "\"a\":1,\"-\":2,\"b\":3,\"--\":4,\"a-\":5,\"-b\":6";
    expect_words(SPLIT("{\"String\":\"-\"}", "Isolated", "false"), "a--b", words, "1 2 2 3");
    expect_words(SPLIT("{\"String\":\"-\"}", "Removed", "false"), "a--b", words, "1 3");
    expect_words(SPLIT("{\"String\":\"-\"}", "MergedWithPrevious", "false"), "a--b", words,
                 "5 2 3");
    expect_words(SPLIT("{\"String\":\"-\"}", "MergedWithNext", "false"), "a--b", words, "1 2 6");
    expect_words(SPLIT("{\"String\":\"-\"}", "Contiguous", "false"), "a--b", words, "1 4 3");
    expect_words(SPLIT("{\"Regex\":\"-+\"}", "Isolated", "false"), "a--b", words, "1 4 3");
    expect_words(SPLIT("{\"Regex\":\"[^-]+\"}", "Removed", "true"), "a--b", words, "1 3");
    expect_words(SPLIT("{\"Regex\":\"(?=-)\"}", "Isolated", "false"), "a--b", words, "1 2 6");
    expect_words(SPLIT("{\"String\":\"-\"}", "MergedWithNext", "false"), "a-", words, "1 2");
}

Test(pipeline, pre_tokenizers)
{
    const char *words = "\"a\":1,\"b\":2,\"!\":3,\"12\":4,\"1\":5,\"2\":6,\"!!\":7,\"a_1\":8,"
                        "\"\xE2\x96\x81"
                        "a\":9,\"\xE2\x96\x81\":10,\"\xE2\x96\x81"
                        "b\":11,"
                        "\"\xE2\x96\x81"
                        "a\xE2\x96\x81"
                        "b\":12,\"a\xE2\x96\x81"
                        "b\":13";
    expect_words("{\"type\":\"WhitespaceSplit\"}", " a\xC2\xA0\n!! ", words, "1 7");
    expect_words("{\"type\":\"Whitespace\"}", "a_1!! b", words, "8 7 2");
    expect_words("{\"type\":\"BertPreTokenizer\"}", "a!! b", words, "1 3 3 2");
    expect_words("{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}", "a!!", words, "1 7");
    expect_words("{\"type\":\"Punctuation\"}", "a!!", words, "1 3 3");
    expect_words("{\"type\":\"Digits\",\"individual_digits\":false}", "a12", words, "1 4");
    expect_words("{\"type\":\"Digits\",\"individual_digits\":true}", "a12", words, "1 5 6");
    expect_words("{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"!\"}", "a!b", words, "1 2");
    expect_words("{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
                 "\"add_prefix_space\":true}",
                 "a  b", words, "9 10 11");
    expect_words("{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
                 "\"prepend_scheme\":\"never\",\"split\":true}",
                 "a b", words, "1 11");
    expect_words("{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
                 "\"prepend_scheme\":\"always\",\"split\":false}",
                 "a b", words, "12");
    expect_words("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},"
                 "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
                 "\"prepend_scheme\":\"first\",\"split\":false}]}",
                 "a b", words, "9 2");
    expect_words("{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}", "a b",
                 "\"\xC4\xA0"
                 "a\":1,\"\xC4\xA0"
                 "b\":2",
                 "1 2");
}

Test(pipeline, oniguruma_syntax)
{
    const char *words =
        "\"f0\":1,\"g\":2,\"\xC2\x85\":3,\"a\xCC\x81\":4,\"b\":5,\"123456\":6,\"c\":7";
    expect_words(SPLIT("{\"Regex\":\"\\\\h+\"}", "Isolated", "false"), "gf0g", words, "2 1 2");
    expect_words(SPLIT("{\"Regex\":\"\\\\w+\"}", "Isolated", "false"), "a\xCC\x81\xC2\x85g", words,
                 "4 3 2");
    expect_words(SPLIT("{\"Regex\":\"[\\\\p{Letter}&&[^c]]\"}", "Isolated", "false"), "bcb", words,
                 "5 7 5");
    expect_words(SPLIT("{\"Regex\":\"\\\\d{1,3}+\"}", "Isolated", "false"), "123456", words, "6");
    expect_words(SPLIT("{\"Regex\":\"\\\\u0062\"}", "Isolated", "false"), "gb", words, "2 5");
    expect_words(SPLIT("{\"Regex\":\"[a[b]]\"}", "Removed", "false"), "agb", words, "2");
}

/* ---- Models */

#define BYTE_TOKENS "\"<0xC3>\":10,\"<0xA9>\":11"

Test(pipeline, character_bpe)
{
    struct nano_weights weights;
    nano_tokenizer *t = open_parts(
        &weights, "null", "null", "null", "null", "",
        "{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,\"byte_fallback\":true,"
        "\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"c\":3,\"ab\":4,\"bc\":5,\"abc\":6," BYTE_TOKENS
        "},\"merges\":[\"b c\",[\"a\",\"b\"],\"a bc\"]}");
    expect_ids(t, "abc", 0, "6");
    expect_ids(t, "abac", 0, "4 1 3");
    expect_ids(t, "a\xC3\xA9", 0, "1 10 11"); /* bytes */
    expect_ids(t, "axyb", 0, "1 0 2");        /* unks are one */
    close_parts(t, &weights);
    t = open_parts(&weights, "null", "null", "null", "null", "",
                   "{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1},"
                   "\"merges\":[]}");
    expect_ids(t, "axya", 0, "1 0 0 1");
    close_parts(t, &weights);
    t = open_parts(&weights, "null", "{\"type\":\"WhitespaceSplit\"}", "null", "null", "",
                   "{\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\","
                   "\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0,\"##b\":1,\"##c</w>\":2,"
                   "\"ab\":3,\"abc</w>\":4,\"a</w>\":5},"
                   "\"merges\":[\"a ##b\",\"ab ##c</w>\"]}");
    expect_ids(t, "abc a x", 0, "4 5");
    close_parts(t, &weights);
    t = open_parts(&weights, "null", "null", "null", "null", "",
                   "{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},"
                   "\"merges\":[]}");
    expect_ids(t, "ab", 0, "2");
    expect_ids(t, "aba", 0, "0 1 0");
    close_parts(t, &weights);
}

Test(pipeline, wordpiece)
{
    struct nano_weights weights;
    nano_tokenizer *t = open_parts(
        &weights, "null", "{\"type\":\"BertPreTokenizer\"}",
        "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}",
        "{\"type\":\"BertProcessing\",\"sep\":[\"[S]\",6],\"cls\":[\"[C]\",5]}",
        "{\"id\":5,\"content\":\"[C]\",\"special\":true,\"normalized\":false},"
        "{\"id\":6,\"content\":\"[S]\",\"special\":true,\"normalized\":false}",
        "{\"type\":\"WordPiece\",\"unk_token\":\"?\",\"continuing_subword_prefix\":\"##\","
        "\"max_input_chars_per_word\":6,\"vocab\":{\"?\":0,\"un\":1,\"##aff\":2,\"##able\":3,"
        "\",\":4,\"[C]\":5,\"[S]\":6,\"un##\":7}}");
    expect_ids(t, "unaff, unable x", 0, "1 2 4 1 3 0");
    expect_ids(t, "unafffy unaffaff", 0, "0 0"); /* no piece for f; too long */
    expect_ids(t, "un", NANO_ENCODE_ADD_SPECIAL, "5 1 6");
    expect_text(t, IDS(5, 1, 2, 4, 1, 3, 6), true, "unaff, unable");
    expect_text(t, IDS(5, 1, 6), false, "[C] un [S]");
    expect_text(t, IDS(2, 1), false, "##aff un");
    close_parts(t, &weights);
}

Test(pipeline, unigram)
{
    struct nano_weights weights;
    nano_tokenizer *t = open_parts(
        &weights, "null",
        "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"always\"}",
        "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"always\"}",
        "null", "",
        "{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\"\xE2\x96\x81\",-3],"
        "[\"a\",-3],[\"b\",-3],[\"ab\",-4],[\"\xE2\x96\x81"
        "a\",-4],[\"\xE2\x96\x81"
        "ab\",-8],[\"bb\",-5]]}");
    /* _ab: _ + ab is -7, _a + b is -7 and found later at the same place: the first stays */
    expect_ids(t, "ab", 0, "1 4");
    expect_ids(t, "abb", 0, "5 7"); /* -9; _ ab b is -10, _ a bb is -11 */
    expect_ids(t, "xya b", 0, "1 0 2 1 3");
    expect_text(t, IDS(5, 7, 5), false, "abb a");
    close_parts(t, &weights);
}

/* ---- Added tokens */

Test(pipeline, added_tokens)
{
    struct nano_weights weights;
    nano_tokenizer *t = open_parts(
        &weights, "{\"type\":\"Lowercase\"}", "{\"type\":\"WhitespaceSplit\"}", "null",
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<S>\","
        "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":"
        "\"<S>\"}}],\"special_tokens\":{\"<S>\":{\"id\":\"<S>\",\"ids\":[1,2],\"tokens\":[]}}}",
        "{\"id\":1,\"content\":\"<S>\",\"special\":true,\"normalized\":false,\"rstrip\":true},"
        "{\"id\":2,\"content\":\"<L>\",\"special\":false,\"normalized\":false,\"lstrip\":true},"
        "{\"id\":3,\"content\":\"Ab\",\"special\":false,\"normalized\":true,\"single_word\":true}",
        WORDS(",\"a\":4,\"b\":5,\"<s>\":6"));
    expect_ids(t, "a <S>  b", NANO_ENCODE_PARSE_SPECIAL, "4 1 5");
    expect_ids(t, "a <S> b", 0, "4 6 5");
    expect_ids(t, "a <L> b", 0, "4 2 5");
    expect_ids(t, "aB b", 0, "3 5");    /* found as the normalizer leaves it */
    expect_ids(t, "abb aab", 0, "0 0"); /* not alone */
    expect_ids(t, "a", NANO_ENCODE_ADD_SPECIAL, "1 2 4 1 2");
    expect_text(t, IDS(1, 4, 1, 5, 3), true, "a b Ab");
    close_parts(t, &weights);
}

/* ---- Decoders */

#define MARKED                                                                             \
    "{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"\xE2\x96\x81"                   \
    "a\":0,\"b\":1,"                                                                       \
    "\"\xE2\x96\x81\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"b</w>\":5,\"<0xZZ>\":6,\"\xE2\x96\x81" \
    "\xE2\x96\x81\":7},\"merges\":[]}"

static void expect_decoded(const char *decoder, size_t num_ids, const int32_t *ids,
                           const char *expected)
{
    struct nano_weights weights;
    nano_tokenizer *t = open_parts(&weights, "null", "null", decoder, "null", "", MARKED);
    expect_text(t, num_ids, ids, false, expected);
    close_parts(t, &weights);
}

#define REPLACE_MARK \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},\"content\":\" \"}"
#define SEQUENCE(list) "{\"type\":\"Sequence\",\"decoders\":[" list "]}"

Test(pipeline, decoders)
{
    const char *llama = SEQUENCE(REPLACE_MARK ",{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
                                              "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,"
                                              "\"stop\":0}");
    expect_decoded(llama, IDS(0, 0, 3, 4), "a a\xC3\xA9");
    expect_decoded(llama, IDS(7, 1), " b");
    expect_decoded(llama, IDS(6, 0), "<0xZZ> a");
    expect_decoded(SEQUENCE("{\"type\":\"Strip\",\"content\":\"\xE2\x96\x81\",\"start\":1,"
                            "\"stop\":0}"),
                   IDS(0, 7, 0),
                   "a\xE2\x96\x81"
                   "a"); /* every token */
    expect_decoded(SEQUENCE("{\"type\":\"Fuse\"}," REPLACE_MARK
                            ",{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":2}"),
                   IDS(1, 7, 2, 1, 2, 7), "b   b ");
    expect_decoded("{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
                   "\"prepend_scheme\":\"always\"}",
                   IDS(7, 0, 1), " ab");
    expect_decoded("{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
                   "\"prepend_scheme\":\"never\"}",
                   IDS(0, 1), " ab");
    expect_decoded("{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}", IDS(1, 5, 1, 5), "bb bb");
    expect_decoded("null", IDS(1, 1), "b b");
    expect_decoded("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[b<]\"},\"content\":\"X\"}",
                   IDS(5, 1), "XX/w>X");
    /* a pattern that spans tokens, and begins anew within itself */
    expect_decoded(SEQUENCE("{\"type\":\"Fuse\"},{\"type\":\"Replace\",\"pattern\":{\"String\":"
                            "\"bb<\"},\"content\":\"-\"}"),
                   IDS(1, 1, 5, 1), "b-/w>b");
    struct nano_weights weights;
    nano_tokenizer *t =
        open_parts(&weights, "null", "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
                   "{\"type\":\"ByteLevel\"}", "null", "",
                   "{\"type\":\"BPE\",\"vocab\":{\"\xC4\xA0\":0,\"\xC3\x83\":1,\"\xC2\xA9\":2,"
                   "\"\xE4\xB8\xAD\":3},\"merges\":[]}");
    expect_text(t, IDS(0, 1, 2, 3), false, " \xC3\xA9\xE4\xB8\xAD");
    close_parts(t, &weights);
}

/* ---- What is refused */

static void expect_refused(const char *section, const char *json, const char *message)
{
    char text[2048];
    struct nano_weights weights;
    struct nano_error err = {0};
    nano_tokenizer *tokenizer = NULL;
    int length = snprintf(text, sizeof text,
                          "{\"%s\":%s,\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
                          "\"merges\":[]}}",
                          section, json);
    if (hf_fixture(&weights, text, (size_t)length, &err))
        cr_expect_neq(nano_tokenizer_create(&tokenizer, &weights, &err), NANO_OK, "%s", text);
    cr_expect(strstr(err.message, message), "'%s', expected '%s'", err.message, message);
    cr_expect_null(strchr(err.message, '\n'));
    cr_expect_null(tokenizer);
    nano_weights_close(&weights);
}

Test(pipeline, what_is_refused_is_named)
{
    expect_refused("normalizer", "{\"type\":\"X\"}",
                   "tokenizer.json: normalizer: type 'X' is unknown, expected one of: Bert");
    expect_refused("pre_tokenizer", "{\"type\":\"X\"}", "pre_tokenizer: type 'X' is unknown");
    expect_refused("decoder", "{\"type\":\"CTC\"}", "decoder: type 'CTC' is unknown");
    expect_refused("post_processor", "{\"type\":\"X\"}", "post_processor: type 'X' is unknown");
    expect_refused("normalizer", "[]", "expected an object with a type");
    expect_refused("normalizer", "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA*\"}",
                   "expected base64");
    expect_refused("normalizer", "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}",
                   "precompiled_charsmap");
    expect_refused("pre_tokenizer", SPLIT("{\"Regex\":\"(\"}", "Isolated", "false"),
                   "regular expression: at");
    expect_refused("pre_tokenizer", SPLIT("{\"String\":\"a\"}", "Odd", "false"),
                   "behavior 'Odd' is unknown");
    expect_refused("added_tokens", "[{\"id\":0,\"content\":\"b\"},{\"id\":0,\"content\":\"a\"}]",
                   "'b': id 0 is 'a' already");
    expect_refused("added_tokens", "[{\"id\":1000001,\"content\":\"b\"}]", "id 1000001, expected 0 to");
    expect_refused("post_processor",
                   "{\"type\":\"BertProcessing\",\"sep\":[\"s\",9],\"cls\":[\"c\",9]}",
                   "expected token ids from 0 to 0");
}

Test(pipeline, regexes_are_bounded)
{
    struct nano_weights weights;
    struct nano_error err;
    int32_t *ids;
    size_t num_ids;
    nano_tokenizer *t = open_parts(
        &weights, "null", SPLIT("{\"Regex\":\"(?:a+)+$|(?:a|aa)+!\"}", "Isolated", "false"), "null",
        "null", "", WORDS(""));
    char text[64];
    memset(text, 'a', sizeof text);
    text[63] = 'b';
    cr_expect_eq(nano_tokenizer_encode(t, text, sizeof text, 0, &ids, &num_ids, &err),
                 NANO_ERR_INVALID_ARGUMENT);
    cr_expect(strstr(err.message, "too many steps"), "%s", err.message);
    close_parts(t, &weights);
}

/* ---- Without memory */

Test(pipeline, every_allocation_may_fail)
{
    static const char json[] =
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\"\xE2\x96\x81\"}]},"
        "\"pre_tokenizer\":" SPLIT(
            "{\"String\":\"-\"}", "Isolated",
            "false") ","
                     "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\"},"
                     "\"added_tokens\":[{\"id\":1,\"content\":\"<x>\",\"normalized\":true}],"
                     "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\"<x>\",0]"
                     ","
                     "[\"a\",-1]]}}";
    struct nano_weights weights;
    struct nano_error err;
    cr_assert(hf_fixture(&weights, json, sizeof json - 1, NULL));
    for (uint64_t n = 1;; n++) {
        nano_tokenizer *tokenizer;
        int32_t *ids = NULL;
        char *text = NULL;
        size_t count;
        cr_assert_lt(n, 2000);
        nano_mem_fail_after(n);
        enum nano_status status = nano_tokenizer_create(&tokenizer, &weights, &err);
        if (status == NANO_OK)
            status =
                nano_tokenizer_encode(tokenizer, "a \xEF\xAC\x81<x>-a", 10, 0, &ids, &count, &err);
        if (status == NANO_OK)
            status = nano_tokenizer_decode(tokenizer, ids, count, false, &text, &count, &err);
        nano_mem_fail_after(0);
        nano_free(ids);
        nano_free(text);
        nano_tokenizer_destroy(tokenizer);
        if (status == NANO_OK)
            break;
        cr_assert_eq(status, NANO_ERR_NO_MEMORY, "%s", err.message);
    }
    nano_weights_close(&weights);
}
