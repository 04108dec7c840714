/* Fuzz target: any bytes as a safetensors file. Every tensor's bytes must be readable, and together
 * they are the file behind its header.
 *
 * With libFuzzer: clang -fsanitize=fuzzer,address and this file without replay.c. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sanitizers see the reads; the sums keep the compiler from leaving them out. */
static volatile uint64_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nano_safetensor *tensors;
    struct nano_error err;
    struct nano_arena arena;
    size_t count, total = 0;
    nano_arena_init(&arena);
    if (nano_safetensors_read(&tensors, &count, data, size, "fuzz.safetensors", &arena, &err) ==
        NANO_OK) {
        for (size_t i = 0; i < count; i++) {
            if (strlen(tensors[i].name.bytes) != tensors[i].name.num_bytes)
                abort();
            for (int d = 0; d < tensors[i].num_dims; d++)
                sink += (uint64_t)tensors[i].dims[d];
            for (size_t k = 0; k < tensors[i].num_bytes; k++)
                sink += tensors[i].data[k];
            total += tensors[i].num_bytes;
        }
        if (total > size)
            abort();
    } else if (strchr(err.message, '\n')) {
        abort();
    }
    nano_arena_deinit(&arena);
    return 0;
}
