/* bench_tokenizer MODEL TEXTFILE: opening, encode and decode throughput on one core, in processor
 * time. MODEL is a GGUF file, a folder or a tokenizer file. */
#include <stdio.h>
#include <time.h>

#include "base/os.h"
#include "nanovllm.h"

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
    struct nano_os_file text = {0};
    nano_model *model = NULL;
    const nano_tokenizer *tokenizer = NULL;
    int result = 1;
    if (argc != 3) {
        fprintf(stderr, "usage: bench_tokenizer MODEL TEXTFILE\n");
        return 2;
    }
    double start = seconds();
    if (nano_model_open(&model, argv[1], &err) == NANO_OK)
        tokenizer = nano_model_get_tokenizer(model, &err);
    printf("opened in %.1f ms\n", (seconds() - start) * 1e3);
    if (tokenizer && nano_os_file_open(&text, argv[2], &err) == NANO_OK)
        result = measure(tokenizer, &text, &err);
    if (result != 0)
        fprintf(stderr, "bench_tokenizer: %s\n", err.message);
    nano_os_file_close(&text);
    nano_model_close(model);
    return result;
}
