/* bench_tokenizer MODEL.gguf TEXTFILE: encode and decode throughput on one core, in processor time.
 */
#include <stdio.h>
#include <time.h>

#include "base/os.h"
#include "format/gguf.h"
#include "tokenizer/tokenizer.h"

#define NUM_RUNS 5

static double seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static int measure(const nano_tokenizer *tokenizer, const struct nano_os_file *text,
                   struct nano_error *err)
{
    double best_encode = 1e9, best_decode = 1e9;
    size_t num_tokens = 0, num_bytes = 0;
    for (int run = 0; run < NUM_RUNS; run++) {
        int32_t *ids;
        char *back;
        double start = seconds();
        if (nano_tokenizer_encode(tokenizer, text->data, text->num_bytes, 0, &ids, &num_tokens,
                                  err) != NANO_OK)
            return 1;
        double encoded = seconds();
        enum nano_status status =
            nano_tokenizer_decode(tokenizer, ids, num_tokens, false, &back, &num_bytes, err);
        double decoded = seconds();
        nano_free(ids);
        if (status != NANO_OK)
            return 1;
        nano_free(back);
        if (encoded - start < best_encode)
            best_encode = encoded - start;
        if (decoded - encoded < best_decode)
            best_decode = decoded - encoded;
    }
    printf("%zu bytes, %zu tokens: encode %.1f MB/s, decode %.1f MB/s\n", text->num_bytes,
           num_tokens, (double)text->num_bytes / best_encode / 1e6,
           (double)num_bytes / best_decode / 1e6);
    return 0;
}

int main(int argc, char **argv)
{
    struct nano_error err = {0};
    struct nano_weights weights;
    struct nano_os_file text;
    nano_tokenizer *tokenizer = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: bench_tokenizer MODEL.gguf TEXTFILE\n");
        return 2;
    }
    if (nano_gguf_open(&weights, argv[1], &err) != NANO_OK)
        goto failed;
    double start = seconds();
    if (nano_tokenizer_create(&tokenizer, &weights, &err) != NANO_OK ||
        nano_os_file_open(&text, argv[2], &err) != NANO_OK)
        goto failed;
    printf("create %.1f ms, %.1f MiB\n", (seconds() - start) * 1e3,
           (double)nano_tokenizer_memory_bytes(tokenizer) / (1 << 20));
    int result = measure(tokenizer, &text, &err);
    if (result == 0) {
        nano_os_file_close(&text);
        nano_tokenizer_destroy(tokenizer);
        nano_weights_close(&weights);
        return 0;
    }
failed:
    fprintf(stderr, "bench_tokenizer: %s\n", err.message);
    return 1;
}
