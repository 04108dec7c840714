/* bench_engine: the load of bench_serve on an engine in this process, without HTTP, so that one can
 * see what the server costs: closed loops of requests with random token ids, whose text is made.
 *
 *   bench_engine MODEL|- NUM_PROMPTS CONCURRENCY PREFIX_LEN INPUT_LEN OUTPUT_LEN
 *
 * The first PREFIX_LEN tokens are the same in all prompts. "-" is the built-in model. */
#include <nanovllm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"

enum { VOCAB = 256 };

struct load {
    nano_engine *engine;
    int num_prompts, concurrency, prefix_len, input_len, output_len;
    pthread_mutex_t lock;
    pthread_cond_t done;
    int num_submitted, num_finished;
    double tokens, ttft_s; /* sums */
};

struct client {
    struct load *load;
    int32_t *prompt;
    double sent_s;
    bool has_token;
};

static double now_s(void)
{
    return (double)nano_os_clock_ns() * 1e-9;
}

static void on_output(const struct nano_output *output, void *user_data);

/* The client's next request, if there is one left. */
static void send_next(struct client *client)
{
    struct load *load = client->load;
    struct nano_error err;
    pthread_mutex_lock(&load->lock);
    int number = load->num_submitted < load->num_prompts ? load->num_submitted++ : -1;
    pthread_mutex_unlock(&load->lock);
    if (number < 0)
        return;
    uint32_t random = (uint32_t)number * 2654435761u + 1;
    for (int i = 0; i < load->prefix_len; i++)
        client->prompt[i] = i * 7 % VOCAB;
    for (int i = 0; i < load->input_len; i++) {
        random = random * 1664525u + 1013904223u;
        client->prompt[load->prefix_len + i] = (int32_t)(random >> 24) % VOCAB;
    }
    struct nano_request request = nano_request_default();
    request.prompt_token_ids = client->prompt;
    request.num_prompt_token_ids = (size_t)(load->prefix_len + load->input_len);
    request.sampling.max_tokens = load->output_len;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    request.on_output = on_output;
    request.user_data = client;
    client->has_token = false;
    client->sent_s = now_s();
    if (nano_engine_submit(load->engine, &request, NULL, &err) != NANO_OK) {
        fprintf(stderr, "bench_engine: %s\n", err.message);
        exit(1);
    }
}

static void on_output(const struct nano_output *output, void *user_data)
{
    struct client *client = user_data;
    struct load *load = client->load;
    if (!client->has_token) {
        client->has_token = true;
        load->ttft_s += now_s() - client->sent_s; /* only the engine's thread comes here */
    }
    load->tokens += output->num_tokens;
    if (output->finish_reason == NANO_FINISH_NONE)
        return;
    send_next(client);
    pthread_mutex_lock(&load->lock);
    if (++load->num_finished == load->num_prompts)
        pthread_cond_signal(&load->done);
    pthread_mutex_unlock(&load->lock);
}

static int fail(const struct nano_error *err)
{
    fprintf(stderr, "bench_engine: %s\n", err->message);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: bench_engine MODEL|- NUM_PROMPTS CONCURRENCY PREFIX_LEN INPUT_LEN "
                        "OUTPUT_LEN\n");
        return 2;
    }
    struct load load = {.num_prompts = atoi(argv[2]),
                        .concurrency = atoi(argv[3]),
                        .prefix_len = atoi(argv[4]),
                        .input_len = atoi(argv[5]),
                        .output_len = atoi(argv[6])};
    struct nano_engine_params params = nano_engine_params_default();
    struct nano_error err = {0};
    nano_model *model;
    if (load.num_prompts < 1 || load.concurrency < 1 || load.prefix_len < 0 || load.input_len < 1)
        return 2;
    if (nano_model_open(&model, argv[1][0] == '-' ? NULL : argv[1], &err) != NANO_OK ||
        nano_engine_create(&load.engine, model, &params, &err) != NANO_OK)
        return fail(&err);
    pthread_mutex_init(&load.lock, NULL);
    pthread_cond_init(&load.done, NULL);
    struct client *clients = calloc((size_t)load.concurrency, sizeof *clients);
    double start_s = now_s();
    for (int i = 0; clients && i < load.concurrency; i++) {
        clients[i].load = &load;
        clients[i].prompt =
            calloc((size_t)(load.prefix_len + load.input_len) + 1, sizeof *clients[i].prompt);
        if (clients[i].prompt)
            send_next(&clients[i]);
    }
    pthread_mutex_lock(&load.lock);
    while (load.num_finished < load.num_prompts)
        pthread_cond_wait(&load.done, &load.lock);
    pthread_mutex_unlock(&load.lock);
    double elapsed_s = now_s() - start_s;
    printf("%.1f output tok/s, %.0f tokens in %.3f s, mean time to first token %.1f ms\n",
           load.tokens / elapsed_s, load.tokens, elapsed_s, 1e3 * load.ttft_s / load.num_prompts);
    nano_engine_destroy(load.engine);
    nano_model_close(model);
    for (int i = 0; clients && i < load.concurrency; i++)
        free(clients[i].prompt);
    free(clients);
    return 0;
}
