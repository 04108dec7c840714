/* Embeddings over the API: forms of input, formats, refusals, and clients that go. */
#include <math.h>

#include "base/memory.h"
#include "tests/api_fixture.h"

#define MAX_SIZE 512

static void read_values(const json_t *answer, int index, float *values, int size)
{
    char path[40];
    snprintf(path, sizeof path, "data.%d.embedding", index);
    cr_assert(size <= MAX_SIZE);
    cr_assert_eq(json_array_size(at(answer, path)), (size_t)size);
    for (int i = 0; i < size; i++)
        values[i] = (float)json_number_value(json_array_get(at(answer, path), (size_t)i));
}

Test(api_embed, all_forms_of_input_give_the_same, .init = setup, .fini = teardown)
{
    float values[MAX_SIZE], others[MAX_SIZE];
    json_t *tokens = ask("/tokenize", "{\"prompt\":\"Once upon a time\"}");
    char *ids = json_dumps(at(tokens, "tokens"), JSON_COMPACT), body[1000];
    const int num_tokens = (int)json_array_size(at(tokens, "tokens"));
    json_t *one = ask("/v1/embeddings", "{\"input\":\"Once upon a time\",\"model\":\"tiny\"}");
    const int size = (int)json_array_size(at(one, "data.0.embedding"));
    cr_assert_eq(size, nano_model_get_info(model)->hidden_size);
    cr_assert_str_eq(string_at(one, "object"), "list");
    cr_assert_str_eq(string_at(one, "data.0.object"), "embedding");
    cr_assert_str_eq(string_at(one, "model"), "tiny");
    cr_assert_eq(int_at(one, "usage.prompt_tokens"), num_tokens);
    cr_assert_eq(int_at(one, "usage.total_tokens"), num_tokens);
    read_values(one, 0, values, size);
    double length = 0;
    for (int i = 0; i < size; i++)
        length += (double)values[i] * (double)values[i];
    cr_assert_float_eq(length, 1, 1e-5);
    static const char *const forms[] = {"%s", "[%s]", "[%s,[1,2,3]]",
                                        "[\"Once upon a time\",\"The dog\",%s]"};
    for (int i = 0; i < 4; i++) {
        char input[600];
        snprintf(input, sizeof input, forms[i], ids);
        snprintf(body, sizeof body, "{\"input\":%s}", input);
        json_t *answer = ask("/v1/embeddings", body);
        const int num = i < 2 ? 1 : i;
        cr_assert_eq(json_array_size(at(answer, "data")), (size_t)num);
        cr_assert_eq(int_at(answer, i == 2 ? "data.1.index" : "data.0.index"), i == 2);
        read_values(answer, 0, others, size);
        cr_assert_eq(memcmp(values, others, (size_t)size * sizeof *values), 0, "%s", forms[i]);
        if (i == 3) {
            read_values(answer, 2, others, size);
            cr_assert_eq(memcmp(values, others, (size_t)size * sizeof *values), 0);
            read_values(answer, 1, others, size);
            cr_assert_neq(memcmp(values, others, (size_t)size * sizeof *values), 0);
        }
        json_decref(answer);
    }
    json_decref(one);
    json_decref(tokens);
    free(ids);
}

static size_t decode_base64(const char *text, unsigned char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t num_bytes = 0;
    cr_assert_eq(strlen(text) % 4, 0);
    for (; *text; text += 4) {
        unsigned group = 0, num_padding = 0;
        for (int i = 0; i < 4; i++) {
            num_padding += text[i] == '=';
            group =
                group << 6 | (text[i] == '=' ? 0 : (unsigned)(strchr(digits, text[i]) - digits));
        }
        for (unsigned i = 0; i < 3 - num_padding; i++)
            out[num_bytes++] = (unsigned char)(group >> (16 - 8 * i));
    }
    return num_bytes;
}

Test(api_embed, base64_has_the_bits, .init = setup, .fini = teardown)
{
    float values[MAX_SIZE], unpacked[MAX_SIZE];
    json_t *plain = ask("/v1/embeddings", "{\"input\":\"Hello\",\"embd_normalize\":-1}");
    json_t *packed = ask("/v1/embeddings", "{\"input\":\"Hello\",\"embd_normalize\":-1,"
                                           "\"encoding_format\":\"base64\"}");
    const int size = (int)json_array_size(at(plain, "data.0.embedding"));
    read_values(plain, 0, values, size);
    const char *text = string_at(packed, "data.0.embedding");
    cr_assert_eq(decode_base64(text, (unsigned char *)unpacked), (size_t)size * sizeof *values);
    cr_assert_eq(memcmp(values, unpacked, (size_t)size * sizeof *values), 0);
    json_decref(plain);
    json_decref(packed);
}

