/* Adapters in the API: a request's model chooses, and the list of models says whose they are. */
#include <unistd.h>

#include "engine/model.h"
#include "tests/api_fixture.h"
#include "tests/lora_fixture.h"

static char paths[2][LORA_PATH_BYTES];
static const char *const names[] = {"sql", "poems"};

static void setup_adapters(void)
{
    static struct nano_lora loras[2];
    struct nano_engine_params params = engine_params();
    setup();
    for (int i = 0; i < 2; i++) {
        const struct lora_spec spec = {.rank = 4, .alpha = 4, .seed = (uint64_t)i};
        lora_write(paths[i], &model->weights, &spec);
        loras[i] = (struct nano_lora){names[i], paths[i], 1};
    }
    params.loras = loras;
    params.num_loras = 2;
    nano_engine_destroy(engine);
    cr_assert_eq(nano_engine_create(&engine, model, &params, NULL), NANO_OK);
    api.engine = engine;
    api.lora_names = names;
    api.num_lora_names = 2;
}

static void teardown_adapters(void)
{
    teardown();
    unlink(paths[0]);
    unlink(paths[1]);
}

Test(api_lora, the_model_of_a_request_chooses, .init = setup_adapters, .fini = teardown_adapters)
{
    static const char *const models[] = {"tiny", "sql", "poems"};
    json_t *first[3];
    char body[200];
    for (int i = 0; i < 6; i++) {
        snprintf(body, sizeof body,
                 "{\"model\":\"%s\",\"prompt\":\"Once upon a time\",\"temperature\":0,"
                 "\"max_tokens\":12,\"ignore_eos\":true}",
                 models[i % 3]);
        json_t *answer = ask("/v1/completions", body);
        cr_expect_str_eq(string_at(answer, "model"), models[i % 3]);
        if (i < 3) {
            first[i] = answer;
            for (int k = 0; k < i; k++)
                cr_expect_str_neq(string_at(answer, "choices.0.text"),
                                  string_at(first[k], "choices.0.text"));
        } else {
            cr_expect_str_eq(string_at(answer, "choices.0.text"),
                             string_at(first[i % 3], "choices.0.text"));
            json_decref(answer);
        }
    }
    for (int i = 0; i < 3; i++)
        json_decref(first[i]);
    post("/v1/completions", "{\"model\":\"other\",\"prompt\":\"Once\"}");
    expect_error(404, "model", "there is no 'other' here, expected 'tiny'");
}

/* An adapter of the operator's, which requests for the model run with. */
Test(api_lora, the_model_may_have_one_itself, .init = setup_adapters, .fini = teardown_adapters)
{
    static const char fields[] = "\"prompt\":\"Once upon\",\"temperature\":0,\"max_tokens\":9}";
    char plain[200], named[200];
    snprintf(plain, sizeof plain, "{%s", fields);
    snprintf(named, sizeof named, "{\"model\":\"sql\",%s", fields);
    json_t *wanted = ask("/v1/completions", named);
    api.lora = "sql";
    json_t *got = ask("/v1/completions", plain);
    cr_expect_str_eq(string_at(got, "choices.0.text"), string_at(wanted, "choices.0.text"));
    cr_expect_str_eq(string_at(got, "model"), "tiny");
    json_decref(wanted);
    json_decref(got);
}

static json_t *get(const char *path)
{
    exchange_deinit(&last);
    exchange_init(&last, path, NULL);
    cr_assert(nano_api_handle(&api, &last));
    cr_assert_eq(last.status, 200, "%s", last.answer);
    return parse(last.answer, last.answer_bytes);
}

Test(api_lora, models_are_listed_with_their_parent, .init = setup_adapters,
     .fini = teardown_adapters)
{
    json_t *list = get("/v1/models"), *one = get("/v1/models/poems");
    cr_assert_eq(json_array_size(at(list, "data")), 4); /* two names of the model */
    cr_expect_str_eq(string_at(list, "data.2.id"), "sql");
    cr_expect_str_eq(string_at(list, "data.2.parent"), "tiny");
    cr_expect(json_is_null(at(list, "data.0.parent")));
    cr_expect(json_equal(one, at(list, "data.3")));
    json_decref(list);
    json_decref(one);
}
