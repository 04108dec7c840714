/* tiktoken files, merges.txt, and merges from ranks. */
#include <stdio.h>
#include <string.h>

#include "base/byte_char.h"
#include "format/tok_files.h"
#include "format/tok_json.h"
#include "format/tok_pre.h"

/* The published vocabularies have none above 128 bytes; finding a split takes the square of it. */
#define MAX_TOKEN_BYTES 256

struct special {
    int32_t id;
    const char *text; /* with %d, for a range */
    int32_t count, first_number;
};

static const struct special gpt2_specials[] = {{50256, "<|endoftext|>", 1, 0}, {0}};
static const struct special cl100k_specials[] = {
    {100257, "<|endoftext|>", 1, 0},   {100258, "<|fim_prefix|>", 1, 0},
    {100259, "<|fim_middle|>", 1, 0},  {100260, "<|fim_suffix|>", 1, 0},
    {100276, "<|endofprompt|>", 1, 0}, {0}};
static const struct special o200k_specials[] = {
    {199999, "<|endoftext|>", 1, 0}, {200018, "<|endofprompt|>", 1, 0}, {0}};
static const struct special qwen_specials[] = {{151643, "<|endoftext|>", 1, 0},
                                               {151644, "<|im_start|>", 1, 0},
                                               {151645, "<|im_end|>", 1, 0},
                                               {151646, "<|extra_%d|>", 205, 0},
                                               {0}};
/* Meta's names since Llama 3.1; before it the later ones were called reserved. */
static const struct special llama3_specials[] = {{128000, "<|begin_of_text|>", 1, 0},
                                                 {128001, "<|end_of_text|>", 1, 0},
                                                 {128002, "<|reserved_special_token_%d|>", 2, 0},
                                                 {128004, "<|finetune_right_pad_id|>", 1, 0},
                                                 {128005, "<|reserved_special_token_%d|>", 1, 2},
                                                 {128006, "<|start_header_id|>", 1, 0},
                                                 {128007, "<|end_header_id|>", 1, 0},
                                                 {128008, "<|eom_id|>", 1, 0},
                                                 {128009, "<|eot_id|>", 1, 0},
                                                 {128010, "<|python_tag|>", 1, 0},
                                                 {128011, "<|reserved_special_token_%d|>", 245, 3},
                                                 {0}};

static const struct vocabulary {
    size_t num_ranks;
    const char *pre;
    const struct special *specials;
    int32_t bos, eos;
    bool add_bos;
    const char *regex; /* NULL: the pre-tokenizer of that name does the same */
} vocabularies[] = {
    {50256, "gpt-2", gpt2_specials, 50256, 50256, false, NULL},
    {100256, "llama-bpe", cl100k_specials, 100257, 100257, false, NULL},
    {128000, "llama-bpe", llama3_specials, 128000, 128001, true, NULL},
    {151643, "qwen2", qwen_specials, 151643, 151643, false, NULL},
    {199998, "gpt-4o", o200k_specials, 199999, 199999, false, nano_tok_o200k_regex},
};

/* One line: the base64 word and the rank behind it. False for another line. */
struct line {
    const char *word;
    size_t word_bytes;
    int64_t rank;
};

static bool parse_line(const char *begin, const char *end, struct line *out)
{
    const char *space = memchr(begin, ' ', (size_t)(end - begin));
    if (end > begin && end[-1] == '\r')
        end--;
    if (!space || space == begin || end - space < 2 || end - space > 12)
        return false;
    *out = (struct line){begin, (size_t)(space - begin), 0};
    for (const char *digit = space + 1; digit < end; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        out->rank = 10 * out->rank + (*digit - '0');
    }
    return true;
}

static const char *end_of_line(const char *at, const char *end)
{
    const char *found = memchr(at, '\n', (size_t)(end - at));
    return found ? found : end;
}

bool nano_tok_is_tiktoken(const void *data, size_t num_bytes)
{
    const char *text = data;
    struct line line;
    unsigned char bytes[MAX_TOKEN_BYTES];
    size_t length;
    return num_bytes > 0 && parse_line(text, end_of_line(text, text + num_bytes), &line) &&
           line.word_bytes <= MAX_TOKEN_BYTES &&
           nano_tok_base64(line.word, line.word_bytes, bytes, &length);
}

static enum nano_status add_line(struct nano_tok *tok, const char *begin, const char *end,
                                 size_t number, struct nano_error *err)
{
    struct line line;
    unsigned char bytes[MAX_TOKEN_BYTES + 8];
    char text[2 * MAX_TOKEN_BYTES + 16];
    size_t num_bytes = 0, written;
    if (!parse_line(begin, end, &line) || line.word_bytes > (MAX_TOKEN_BYTES + 2) / 3 * 4 ||
        !nano_tok_base64(line.word, line.word_bytes, bytes, &num_bytes) || num_bytes == 0)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: line %zu: expected a token of up to %d bytes in base64 and its "
                              "rank",
                              tok->path, number, MAX_TOKEN_BYTES);
    written = nano_byte_chars_encode((const char *)bytes, num_bytes, text);
    return nano_tok_add(tok, line.rank, text, written, 0, NANO_TOK_NORMAL, err);
}

