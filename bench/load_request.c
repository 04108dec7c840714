#include "load_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* ---- Buffers -----------------------------------------------------------------------------------
 */

void load_buffer_add(struct load_buffer *buffer, const char *format, ...)
{
    va_list arguments;
    size_t room = buffer->capacity - buffer->num_bytes;
    va_start(arguments, format);
    int length = vsnprintf(room ? buffer->data + buffer->num_bytes : NULL, room, format, arguments);
    va_end(arguments);
    size_t needed = buffer->num_bytes + (size_t)length + 1;
    if (length < 0 || buffer->failed ||
        !nano_mem_grow((void **)&buffer->data, &buffer->capacity, needed, 1)) {
        buffer->failed = true;
        return;
    }
    if ((size_t)length >= room) {
        va_start(arguments, format);
        vsnprintf(buffer->data + buffer->num_bytes, (size_t)length + 1, format, arguments);
        va_end(arguments);
    }
    buffer->num_bytes += (size_t)length;
}

void load_buffer_free(struct load_buffer *buffer)
{
    nano_mem_free(buffer->data);
    *buffer = (struct load_buffer){0};
}

/* ---- Random numbers ----------------------------------------------------------------------------
 */

/* SplitMix64's finalizer, which makes neighbouring inputs unalike. */
uint64_t load_random(uint64_t stream, uint64_t i)
{
    uint64_t x = (stream + 1) * 0xD1B54A32D192ED03u + (i + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

double load_random_share(uint64_t stream, uint64_t i)
{
    return (double)(load_random(stream, i) >> 11) * 0x1p-53;
}

/* ---- Requests ----------------------------------------------------------------------------------
 */

static void add_string(struct load_buffer *out, const char *text)
{
    load_buffer_add(out, "\"");
    for (; *text; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < 0x20)
            load_buffer_add(out, "\\u%04x", (unsigned)*text);
        else
            load_buffer_add(out, "%c", *text);
    load_buffer_add(out, "\"");
}

/* Number i of the prompt: of the prefix that all requests have, or this request's own. */
static unsigned prompt_item(const struct load_options *options, uint64_t number, int i,
                            unsigned num_kinds)
{
    uint64_t stream = (uint64_t)options->seed << 32;
    if (i >= options->prefix_len)
        stream += number + 1;
    return (unsigned)(load_random(stream, (uint64_t)i) % num_kinds);
}

static void add_token_ids(struct load_buffer *out, const struct load_options *options,
                          uint64_t number)
{
    for (int i = 0; i < options->prefix_len + options->input_len; i++)
        load_buffer_add(out, i ? ",%u" : "[%u",
                        prompt_item(options, number, i, (unsigned)options->vocab));
    load_buffer_add(out, "]");
}

static void add_words(struct load_buffer *out, const struct load_options *options, uint64_t number)
{
    static const char *const words[] = {"the", "dog", "a",     "and", "sun",  "tree", "big", "ran",
                                        "in",  "sad", "happy", "to",  "home", "ball", "was", "she"};
    load_buffer_add(out, "\"");
    for (int i = 0; i < options->prefix_len + options->input_len; i++)
        load_buffer_add(out, i ? " %s" : "%s",
                        words[prompt_item(options, number, i, sizeof words / sizeof *words)]);
    load_buffer_add(out, "\"");
}

static void add_body(struct load_buffer *out, const struct load_options *options, uint64_t number)
{
    bool is_chat = strstr(options->endpoint, "chat") != NULL;
    load_buffer_add(out,
                    is_chat ? "{\"messages\":[{\"role\":\"user\",\"content\":" : "{\"prompt\":");
    if (options->prompt)
        add_string(out, options->prompt);
    else if (is_chat)
        add_words(out, options, number);
    else
        add_token_ids(out, options, number);
    if (is_chat)
        load_buffer_add(out, "}]");
    if (options->model) {
        load_buffer_add(out, ",\"model\":");
        add_string(out, options->model);
    }
    load_buffer_add(out, ",\"max_tokens\":%d,\"temperature\":%g,\"n\":%d,\"ignore_eos\":%s",
                    options->output_len, options->temperature, options->n,
                    options->ignore_eos ? "true" : "false");
    if (!options->no_stream)
        load_buffer_add(out, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    if (options->extra)
        load_buffer_add(out, ",%s", options->extra);
    load_buffer_add(out, "}");
}

void load_request_build(struct load_buffer *out, const struct load_options *options,
                        uint64_t number)
{
    enum { LENGTH_DIGITS = 8 };
    out->num_bytes = 0;
    load_buffer_add(out, "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n",
                    options->endpoint, options->host, options->port);
    if (options->api_key)
        load_buffer_add(out, "Authorization: Bearer %s\r\n", options->api_key);
    if (options->no_keep_alive)
        load_buffer_add(out, "Connection: close\r\n");
    load_buffer_add(out, "Content-Length: ");
    size_t length_at = out->num_bytes;
    load_buffer_add(out, "%0*d\r\n\r\n", LENGTH_DIGITS, 0);
    size_t body_at = out->num_bytes;
    add_body(out, options, number);
    if (out->failed)
        return;
    char digits[LENGTH_DIGITS + 1];
    snprintf(digits, sizeof digits, "%0*u", LENGTH_DIGITS,
             (unsigned)(out->num_bytes - body_at) % 100000000u);
    memcpy(out->data + length_at, digits, LENGTH_DIGITS);
}
