/* Fuzz target: a tokenizer.json, a zero byte, and a text.
 *
 * Whatever the file says, it is refused, or every text becomes ids that are tokens, and a stream of
 * them gives what decoding them at once does, with invalid bytes replaced. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../hf_fixture.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_stream(const nano_tokenizer *tokenizer, const int32_t *ids, size_t num_ids,
                         const char *whole, size_t num_bytes)
{
    struct nano_token_stream stream;
    size_t max_bytes = nano_token_stream_max_bytes(tokenizer), used = 0;
    char *out = malloc(max_bytes);
    bool is_valid = nano_utf8_valid_prefix(whole, num_bytes) == num_bytes;
    require(out != NULL);
    nano_token_stream_init(&stream, tokenizer, false);
    for (size_t i = 0; i <= num_ids; i++) {
        size_t n = i < num_ids ? nano_token_stream_push(&stream, ids[i], out)
                               : nano_token_stream_flush(&stream, out);
        require(n <= max_bytes && nano_utf8_valid_prefix(out, n) == n);
        if (is_valid)
            require(n <= num_bytes - used && memcmp(whole + used, out, n) == 0);
        used += n;
    }
    require(!is_valid || used == num_bytes);
    free(out);
}

static void check_text(const nano_tokenizer *tokenizer, const char *text, size_t num_bytes)
{
    struct nano_tokenizer_info info;
    struct nano_error err;
    int32_t *ids;
    size_t num_ids, back_bytes;
    char *back;
    nano_tokenizer_get_info(tokenizer, &info);
    if (nano_tokenizer_encode(tokenizer, text, num_bytes,
                              NANO_ENCODE_ADD_SPECIAL | NANO_ENCODE_PARSE_SPECIAL, &ids, &num_ids,
                              &err) != NANO_OK)
        return;
    for (size_t i = 0; i < num_ids; i++)
        require(ids[i] >= 0 && ids[i] < info.vocab_size);
    require(nano_tokenizer_decode(tokenizer, ids, num_ids, false, &back, &back_bytes, &err) ==
            NANO_OK);
    check_stream(tokenizer, ids, num_ids, back, back_bytes);
    nano_free(ids);
    nano_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t json_bytes = zero ? (size_t)(zero - data) : size;
    struct nano_weights weights;
    struct nano_error err;
    nano_tokenizer *tokenizer;
    if (hf_fixture(&weights, (const char *)data, json_bytes, NULL)) {
        enum nano_status status = nano_tokenizer_create(&tokenizer, &weights, &err);
        require((status == NANO_OK) == (tokenizer != NULL));
        if (tokenizer && zero)
            check_text(tokenizer, (const char *)zero + 1, size - json_bytes - 1);
        nano_tokenizer_destroy(tokenizer);
    }
    nano_weights_close(&weights);
    return 0;
}
