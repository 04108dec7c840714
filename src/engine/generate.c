/* nano_generate: one prompt, one text, for programs that need no more. */
#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "engine/engine_state.h"

struct collector {
    pthread_mutex_t lock;
    pthread_cond_t finished;
    int num_unfinished;
    char *text;
    size_t num_bytes, capacity;
    bool no_memory;
    struct nano_error error;
};

static void collect(const struct nano_output *output, void *user_data)
{
    struct collector *c = user_data;
    pthread_mutex_lock(&c->lock);
    if (output->index == 0) {
        if (nano_mem_grow((void **)&c->text, &c->capacity, c->num_bytes + output->text_bytes + 1,
                          1)) {
            memcpy(c->text + c->num_bytes, output->text, output->text_bytes + 1);
            c->num_bytes += output->text_bytes;
        } else {
            c->no_memory = true;
        }
    }
    if (output->finish_reason != NANO_FINISH_NONE) {
        if (output->error)
            c->error = *output->error;
        else if (output->finish_reason == NANO_FINISH_CANCELLED)
            nano_error_set(&c->error, NANO_ERR_INTERNAL, "the request was cancelled");
        if (--c->num_unfinished == 0)
            pthread_cond_signal(&c->finished);
    }
    pthread_mutex_unlock(&c->lock);
}

enum nano_status nano_generate(nano_engine *engine, const char *prompt,
                               const struct nano_sampling_params *sampling, char **text,
                               struct nano_error *err)
{
    *text = NULL;
    struct nano_request request = nano_request_default();
    if (sampling)
        request.sampling = *sampling;
    struct collector c = {.num_unfinished = request.sampling.n};
    request.prompt = prompt;
    request.prompt_bytes = strlen(prompt);
    request.on_output = collect;
    request.user_data = &c;
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.finished, NULL);
    enum nano_status status = nano_engine_submit(engine, &request, NULL, err);
    if (status == NANO_OK) {
        if (engine->params.manual_step)
            nano_engine_wait_idle(engine);
        pthread_mutex_lock(&c.lock);
        while (c.num_unfinished > 0)
            pthread_cond_wait(&c.finished, &c.lock);
        pthread_mutex_unlock(&c.lock);
        status = c.error.status;
        if (status != NANO_OK && err)
            *err = c.error;
        if (status == NANO_OK && c.no_memory)
            status = nano_error_no_memory(err, "the generated text", c.num_bytes);
    }
    pthread_cond_destroy(&c.finished);
    pthread_mutex_destroy(&c.lock);
    if (status == NANO_OK)
        *text = c.text;
    else
        nano_mem_free(c.text);
    return status;
}