Test(api_embed, pooling_and_norm_are_fields, .init = setup, .fini = teardown)
{
    static const char *const poolings[] = {"mean", "cls", "last"};
    float values[3][MAX_SIZE];
    int size = 0;
    for (int i = 0; i < 3; i++) {
        char body[200];
        snprintf(body, sizeof body,
                 "{\"input\":\"Once upon a time\",\"pooling\":\"%s\",\"embd_normalize\":0}",
                 poolings[i]);
        json_t *answer = ask("/v1/embeddings", body);
        size = (int)json_array_size(at(answer, "data.0.embedding"));
        read_values(answer, 0, values[i], size);
        float largest = 0;
        for (int k = 0; k < size; k++)
            largest = fmaxf(largest, fabsf(values[i][k]));
        cr_assert_float_eq(largest, 32760, 0.01);
        json_decref(answer);
    }
    for (int i = 0; i < 3; i++)
        cr_assert_neq(memcmp(values[i], values[(i + 1) % 3], (size_t)size * sizeof(float)), 0);
}

Test(api_embed, refusals, .init = setup, .fini = teardown)
{
    post("/v1/embeddings", "{}");
    expect_error(400, "input", "expected a string, a list of strings, or token ids");
    post("/v1/embeddings", "{\"input\":[]}");
    expect_error(400, "input", "at least one");
    post("/v1/embeddings", "{\"input\":[\"a\",{}]}");
    expect_error(400, "input", "got a list with an object");
    post("/v1/embeddings", "{\"input\":[99999999]}");
    expect_error(400, "input", "token id 99999999");
    post("/v1/embeddings", "{\"input\":\"a\",\"dimensions\":8}");
    expect_error(400, "dimensions", "the model's size");
    post("/v1/embeddings", "{\"input\":\"a\",\"encoding_format\":\"int8\"}");
    expect_error(400, "encoding_format", "expected \"float\" or \"base64\", got \"int8\"");
    post("/v1/embeddings", "{\"input\":\"a\",\"pooling\":\"max\"}");
    expect_error(400, "pooling", "got \"max\"");
    post("/v1/embeddings", "{\"input\":\"a\",\"embd_normalize\":-2}");
    expect_error(400, "embd_normalize", "-1");
    post("/v1/embeddings", "{\"input\":\"a\",\"model\":\"x\"}");
    expect_error(404, "model", "there is no 'x' here");
}

Test(api_embed, a_prompt_that_is_too_long_refuses_all, .init = setup, .fini = teardown)
{
    char body[9000] = "{\"input\":[\"Hello\",[1";
    struct nano_stats stats;
    for (int i = 0; i < 3000; i++)
        strcat(body, ",1");
    strcat(body, "]]}");
    post("/v1/embeddings", body);
    cr_assert_eq(last.status, 400);
    nano_engine_get_stats(engine, &stats);
    cr_assert_eq(stats.num_requests_submitted, 0);
}

Test(api_embed, who_has_gone_is_not_computed, .init = setup, .fini = teardown)
{
    struct nano_stats stats;
    bool has_work;
    static const char body[] = "{\"input\":[\"Hello\",\"Once upon a time\"]}";
    post_raw("/v1/embeddings", body, sizeof body - 1);
    cr_assert_eq(last.num_answers, 0);
    exchange_vanish(&last);
    cr_assert_eq(nano_engine_step(engine, &has_work, NULL), NANO_OK);
    nano_engine_get_stats(engine, &stats);
    cr_assert_eq(stats.computed_tokens_total, 0);
    cr_assert_eq(stats.num_requests_cancelled, 2);
    cr_assert_eq(last.num_answers, 1);
}

Test(api_embed, without_memory_there_is_still_one_answer, .init = setup, .fini = teardown)
{
    static const char body[] = "{\"input\":[\"Once\",[1,2]],\"encoding_format\":\"base64\"}";
    bool complete = false;
    for (uint64_t n = 1; !complete; n++) {
        cr_assert_lt(n, 2000);
        nano_mem_fail_after(n);
        post_raw("/v1/embeddings", body, sizeof body - 1);
        nano_engine_wait_idle(engine);
        complete = nano_mem_fail_after(0) < n;
        cr_assert_eq(last.num_answers, 1, "allocation %d", (int)n);
        cr_assert(last.status == 200 || last.status == 503, "%d: %s", last.status, last.answer);
        if (complete)
            cr_assert_eq(last.status, 200);
    }
}