static enum nano_status add_special_range(struct nano_tok *tok, const struct special *special,
                                          struct nano_error *err)
{
    char text[64];
    for (int32_t i = 0; i < special->count; i++) {
        const char *mark = strstr(special->text, "%d");
        int length = mark ? snprintf(text, sizeof text, "%.*s%d%s", (int)(mark - special->text),
                                     special->text, special->first_number + i, mark + 2)
                          : snprintf(text, sizeof text, "%s", special->text);
        enum nano_status status =
            nano_tok_add_special(tok, special->id + i, text, (size_t)length, true, err);
        if (status != NANO_OK)
            return status;
        if (!tok->pipeline)
            continue;
        json_t *token = json_pack("{s:s,s:b}", "content", text, "special", 1);
        status = token ? nano_tok_json_add_token(tok, special->id + i, token, err)
                       : nano_error_no_memory(err, "added tokens", 0);
        json_decref(token);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}

enum nano_status nano_tok_tiktoken(struct nano_tok *tok, const char *text, size_t num_bytes,
                                   struct nano_error *err)
{
    enum nano_status status;
    size_t num_lines = 0, number = 0;
    const char *end = text + num_bytes;
    const struct vocabulary *found = NULL;
    for (const char *at = text; at < end; at = end_of_line(at, end) + 1)
        num_lines++;
    NANO_TRY(nano_tok_expect(tok, num_lines, err));
    for (const char *at = text; at < end; at = end_of_line(at, end) + 1) {
        number++;
        if (*at != '\n')
            NANO_TRY(add_line(tok, at, end_of_line(at, end), number, err));
    }
    for (size_t i = 0; i < sizeof vocabularies / sizeof *vocabularies; i++)
        if (vocabularies[i].num_ranks == tok->num_used)
            found = &vocabularies[i];
    if (!found)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: %zu ranks: the pattern of such a file is not known, expected "
                              "50256, 100256, 128000, 151643 or 199998 ranks",
                              tok->path, tok->num_used);
    tok->model = "gpt2";
    tok->pre = found->pre;
    NANO_TRY(nano_tok_merges_from_ranks(tok, err));
    NANO_TRY(nano_tok_expect(tok, 512, err));
    if (found->regex)
        NANO_TRY(nano_tok_json_byte_level(tok, found->regex, err));
    for (const struct special *special = found->specials; special->text; special++)
        NANO_TRY(add_special_range(tok, special, err));
    tok->roles[NANO_TOK_BOS] = found->bos;
    tok->roles[NANO_TOK_EOS] = found->eos;
    tok->add_bos = found->add_bos ? NANO_TOK_YES : NANO_TOK_NO;
    tok->add_eos = NANO_TOK_NO;
    return NANO_OK;
fail:
    return status;
}

/* The rank of a piece of a token if it is smaller than the token's own, else INT32_MAX. */
static int32_t rank_below(const struct nano_tok *tok, int32_t id, const char *text,
                          size_t num_bytes)
{
    int32_t rank = nano_tok_find(tok, text, num_bytes);
    return rank >= 0 && rank < id ? rank : INT32_MAX;
}

/* Merges the token's characters as far as the tokens before it allow. `cuts` are the places between
 * the parts that are left, the ends included; returns how many parts there are. */
static size_t merge_token(const struct nano_tok *tok, int32_t id, uint16_t *cuts)
{
    const struct nano_string *text = &tok->pieces[id].text;
    int32_t ranks[2 * MAX_TOKEN_BYTES]; /* of parts i and i + 1 together */
    size_t n = 0;
    for (size_t i = 0; i <= text->num_bytes; i++)
        if (i == text->num_bytes || ((unsigned char)text->bytes[i] & 0xC0) != 0x80)
            cuts[n++] = (uint16_t)i;
    n--;
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_below(tok, id, text->bytes + cuts[i], (size_t)cuts[i + 2] - cuts[i]);
    while (n > 2) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == INT32_MAX)
            break;
        memmove(cuts + best + 1, cuts + best + 2, (n - best - 1) * sizeof *cuts);
        memmove(ranks + best, ranks + best + 1, (n - 2 - best) * sizeof *ranks);
        n--;
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++)
            ranks[i] = rank_below(tok, id, text->bytes + cuts[i], (size_t)cuts[i + 2] - cuts[i]);
    }
    return n;
}

enum nano_status nano_tok_merges_from_ranks(struct nano_tok *tok, struct nano_error *err)
{
    uint16_t cuts[2 * MAX_TOKEN_BYTES + 1];
    for (size_t id = 0; id < tok->num_pieces; id++) {
        const struct nano_string *text = &tok->pieces[id].text;
        /* texts are at most two bytes per byte of the token: add_line sees to that */
        if (!text->bytes || merge_token(tok, (int32_t)id, cuts) != 2)
            continue;
        enum nano_status status = nano_tok_add_merge(
            tok, text->bytes, cuts[1], text->bytes + cuts[1], text->num_bytes - cuts[1], err);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}

enum nano_status nano_tok_merges_txt(struct nano_tok *tok, const char *text, size_t num_bytes,
                                     struct nano_error *err)
{
    size_t number = 0;
    const char *end = text + num_bytes;
    for (const char *at = text, *line_end; at < end; at = line_end + 1) {
        line_end = end_of_line(at, end);
        const char *last = line_end > at && line_end[-1] == '\r' ? line_end - 1 : line_end;
        const char *space = memchr(at, ' ', (size_t)(last - at));
        number++;
        if (last == at || (number == 1 && last - at >= 8 && memcmp(at, "#version", 8) == 0))
            continue;
        if (!space || space == at || space + 1 == last)
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: line %zu: expected two tokens with a space between",
                                  tok->path, number);
        enum nano_status status = nano_tok_add_merge(tok, at, (size_t)(space - at), space + 1,
                                                     (size_t)(last - space) - 1, err);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}
