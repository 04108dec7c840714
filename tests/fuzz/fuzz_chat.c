/* Fuzz target: a chat template's source, a zero byte, a request's JSON. Whatever they are, there is
 * a prompt of valid UTF-8 or an error of one message; the prompt is then taken as an answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "nanovllm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void parse_answer(const nano_chat_template *t, const char *text, size_t num_bytes)
{
    nano_chat_parser *parser;
    struct nano_chat_delta delta;
    size_t total = 0, half = num_bytes / 2;
    require(nano_chat_parser_create(&parser, t, text, num_bytes, NULL) == NANO_OK);
    for (int i = 0; i < 2; i++) {
        require(nano_chat_parser_push(parser, text + (i ? half : 0), i ? num_bytes - half : half, i,
                                      &delta, NULL) == NANO_OK);
        total += delta.reasoning_bytes + delta.content_bytes;
    }
    require(total <= num_bytes);
    nano_chat_parser_destroy(parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *source = (const char *)data;
    const char *zero = size ? memchr(source, 0, size) : NULL;
    size_t source_bytes = zero ? (size_t)(zero - source) : size;
    const char *request =
        zero ? zero + 1 : "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    size_t request_bytes = zero ? size - source_bytes - 1 : strlen(request);
    struct nano_chat_render_params params = nano_chat_render_params_default();
    struct nano_error err = {0};
    nano_chat_template *t;
    enum nano_status status = nano_chat_template_create(&t, source, source_bytes, &err);
    require((status == NANO_OK) == (t != NULL) && (t || err.message[0]));
    for (int i = 0; t && i < 2; i++) {
        char *prompt = NULL;
        size_t num_bytes = 0;
        params.normalize_messages = i;
        params.max_steps = 100000;
        params.now = "2024-02-29 23:59:59";
        status = nano_chat_template_render(t, request, request_bytes, &params, &prompt, &num_bytes,
                                           &err);
        require((status == NANO_OK) == (prompt != NULL));
        if (prompt) {
            require(nano_utf8_valid_prefix(prompt, num_bytes) == num_bytes);
            parse_answer(t, prompt, num_bytes);
        }
        nano_free(prompt);
    }
    nano_chat_template_destroy(t);
    return 0;
}
