/* Mark cuts. */
#include "tokenizer/mark_cuts.h"

#include <string.h>

#define SPACE_MARK "\xE2\x96\x81"

static const char *find_mark(const char *text, size_t num_bytes)
{
    const char *end = text + num_bytes;
    while (end - text >= 3) {
        const char *first = memchr(text, SPACE_MARK[0], (size_t)(end - text) - 2);
        if (!first || memcmp(first, SPACE_MARK, 3) == 0)
            return first;
        text = first + 1;
    }
    return NULL;
}

void nano_mark_cuts_init(struct nano_mark_cuts *cuts, const struct nano_vocab *vocab)
{
    memset(cuts, 0, sizeof *cuts);
    cuts->enabled = nano_vocab_find(vocab, SPACE_MARK, 3) >= 0;
    for (int32_t id = 0; id < vocab->num_tokens; id++) {
        const struct nano_string *text = &vocab->texts[id];
        if (text->num_bytes < 4)
            continue;
        const char *end = text->bytes + text->num_bytes, *mark = text->bytes + 1;
        while ((mark = find_mark(mark, (size_t)(end - mark))) != NULL) {
            cuts->keeps[(unsigned char)mark[-1]] = true;
            mark++;
        }
    }
}

size_t nano_mark_cuts_end(const struct nano_mark_cuts *cuts, const char *text, size_t num_bytes,
                          size_t begin)
{
    size_t end = begin + 1;
    while (cuts->enabled && end < num_bytes) {
        const char *mark = find_mark(text + end, num_bytes - end);
        if (!mark)
            return num_bytes;
        end = (size_t)(mark - text);
        if (!cuts->keeps[(unsigned char)mark[-1]])
            return end;
        end++;
    }
    return num_bytes;
}
