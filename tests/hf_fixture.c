#include "hf_fixture.h"

#include "format/hf_tokenizer.h"

bool hf_fixture(struct nano_weights *weights, const char *json, size_t num_bytes,
                struct nano_error *err)
{
    *weights = (struct nano_weights){0};
    struct nano_meta_builder builder = {.weights = weights};
    nano_arena_init(&weights->arena);
    return nano_hf_tokenizer_load_memory(&builder, json, num_bytes, "tokenizer.json", err) ==
               NANO_OK &&
           nano_meta_build_finish(&builder, err) == NANO_OK;
}
