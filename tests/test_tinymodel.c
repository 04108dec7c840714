/* The built-in model through the program, against an independent float64 computation from the same
 * file (data/tinymodel.golden.json). The engine rounds activations to int8, so log-probabilities
 * agree within a tolerance, and greedy tokens as long as the best one leads by more than that. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/program.h"

#define VOCAB_SIZE 1024
#define TOLERANCE 0.5 /* of a log-probability; logits reach 15, and 3 % of that is usual for int8 \
                       */

static json_t *open_cases(json_t **golden)
{
    char path[1024];
    json_error_t error;
    snprintf(path, sizeof path, "%.*s.golden.json",
             (int)(strlen(program_model()) - strlen(".gguf")), program_model());
    *golden = json_load_file(path, 0, &error);
    cr_assert_not_null(*golden, "%s: %s", path, error.text);
    return json_object_get(*golden, "cases");
}

static void check_logprobs(const json_t *top, const json_t *logits)
{
    double max = -INFINITY, sum = 0;
    cr_assert_eq(json_array_size(logits), VOCAB_SIZE);
    cr_assert_eq(json_array_size(top), VOCAB_SIZE);
    for (size_t i = 0; i < VOCAB_SIZE; i++)
        max = fmax(max, json_number_value(json_array_get(logits, i)));
    for (size_t i = 0; i < VOCAB_SIZE; i++)
        sum += exp(json_number_value(json_array_get(logits, i)) - max);
    for (size_t i = 0; i < VOCAB_SIZE; i++) {
        const json_t *pair = json_array_get(top, i);
        size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
        double want = json_number_value(json_array_get(logits, id)) - max - log(sum);
        double got = json_number_value(json_array_get(pair, 1));
        cr_assert_leq(fabs(got - want), TOLERANCE, "token %zu: %f, expected %f", id, got, want);
    }
}

Test(tinymodel, agrees_with_an_independent_computation)
{
    json_t *golden, *cases = open_cases(&golden);
    int num_compared = 0;
    cr_assert_eq(json_array_size(cases), 3);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *want = json_array_get(cases, i), *ids = json_object_get(want, "greedy_ids");
        struct program_result r =
            RUN("run", "-p", json_string_value(json_object_get(want, "prompt")), "-n", "48",
                "--temp", "0", "--ignore-eos", "--logprobs", "1024", "--json");
        cr_assert_eq(r.status, 0, "%s", r.err);
        json_t *got = program_json(&r, 0);
        cr_assert(json_equal(json_object_get(got, "prompt_token_ids"),
                             json_object_get(want, "prompt_ids")));
        const json_t *first = json_array_get(json_object_get(got, "logprobs"), 0);
        check_logprobs(json_object_get(first, "top"), json_object_get(want, "logits"));
        for (size_t t = 0; t < json_array_size(ids); t++, num_compared++) {
            if (json_number_value(json_array_get(json_object_get(want, "margins"), t)) < TOLERANCE)
                break;
            cr_assert(json_equal(json_array_get(json_object_get(got, "token_ids"), t),
                                 json_array_get(ids, t)),
                      "case %zu, token %zu", i, t);
        }
        json_decref(got);
        program_free(&r);
    }
    cr_assert_gt(num_compared, 5);
    json_decref(golden);
}
