/* SentencePiece's character map. */
#include "tokenizer/charsmap.h"

#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "base/utf8.h"

#define MAX_CLUSTER_BYTES 5

static uint32_t unit_at(const struct nano_charsmap *map, size_t i)
{
    const unsigned char *p = map->units + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

enum nano_status nano_charsmap_init(struct nano_charsmap *map, const void *bytes, size_t num_bytes,
                                    const char *label, struct nano_error *err)
{
    const unsigned char *in = bytes;
    memset(map, 0, sizeof *map);
    if (num_bytes == 0)
        return NANO_OK;
    size_t array_bytes = 0;
    for (int i = 3; i >= 0 && num_bytes >= 4; i--)
        array_bytes = array_bytes << 8 | in[i];
    if (num_bytes < 5 || array_bytes % 4 != 0 || array_bytes > num_bytes - 5 ||
        in[num_bytes - 1] != 0)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: precompiled_charsmap: %zu bytes with an array of %zu, expected "
                              "an array of whole units and zero-terminated strings behind it",
                              label, num_bytes, array_bytes);
    map->bytes = nano_mem_alloc(num_bytes, 1);
    if (!map->bytes)
        return nano_error_no_memory(err, "precompiled_charsmap", num_bytes);
    memcpy(map->bytes, bytes, num_bytes);
    map->units = map->bytes + 4;
    map->num_units = array_bytes / 4;
    map->replacements = map->units + array_bytes;
    map->replacement_bytes = num_bytes - 4 - array_bytes;
    return NANO_OK;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum nano_status nano_charsmap_init_base64(struct nano_charsmap *map, const char *text,
                                           size_t num_bytes, const char *label,
                                           struct nano_error *err)
{
    memset(map, 0, sizeof *map);
    while (num_bytes > 0 && text[num_bytes - 1] == '=')
        num_bytes--;
    unsigned char *bytes = nano_mem_alloc(num_bytes / 4 * 3 + 3, 1);
    if (!bytes)
        return nano_error_no_memory(err, "precompiled_charsmap", num_bytes);
    size_t written = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < num_bytes; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0) {
            nano_mem_free(bytes);
            return nano_error_set(err, NANO_ERR_FORMAT,
                                  "%s: precompiled_charsmap: expected base64, found something else "
                                  "at %zu",
                                  label, i);
        }
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 0)
            bytes[written++] = (unsigned char)(bits >> (6 - i % 4 * 2));
    }
    enum nano_status status = nano_charsmap_init(map, bytes, written, label, err);
    nano_mem_free(bytes);
    return status;
}

void nano_charsmap_deinit(struct nano_charsmap *map)
{
    nano_mem_free(map->bytes);
    memset(map, 0, sizeof *map);
}

static size_t base_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200u) >> 6);
}

size_t nano_charsmap_find(const struct nano_charsmap *map, const char *text, size_t num_bytes,
                          bool longest, const char **replacement, size_t *replacement_bytes)
{
    size_t found = 0;
    if (map->num_units == 0)
        return 0;
    size_t node = base_of(unit_at(map, 0));
    for (size_t i = 0; i < num_bytes; i++) {
        unsigned char byte = (unsigned char)text[i];
        node ^= byte;
        if (byte == 0 || node >= map->num_units)
            break;
        uint32_t unit = unit_at(map, node);
        if ((unit & (0x80000000u | 0xFF)) != byte)
            break;
        node ^= base_of(unit);
        if (!(unit >> 8 & 1))
            continue;
        if (node >= map->num_units)
            break;
        size_t offset = unit_at(map, node) & 0x7FFFFFFFu;
        if (offset >= map->replacement_bytes)
            break;
        found = i + 1;
        *replacement = (const char *)map->replacements + offset;
        *replacement_bytes = strlen(*replacement);
        if (!longest)
            break;
    }
    return found;
}

/* The end of the grapheme cluster that begins at `begin`; an invalid byte ends one. */
static size_t cluster_end(const char *text, size_t num_bytes, size_t begin)
{
    uint32_t last, next;
    utf8proc_int32_t state = 0;
    size_t end = begin + (size_t)nano_utf8_decode(text + begin, num_bytes - begin, &last);
    while (end > begin && end < num_bytes) {
        int length = nano_utf8_decode(text + end, num_bytes - end, &next);
        if (length == 0 || utf8proc_grapheme_break_stateful((utf8proc_int32_t)last,
                                                            (utf8proc_int32_t)next, &state))
            break;
        end += (size_t)length;
        last = next;
    }
    return end > begin ? end : begin + 1;
}

static bool apply_part(const struct nano_charsmap *map, const char *part, size_t num_bytes,
                       struct nano_buffer *out, bool *found)
{
    const char *replacement;
    size_t length;
    *found = nano_charsmap_find(map, part, num_bytes, false, &replacement, &length) > 0;
    return !*found || nano_buffer_append(out, replacement, length);
}

bool nano_charsmap_apply(const struct nano_charsmap *map, const char *text, size_t num_bytes,
                         struct nano_buffer *out)
{
    bool found;
    for (size_t pos = 0; pos < num_bytes;) {
        size_t end = cluster_end(text, num_bytes, pos);
        if (end - pos <= MAX_CLUSTER_BYTES) {
            if (!apply_part(map, text + pos, end - pos, out, &found))
                return false;
            if (found)
                pos = end;
        }
        while (pos < end) {
            uint32_t codepoint;
            size_t length = (size_t)nano_utf8_decode(text + pos, end - pos, &codepoint);
            length += length == 0;
            if (!apply_part(map, text + pos, length, out, &found) ||
                (!found && !nano_buffer_append(out, text + pos, length)))
                return false;
            pos += length;
        }
    }
    return true;
}
