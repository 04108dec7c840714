/* Regular expressions. */
#include "tokenizer/regex.h"

#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

#define MAX_HEAP_KIB (1u << 20)

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

static enum nano_status compile(struct nano_regex *regex, const char *pattern, size_t num_bytes,
                                uint32_t options, const char *what, struct nano_error *err)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_compile_context *context = NULL;
    pcre2_general_context *general = pcre2_general_context_create(regex_malloc, regex_free, NULL);
    if (general)
        context = pcre2_compile_context_create(general);
    if (!context) {
        pcre2_general_context_free(general);
        return nano_error_no_memory(err, "regular expressions", 0);
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    regex->code =
        pcre2_compile((PCRE2_SPTR)pattern, num_bytes, PCRE2_UTF | options, &code, &offset, context);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (regex->code)
        return NANO_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return nano_error_no_memory(err, "regular expression", num_bytes);
    PCRE2_UCHAR message[120];
    pcre2_get_error_message(code, message, sizeof message);
    return nano_error_set(err, NANO_ERR_FORMAT, "%s: regular expression: at %zu: %s", what, offset,
                          (const char *)message);
}

enum nano_status nano_regex_init(struct nano_regex *regex, const char *pattern, size_t num_bytes,
                                 enum nano_regex_syntax syntax, const char *what,
                                 struct nano_error *err)
{
    enum nano_status status;
    struct nano_buffer translated = {0};
    memset(regex, 0, sizeof *regex);
    uint32_t options = PCRE2_UCP;
    if (syntax == NANO_REGEX_LITERAL)
        options = PCRE2_LITERAL;
    if (syntax == NANO_REGEX_ONIGURUMA) {
        NANO_TRY(nano_regex_translate(&translated, pattern, num_bytes, what, err));
        options |= PCRE2_MULTILINE;
        pattern = translated.data ? translated.data : "";
        num_bytes = translated.num_bytes;
    }
    NANO_TRY(compile(regex, pattern, num_bytes, options, what, err));
    /* Where there is no JIT compiler, the interpreter does the same more slowly. */
    regex->has_jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
    if (pcre2_pattern_info(regex->code, PCRE2_INFO_FIRSTBITMAP, &regex->first_bytes) != 0)
        regex->first_bytes = NULL;
    uint32_t matches_empty = 1;
    pcre2_pattern_info(regex->code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    regex->matches_empty = matches_empty != 0;
fail:
    nano_buffer_deinit(&translated);
    return status;
}

void nano_regex_deinit(struct nano_regex *regex)
{
    pcre2_code_free(regex->code);
    memset(regex, 0, sizeof *regex);
}

size_t nano_regex_memory_bytes(const struct nano_regex *regex)
{
    size_t code_bytes = 0, jit_bytes = 0;
    if (regex->code) {
        pcre2_pattern_info(regex->code, PCRE2_INFO_SIZE, &code_bytes);
        pcre2_pattern_info(regex->code, PCRE2_INFO_JITSIZE, &jit_bytes);
    }
    return code_bytes + jit_bytes;
}

void nano_regex_scratch_deinit(struct nano_regex_scratch *scratch)
{
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    memset(scratch, 0, sizeof *scratch);
}

static enum nano_status prepare(struct nano_regex_scratch *scratch, struct nano_error *err)
{
    pcre2_general_context *general = pcre2_general_context_create(regex_malloc, regex_free, NULL);
    if (general && !scratch->match)
        scratch->match = pcre2_match_data_create(1, general);
    if (general && !scratch->context)
        scratch->context = pcre2_match_context_create(general);
    pcre2_general_context_free(general);
    if (!scratch->match || !scratch->context)
        return nano_error_no_memory(err, "regular expression match", 0);
    pcre2_set_heap_limit(scratch->context, MAX_HEAP_KIB);
    return NANO_OK;
}

static size_t skip_to_first_byte(const struct nano_regex *regex, const char *text, size_t num_bytes,
                                 size_t pos)
{
    for (; pos < num_bytes; pos++) {
        unsigned char byte = (unsigned char)text[pos];
        if (regex->first_bytes[byte >> 3] >> (byte & 7) & 1)
            break;
    }
    return pos;
}

enum nano_status nano_regex_find(const struct nano_regex *regex, struct nano_regex_scratch *scratch,
                                 const char *text, size_t num_bytes, size_t pos, size_t *begin,
                                 size_t *end, struct nano_error *err)
{
    *begin = *end = num_bytes + 1;
    if (pos == num_bytes && !regex->matches_empty)
        return NANO_OK;
    if (regex->first_bytes) {
        pos = skip_to_first_byte(regex, text, num_bytes, pos);
        if (pos == num_bytes)
            return NANO_OK;
    }
    if (!scratch->context) {
        enum nano_status status = prepare(scratch, err);
        if (status != NANO_OK)
            return status;
    }
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (regex->has_jit)
        rc = pcre2_jit_match(regex->code, (PCRE2_SPTR)text, num_bytes, pos, 0, scratch->match,
                             scratch->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its state on the heap */
        rc = pcre2_match(regex->code, (PCRE2_SPTR)text, num_bytes, pos,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match, scratch->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return NANO_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return nano_error_no_memory(err, "regular expression match", num_bytes);
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "a regular expression of the tokenizer needs too many steps for this "
                              "text");
    if (rc < 0)
        return nano_error_set(err, NANO_ERR_INTERNAL,
                              "a regular expression of the tokenizer: PCRE2 error %d", rc);
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(scratch->match);
    *begin = offsets[0];
    *end = offsets[1] > offsets[0] ? offsets[1] : offsets[0]; /* \K may put the end first */
    return NANO_OK;
}

enum nano_status nano_regex_next(const struct nano_regex *regex, struct nano_regex_scratch *scratch,
                                 struct nano_regex_cursor *cursor, const char *text,
                                 size_t num_bytes, size_t *begin, size_t *end,
                                 struct nano_error *err)
{
    *begin = *end = num_bytes + 1;
    while (cursor->pos <= num_bytes) {
        enum nano_status status =
            nano_regex_find(regex, scratch, text, num_bytes, cursor->pos, begin, end, err);
        if (status != NANO_OK || *begin > num_bytes)
            return status;
        bool repeats = *begin == *end && cursor->has_last && *end == cursor->last_end;
        if (!repeats && *begin >= cursor->last_end) {
            cursor->pos = cursor->last_end = *end;
            cursor->has_last = true;
            return NANO_OK;
        }
        uint32_t codepoint;
        int length = nano_utf8_decode(text + cursor->pos, num_bytes - cursor->pos, &codepoint);
        cursor->pos += length ? (size_t)length : 1;
        *begin = *end = num_bytes + 1;
    }
    return NANO_OK;
}
