/* Pre-tokenizer. */
#include "tokenizer/pretokenizer.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "base/byte_char.h"

static enum nano_status new_stage(struct nano_pretokenizer *pre, struct nano_pre_stage **out,
                                  struct nano_error *err)
{
    if (pre->num_stages == NANO_MAX_PRE_STAGES)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "pre_tokenizer: more than %d stages are not supported",
                              NANO_MAX_PRE_STAGES);
    *out = &pre->stages[pre->num_stages];
    memset(*out, 0, sizeof **out);
    return NANO_OK;
}

enum nano_status nano_pretokenizer_add_split(struct nano_pretokenizer *pre, const char *pattern,
                                             size_t num_bytes, enum nano_regex_syntax syntax,
                                             enum nano_split_behavior behavior, bool invert,
                                             struct nano_error *err)
{
    enum nano_status status;
    struct nano_pre_stage *stage = NULL;
    NANO_TRY(new_stage(pre, &stage, err));
    NANO_TRY(nano_regex_init(&stage->regex, pattern, num_bytes, syntax, "pre_tokenizer", err));
    stage->behavior = behavior;
    stage->invert = invert;
    pre->num_stages++;
fail:
    return status;
}

enum nano_status nano_pretokenizer_add(struct nano_pretokenizer *pre, enum nano_pre_kind kind,
                                       const char *text, bool only_first, struct nano_error *err)
{
    struct nano_pre_stage *stage = NULL;
    enum nano_status status = new_stage(pre, &stage, err);
    if (status != NANO_OK)
        return status;
    stage->kind = kind;
    stage->only_first = only_first;
    stage->num_text_bytes = strlen(text);
    assert(stage->num_text_bytes < sizeof stage->text);
    memcpy(stage->text, text, stage->num_text_bytes);
    pre->num_stages++;
    return NANO_OK;
}

enum nano_status nano_pretokenizer_init(struct nano_pretokenizer *pre,
                                        const struct nano_pre_row *row, struct nano_error *err)
{
    memset(pre, 0, sizeof *pre);
    pre->row = row;
    pre->scan = row->pattern->scan;
    pre->use_scan = pre->scan != NULL;
    for (int i = 0; row->pattern->regexes[i]; i++) {
        const char *regex = row->pattern->regexes[i];
        enum nano_status status = nano_pretokenizer_add_split(
            pre, regex, strlen(regex), NANO_REGEX_PCRE2, NANO_SPLIT_ISOLATED, false, err);
        if (status != NANO_OK)
            return status;
    }
    return NANO_OK;
}

void nano_pretokenizer_deinit(struct nano_pretokenizer *pre)
{
    for (int i = 0; i < pre->num_stages; i++)
        nano_regex_deinit(&pre->stages[i].regex);
    memset(pre, 0, sizeof *pre);
}

size_t nano_pretokenizer_memory_bytes(const struct nano_pretokenizer *pre)
{
    size_t total = 0;
    for (int i = 0; i < pre->num_stages; i++)
        total += nano_regex_memory_bytes(&pre->stages[i].regex);
    return total;
}

/* One call of nano_pretokenizer_split_part. */
struct splitter {
    const struct nano_pretokenizer *pre;
    struct nano_regex_scratch scratch;
    struct nano_buffer rewritten[NANO_MAX_PRE_STAGES]; /* what a stage that rewrites gave last */
    nano_word_fn emit;
    void *user_data;
    struct nano_error *err;
};

static enum nano_status run_stage(struct splitter *splitter, int stage, const char *text,
                                  size_t num_bytes, bool is_first);

/* Gathers matches and what lies between them into pieces. */
struct gatherer {
    struct splitter *splitter;
    int stage;
    const char *text;
    bool is_first; /* text[0] is where the whole text begins */
    bool held, held_is_match;
    size_t begin, end; /* of the piece that is held */
};

static enum nano_status release(struct gatherer *g)
{
    if (!g->held)
        return NANO_OK;
    g->held = false;
    return run_stage(g->splitter, g->stage + 1, g->text + g->begin, g->end - g->begin,
                     g->is_first && g->begin == 0);
}

/* Takes the next item; items follow each other without gaps. */
static enum nano_status gather(struct gatherer *g, size_t begin, size_t end, bool matched)
{
    const struct nano_pre_stage *stage = &g->splitter->pre->stages[g->stage];
    bool is_match = matched != stage->invert;
    bool joins = false;
    if (stage->behavior == NANO_SPLIT_MERGED_WITH_PREVIOUS)
        joins = g->held && is_match && !g->held_is_match;
    else if (stage->behavior == NANO_SPLIT_MERGED_WITH_NEXT)
        joins = g->held && !is_match && g->held_is_match;
    else if (stage->behavior == NANO_SPLIT_CONTIGUOUS)
        joins = g->held && is_match == g->held_is_match;
    if (joins) {
        g->end = end;
        g->held_is_match = is_match;
        return NANO_OK;
    }
    enum nano_status status = release(g);
    g->held = !(stage->behavior == NANO_SPLIT_REMOVED && is_match);
    g->held_is_match = is_match;
    g->begin = begin;
    g->end = end;
    return status;
}

static enum nano_status split(struct splitter *splitter, int stage, const char *text,
                              size_t num_bytes, bool is_first)
{
    enum nano_status status;
    struct gatherer g = {splitter, stage, text, is_first, false, false, 0, 0};
    struct nano_regex_cursor cursor = {0};
    size_t done = 0;
    for (;;) {
        size_t begin, end;
        NANO_TRY(nano_regex_next(&splitter->pre->stages[stage].regex, &splitter->scratch, &cursor,
                                 text, num_bytes, &begin, &end, splitter->err));
        if (begin > num_bytes)
            break;
        if (begin > done)
            NANO_TRY(gather(&g, done, begin, false));
        NANO_TRY(gather(&g, begin, end, true));
        done = end;
    }
    if (done < num_bytes)
        NANO_TRY(gather(&g, done, num_bytes, false));
    return release(&g);
fail:
    return status;
}

