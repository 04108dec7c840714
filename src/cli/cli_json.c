/* JSON out. */
#include "cli/cli_json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"

void nano_cli_json_init(struct nano_cli_json *json, FILE *file)
{
    *json = (struct nano_cli_json){.file = file};
}

static void write_quoted(FILE *file, const char *text, size_t num_bytes)
{
    putc('"', file);
    for (size_t i = 0; i < num_bytes;) {
        unsigned char c = (unsigned char)text[i];
        uint32_t codepoint;
        int length = c < 0x80 ? 1 : nano_utf8_decode(text + i, num_bytes - i, &codepoint);
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", file);
        else if (c == '\t')
            fputs("\\t", file);
        else if (c < 0x20 || c == 0x7F)
            fprintf(file, "\\u%04x", c);
        else if (length == 0)
            fputs(NANO_UTF8_REPLACEMENT, file);
        else
            fwrite(text + i, 1, (size_t)length, file);
        i += length ? (size_t)length : 1;
    }
    putc('"', file);
}

static void begin_value(struct nano_cli_json *json, const char *key)
{
    if (json->comma)
        putc(',', json->file);
    if (key) {
        write_quoted(json->file, key, strlen(key));
        putc(':', json->file);
    }
    json->comma = true;
}

void nano_cli_json_open(struct nano_cli_json *json, const char *key, char bracket)
{
    begin_value(json, key);
    putc(bracket, json->file);
    json->depth++;
    json->comma = false;
}

void nano_cli_json_close(struct nano_cli_json *json, char bracket)
{
    putc(bracket, json->file);
    json->comma = --json->depth > 0;
    if (json->depth == 0)
        putc('\n', json->file);
}

void nano_cli_json_string(struct nano_cli_json *json, const char *key, const char *text,
                          size_t num_bytes)
{
    begin_value(json, key);
    write_quoted(json->file, text, num_bytes);
}

void nano_cli_json_cstring(struct nano_cli_json *json, const char *key, const char *text)
{
    if (text)
        nano_cli_json_string(json, key, text, strlen(text));
    else
        nano_cli_json_null(json, key);
}

void nano_cli_json_int(struct nano_cli_json *json, const char *key, int64_t value)
{
    begin_value(json, key);
    fprintf(json->file, "%" PRId64, value);
}

void nano_cli_json_bool(struct nano_cli_json *json, const char *key, bool value)
{
    begin_value(json, key);
    fputs(value ? "true" : "false", json->file);
}

void nano_cli_json_null(struct nano_cli_json *json, const char *key)
{
    begin_value(json, key);
    fputs("null", json->file);
}

void nano_cli_json_float(struct nano_cli_json *json, const char *key, double value)
{
    if (!isfinite(value)) {
        nano_cli_json_null(json, key);
        return;
    }
    begin_value(json, key);
    fprintf(json->file, "%.9g", value);
}

void nano_cli_json_raw(struct nano_cli_json *json, const char *key, const char *text,
                       size_t num_bytes)
{
    begin_value(json, key);
    fwrite(text, 1, num_bytes, json->file);
}

void nano_cli_json_ints(struct nano_cli_json *json, const char *key, const int32_t *values,
                        size_t num)
{
    nano_cli_json_open(json, key, '[');
    for (size_t i = 0; i < num; i++)
        nano_cli_json_int(json, NULL, values[i]);
    nano_cli_json_close(json, ']');
}
