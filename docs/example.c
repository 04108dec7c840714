/* example: asks a model to continue two prompts at once, and prints the first one as it is made.
 *
 *   cc example.c -o example $(pkg-config --cflags --libs nanovllm)
 *   ./example [MODEL.gguf]
 */
#include <stdio.h>
#include <string.h>

#include <nanovllm.h>

/* Called on the engine's thread whenever a completion has new text, and once at its end. */
static void on_output(const struct nano_output *output, void *user_data)
{
    const char *name = user_data;
    if (strcmp(name, "first") == 0) {
        fputs(output->text, stdout);
        fflush(stdout);
    }
    if (output->finish_reason != NANO_FINISH_NONE)
        fprintf(stderr, "\n[%s: %d tokens, %s%s%s]\n", name, output->num_completion_tokens,
                nano_finish_reason_name(output->finish_reason), output->error ? ": " : "",
                output->error ? output->error->message : "");
}

static enum nano_status submit(nano_engine *engine, const char *prompt, const char *name,
                               struct nano_error *err)
{
    struct nano_request request = nano_request_default();
    request.prompt = prompt;
    request.prompt_bytes = strlen(prompt);
    request.sampling.max_tokens = 48;
    request.sampling.temperature = 0.7f;
    request.sampling.seed = 1;
    request.sampling.has_seed = true;
    request.on_output = on_output;
    request.user_data = (void *)name;
    return nano_engine_submit(engine, &request, NULL, err);
}

int main(int argc, char **argv)
{
    struct nano_error err = {0};
    struct nano_engine_params params = nano_engine_params_default();
    nano_model *model = NULL;
    nano_engine *engine = NULL;
    enum nano_status status;

    params.max_num_seqs = 2;
    status = nano_model_open(&model, argc > 1 ? argv[1] : NULL, &err); /* NULL: the built-in one */
    if (status == NANO_OK)
        status = nano_engine_create(&engine, model, &params, &err);
    if (status == NANO_OK)
        status = submit(engine, "Once upon a time", "first", &err);
    if (status == NANO_OK)
        status = submit(engine, "The little cat", "second", &err);
    if (status == NANO_OK)
        nano_engine_wait_idle(engine);
    else
        fprintf(stderr, "example: %s\n", err.message);

    nano_engine_destroy(engine); /* both take NULL */
    nano_model_close(model);
    return status == NANO_OK ? 0 : 1;
}