static bool append_byte_chars(struct nano_buffer *out, const char *text, size_t num_bytes)
{
    char characters[128];
    for (size_t i = 0; i < num_bytes; i += sizeof characters / 2) {
        size_t count =
            num_bytes - i < sizeof characters / 2 ? num_bytes - i : sizeof characters / 2;
        if (!nano_buffer_append(out, characters,
                                nano_byte_chars_encode(text + i, count, characters)))
            return false;
    }
    return true;
}

static bool append_replaced(struct nano_buffer *out, const struct nano_pre_stage *stage,
                            const char *text, size_t num_bytes)
{
    for (size_t pos = 0; pos < num_bytes;) {
        const char *space = memchr(text + pos, ' ', num_bytes - pos);
        size_t end = space ? (size_t)(space - text) : num_bytes;
        if (!nano_buffer_append(out, text + pos, end - pos) ||
            (space && !nano_buffer_append(out, stage->text, stage->num_text_bytes)))
            return false;
        pos = end + 1;
    }
    return true;
}

static enum nano_status rewrite(struct splitter *splitter, int index, const char *text,
                                size_t num_bytes, bool is_first)
{
    const struct nano_pre_stage *stage = &splitter->pre->stages[index];
    struct nano_buffer *out = &splitter->rewritten[index];
    bool ok = true;
    out->num_bytes = 0;
    if (stage->kind == NANO_PRE_PREFIX) {
        size_t length = stage->num_text_bytes;
        bool begins = num_bytes >= length && memcmp(text, stage->text, length) == 0;
        if (begins || (stage->only_first && !is_first))
            return run_stage(splitter, index + 1, text, num_bytes, is_first);
        ok = nano_buffer_append(out, stage->text, length) &&
             nano_buffer_append(out, text, num_bytes);
    } else if (stage->kind == NANO_PRE_REPLACE) {
        ok = append_replaced(out, stage, text, num_bytes);
    } else {
        ok = append_byte_chars(out, text, num_bytes);
    }
    if (!ok)
        return nano_error_no_memory(splitter->err, "pre-tokenizer", num_bytes);
    return run_stage(splitter, index + 1, out->data, out->num_bytes, is_first);
}

static enum nano_status run_stage(struct splitter *splitter, int stage, const char *text,
                                  size_t num_bytes, bool is_first)
{
    if (num_bytes == 0)
        return NANO_OK;
    if (stage == splitter->pre->num_stages)
        return splitter->emit(splitter->user_data, text, num_bytes, splitter->err);
    if (splitter->pre->stages[stage].kind == NANO_PRE_SPLIT)
        return split(splitter, stage, text, num_bytes, is_first);
    return rewrite(splitter, stage, text, num_bytes, is_first);
}

static enum nano_status split_by_scanning(struct splitter *splitter, const char *text,
                                          size_t num_bytes)
{
    enum nano_status status;
    nano_scan_fn scan = splitter->pre->scan;
    for (size_t pos = 0; pos < num_bytes;) {
        size_t begin = pos, end = scan(text, num_bytes, pos);
        if (end == 0)
            NANO_TRY(nano_regex_find(&splitter->pre->stages[0].regex, &splitter->scratch, text,
                                     num_bytes, pos, &begin, &end, splitter->err));
        assert(begin == pos && end > pos);
        NANO_TRY(splitter->emit(splitter->user_data, text + pos, end - pos, splitter->err));
        pos = end;
    }
    return NANO_OK;
fail:
    return status;
}

enum nano_status nano_pretokenizer_split_part(const struct nano_pretokenizer *pre, const char *text,
                                              size_t num_bytes, bool is_first, nano_word_fn emit,
                                              void *user_data, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    if (pre->num_stages == 0)
        return num_bytes > 0 ? emit(user_data, text, num_bytes, err) : NANO_OK;
    struct splitter splitter = {.pre = pre, .emit = emit, .user_data = user_data, .err = err};
    for (size_t pos = 0; pos < num_bytes;) {
        size_t valid = nano_utf8_valid_prefix(text + pos, num_bytes - pos);
        if (valid > 0) {
            if (pre->use_scan)
                NANO_TRY(split_by_scanning(&splitter, text + pos, valid));
            else
                NANO_TRY(run_stage(&splitter, 0, text + pos, valid, is_first && pos == 0));
            pos += valid;
        }
        size_t invalid = 0;
        uint32_t codepoint;
        while (pos + invalid < num_bytes &&
               nano_utf8_decode(text + pos + invalid, num_bytes - pos - invalid, &codepoint) == 0)
            invalid++;
        if (invalid > 0)
            NANO_TRY(emit(user_data, text + pos, invalid, err));
        pos += invalid;
    }
fail:
    nano_regex_scratch_deinit(&splitter.scratch);
    for (int i = 0; i < pre->num_stages; i++)
        nano_buffer_deinit(&splitter.rewritten[i]);
    return status;
}

enum nano_status nano_pretokenizer_split(const struct nano_pretokenizer *pre, const char *text,
                                         size_t num_bytes, nano_word_fn emit, void *user_data,
                                         struct nano_error *err)
{
    return nano_pretokenizer_split_part(pre, text, num_bytes, true, emit, user_data, err);
}
