/* Fuzz target: any bytes as a tokenizer file (SentencePiece's protobuf, tokenizer.json or tiktoken,
 * told apart as the loader does). What loads must be readable, and the tokenizer may refuse it but
 * must survive it.
 *
 * With libFuzzer: clang -fsanitize=fuzzer,address and this file without replay.c. */
#include <stdint.h>
#include <stdlib.h>

#include "format/hf_tokenizer.h"
#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const nano_tokenizer *tokenizer)
{
    static const char text[] = "the ab <tag>\xC3\xA9 12";
    struct nano_error err;
    int32_t *ids;
    size_t num_ids, num_bytes;
    char *back;
    if (nano_tokenizer_encode(tokenizer, text, sizeof text - 1, NANO_ENCODE_ADD_SPECIAL, &ids,
                              &num_ids, &err) != NANO_OK)
        return;
    if (nano_tokenizer_decode(tokenizer, ids, num_ids, true, &back, &num_bytes, &err) != NANO_OK)
        abort();
    nano_free(back);
    nano_free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nano_weights weights = {0};
    struct nano_meta_builder builder = {.weights = &weights};
    struct nano_error err = {0};
    nano_tokenizer *tokenizer;
    nano_arena_init(&weights.arena);
    if (nano_hf_tokenizer_load_memory(&builder, data, size, "fuzz", &err) == NANO_OK) {
        if (nano_weights_finish(&weights, &err) != NANO_OK)
            abort();
        if (nano_tokenizer_create(&tokenizer, &weights, &err) == NANO_OK)
            encode(tokenizer);
        nano_tokenizer_destroy(tokenizer);
    } else if (err.message[0] == '\0') {
        abort();
    }
    nano_weights_close(&weights);
    return 0;
}
