/* Pre-tokenizer. */
#include "tokenizer/pretokenizer.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

static void *regex_malloc(size_t num_bytes, void *user_data)
{
    (void)user_data;
    return nano_mem_alloc(num_bytes, 1);
}

static void regex_free(void *memory, void *user_data)
{
    (void)user_data;
    nano_mem_free(memory);
}

static enum nano_status compile_regex(struct nano_pre_regex *regex, const char *pattern,
                                      pcre2_compile_context *context, struct nano_error *err)
{
    int code;
    PCRE2_SIZE offset;
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                &code, &offset, context);
    if (!regex->code) {
        if (code == PCRE2_ERROR_HEAP_FAILED)
            return nano_error_no_memory(err, "regular expression", strlen(pattern));
        PCRE2_UCHAR message[120];
        pcre2_get_error_message(code, message, sizeof message);
        return nano_error_set(err, NANO_ERR_INTERNAL, "pre-tokenizer pattern: at %zu: %s", offset,
                              (const char *)message);
    }
    /* Where there is no JIT compiler, the interpreter does the same more slowly. */
    regex->has_jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
    if (pcre2_pattern_info(regex->code, PCRE2_INFO_FIRSTBITMAP, &regex->first_bytes) != 0)
        regex->first_bytes = NULL;
    return NANO_OK;
}

enum nano_status nano_pretokenizer_init(struct nano_pretokenizer *pre,
                                        const struct nano_pre_row *row, struct nano_error *err)
{
    enum nano_status status;
    memset(pre, 0, sizeof *pre);
    pre->row = row;
    pre->use_scan = row->pattern->scan != NULL;
    pcre2_compile_context *context = NULL;
    pcre2_general_context *general = pcre2_general_context_create(regex_malloc, regex_free, NULL);
    if (general)
        context = pcre2_compile_context_create(general);
    if (!context) {
        status = nano_error_no_memory(err, "regular expressions", 0);
        goto fail;
    }
    for (; row->pattern->regexes[pre->num_regexes]; pre->num_regexes++)
        NANO_TRY(compile_regex(&pre->regexes[pre->num_regexes],
                               row->pattern->regexes[pre->num_regexes], context, err));
    assert(pre->num_regexes <= NANO_MAX_PRE_REGEXES);
    status = NANO_OK;
fail:
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return status;
}

void nano_pretokenizer_deinit(struct nano_pretokenizer *pre)
{
    for (int i = 0; i < pre->num_regexes; i++)
        pcre2_code_free(pre->regexes[i].code);
    memset(pre, 0, sizeof *pre);
}

size_t nano_pretokenizer_memory_bytes(const struct nano_pretokenizer *pre)
{
    size_t total = 0;
    for (int i = 0; i < pre->num_regexes; i++) {
        size_t code_bytes = 0, jit_bytes = 0;
        pcre2_pattern_info(pre->regexes[i].code, PCRE2_INFO_SIZE, &code_bytes);
        pcre2_pattern_info(pre->regexes[i].code, PCRE2_INFO_JITSIZE, &jit_bytes);
        total += code_bytes + jit_bytes;
    }
    return total;
}

/* One call of nano_pretokenizer_split. */
struct splitter {
    const struct nano_pretokenizer *pre;
    pcre2_match_data *match; /* made when the first regex runs */
    nano_word_fn emit;
    void *user_data;
    struct nano_error *err;
};

static enum nano_status create_match(struct splitter *splitter)
{
    pcre2_general_context *general = pcre2_general_context_create(regex_malloc, regex_free, NULL);
    if (general)
        splitter->match = pcre2_match_data_create(1, general);
    pcre2_general_context_free(general);
    return splitter->match ? NANO_OK
                           : nano_error_no_memory(splitter->err, "regular expression match", 0);
}

/* The leftmost match in text[pos …); *begin == num_bytes if there is none. */
static enum nano_status find_match(struct splitter *splitter, const struct nano_pre_regex *regex,
                                   const char *text, size_t num_bytes, size_t pos, size_t *begin,
                                   size_t *end)
{
    *begin = *end = num_bytes;
    if (regex->first_bytes) {
        while (pos < num_bytes) {
            unsigned char byte = (unsigned char)text[pos];
            if (regex->first_bytes[byte >> 3] >> (byte & 7) & 1)
                break;
            pos++;
        }
        if (pos == num_bytes)
            return NANO_OK;
    }
    if (!splitter->match) {
        enum nano_status status = create_match(splitter);
        if (status != NANO_OK)
            return status;
    }
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (regex->has_jit)
        rc = pcre2_jit_match(regex->code, (PCRE2_SPTR)text, num_bytes, pos, 0, splitter->match,
                             NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its state on the heap */
        rc = pcre2_match(regex->code, (PCRE2_SPTR)text, num_bytes, pos,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, splitter->match, NULL);
    if (rc == PCRE2_ERROR_NOMATCH)
        return NANO_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return nano_error_no_memory(splitter->err, "regular expression match", num_bytes);
    if (rc < 0)
        return nano_error_set(splitter->err, NANO_ERR_INTERNAL,
                              "pre-tokenizer '%s': PCRE2 error %d", splitter->pre->row->name, rc);
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(splitter->match);
    *begin = offsets[0];
    *end = offsets[1];
    assert(*end > *begin); /* no pattern matches the empty string */
    return NANO_OK;
}

/* Splits a fragment by the regexes from `stage` on. */
static enum nano_status split_by_regexes(struct splitter *splitter, int stage, const char *text,
                                         size_t num_bytes)
{
    enum nano_status status;
    if (stage == splitter->pre->num_regexes)
        return splitter->emit(splitter->user_data, text, num_bytes, splitter->err);
    for (size_t pos = 0; pos < num_bytes;) {
        size_t begin, end;
        NANO_TRY(find_match(splitter, &splitter->pre->regexes[stage], text, num_bytes, pos, &begin,
                            &end));
        if (begin > pos)
            NANO_TRY(split_by_regexes(splitter, stage + 1, text + pos, begin - pos));
        if (end > begin)
            NANO_TRY(split_by_regexes(splitter, stage + 1, text + begin, end - begin));
        pos = end;
    }
    return NANO_OK;
fail:
    return status;
}

static enum nano_status split_by_scanning(struct splitter *splitter, const char *text,
                                          size_t num_bytes)
{
    enum nano_status status;
    nano_scan_fn scan = splitter->pre->row->pattern->scan;
    for (size_t pos = 0; pos < num_bytes;) {
        size_t begin = pos, end = scan(text, num_bytes, pos);
        if (end == 0)
            NANO_TRY(find_match(splitter, &splitter->pre->regexes[0], text, num_bytes, pos, &begin,
                                &end));
        assert(begin == pos && end > pos);
        NANO_TRY(splitter->emit(splitter->user_data, text + pos, end - pos, splitter->err));
        pos = end;
    }
    return NANO_OK;
fail:
    return status;
}

enum nano_status nano_pretokenizer_split(const struct nano_pretokenizer *pre, const char *text,
                                         size_t num_bytes, nano_word_fn emit, void *user_data,
                                         struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct splitter splitter = {pre, NULL, emit, user_data, err};
    for (size_t pos = 0; pos < num_bytes;) {
        size_t valid = nano_utf8_valid_prefix(text + pos, num_bytes - pos);
        if (valid > 0) {
            if (pre->use_scan)
                NANO_TRY(split_by_scanning(&splitter, text + pos, valid));
            else
                NANO_TRY(split_by_regexes(&splitter, 0, text + pos, valid));
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
    pcre2_match_data_free(splitter.match);
    return status;
}
