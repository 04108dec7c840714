/* The whole path on a trained model, through the program: text, log-probabilities and perplexity of
 * stories260K against its goldens. Needs NANOVLLM_TEST_DATA. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/program.h"

#define VOCAB_SIZE 512
#define NUM_CHUNKS 6 /* of the perplexity; the goldens hold running values */

static const char *data_path(char out[1024], const char *relative)
{
    const char *data = getenv("NANOVLLM_TEST_DATA");
    if (!data)
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    snprintf(out, 1024, "%s/zoo/%s", data, relative);
    return out;
}

static json_t *open_golden(const char *variant, char model[1024])
{
    char path[1024], relative[128];
    json_error_t error;
    snprintf(relative, sizeof relative, "golden/stories260K-%s.json", variant);
    json_t *golden = json_load_file(data_path(path, relative), 0, &error);
    cr_assert_not_null(golden, "%s: %s", path, error.text);
    data_path(model, json_string_value(json_object_get(golden, "model")));
    return golden;
}

/* The golden's file, or a folder of the same weights. */
static void check_greedy_text(const char *folder)
{
    char model[1024];
    json_t *golden = open_golden("F32", model), *greedy = json_object_get(golden, "greedy");
    if (folder)
        data_path(model, folder);
    for (size_t i = 0; i < json_array_size(greedy); i++) {
        const json_t *want = json_array_get(greedy, i);
        struct program_result r =
            RUN("run", "-m", model, "-p", json_string_value(json_object_get(want, "prompt")), "-n",
                "64", "--temp", "0", "--ignore-eos", "--kv-cache-dtype", "f32", "--json");
        cr_assert_eq(r.status, 0, "%s", r.err);
        json_t *got = program_json(&r, 0);
        cr_assert(json_equal(json_object_get(got, "prompt_token_ids"),
                             json_object_get(want, "prompt_ids")));
        cr_assert(json_equal(json_object_get(got, "token_ids"), json_object_get(want, "ids")));
        /* the golden's text is prompt and output, and begins with SentencePiece's space */
        char text[4096];
        snprintf(text, sizeof text, "%s%s", json_string_value(json_object_get(got, "prompt")),
                 json_string_value(json_object_get(got, "text")));
        const char *want_text = json_string_value(json_object_get(want, "text"));
        cr_assert_str_eq(text + strspn(text, " "), want_text + strspn(want_text, " "));
        json_decref(got);
        program_free(&r);
    }
    json_decref(golden);
}

Test(stories, greedy_text_is_identical)
{
    check_greedy_text(NULL);
    check_greedy_text("stories260K-hf");
    check_greedy_text("stories260K-hf-sharded");
}

static void log_softmax(const json_t *logits, double out[VOCAB_SIZE], double *largest)
{
    double max = -INFINITY, sum = 0;
    *largest = 1;
    for (size_t i = 0; i < VOCAB_SIZE; i++) {
        out[i] = json_number_value(json_array_get(logits, i));
        max = fmax(max, out[i]);
        *largest = fmax(*largest, fabs(out[i]));
    }
    for (size_t i = 0; i < VOCAB_SIZE; i++)
        sum += exp(out[i] - max);
    for (size_t i = 0; i < VOCAB_SIZE; i++)
        out[i] -= max + log(sum);
}

static double worst_difference(const json_t *entry, const json_t *logits)
{
    double want[VOCAB_SIZE], largest, worst = 0;
    const json_t *top = json_object_get(entry, "top");
    log_softmax(logits, want, &largest);
    cr_assert_eq(json_array_size(top), VOCAB_SIZE);
    for (size_t k = 0; k < VOCAB_SIZE; k++) {
        const json_t *pair = json_array_get(top, k);
        size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
        worst = fmax(worst, fabs(json_number_value(json_array_get(pair, 1)) - want[id]) / largest);
    }
    return worst;
}

/* As one prefill, in pieces of 7 and token by token. */
Test(stories, log_probabilities_at_every_position)
{
    static const char *const pieces[] = {"512", "7", "1"};
    char model[1024], ids[1024] = "";
    json_t *golden = open_golden("F32", model), *want = json_object_get(golden, "logits32");
    const json_t *tokens = json_object_get(want, "tokens"),
                 *positions = json_object_get(want, "positions");
    size_t num_tokens = json_array_size(tokens);
    for (size_t i = 0; i < num_tokens; i++)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%d", i ? "," : "",
                 (int)json_integer_value(json_array_get(tokens, i)));
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        struct program_result r =
            RUN("run", "-m", model, "--token-ids", ids, "-n", "1", "--temp", "0", "--ignore-eos",
                "--logprobs", "512", "--prompt-logprobs", "512", "--kv-cache-dtype", "f32",
                "--max-num-batched-tokens", pieces[p], "--json");
        cr_assert_eq(r.status, 0, "%s", r.err);
        json_t *got = program_json(&r, 0);
        for (size_t i = 0; i < json_array_size(positions); i++) {
            size_t position = (size_t)json_integer_value(json_array_get(positions, i));
            const json_t *entry =
                position + 1 == num_tokens
                    ? json_array_get(json_object_get(got, "logprobs"), 0)
                    : json_array_get(json_object_get(got, "prompt_logprobs"), position + 1);
            double worst =
                worst_difference(entry, json_array_get(json_object_get(want, "logits"), i));
            cr_assert_leq(worst, 1e-4, "pieces of %s, position %zu: %g", pieces[p], position,
                          worst);
        }
        json_decref(got);
        program_free(&r);
    }
    json_decref(golden);
}

/* F32 to the golden's four digits, the others within half a per cent. */
Test(stories, perplexity)
{
    static const char *const variants[] = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K_M"};
    char model[1024], text[1024], chunks[16];
    snprintf(chunks, sizeof chunks, "%d", NUM_CHUNKS);
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        json_t *golden = open_golden(variants[i], model);
        const json_t *running =
            json_object_get(json_object_get(golden, "perplexity"), "running_ppl_per_chunk");
        double want = json_number_value(json_array_get(running, NUM_CHUNKS - 1));
        struct program_result r =
            RUN("perplexity", "-m", model, "-f", data_path(text, "stories.txt"), "-c", "256",
                "--chunks", chunks, "--kv-cache-dtype", "f32", "--json");
        cr_assert_eq(r.status, 0, "%s", r.err);
        json_t *got = program_json(&r, 0);
        double value = json_number_value(json_object_get(got, "perplexity"));
        double tolerance = i == 0 ? 1e-4 : 5e-3;
        cr_expect_leq(fabs(value / want - 1), tolerance, "%s: %.4f, expected %.4f", variants[i],
                      value, want);
        cr_assert_eq(json_integer_value(json_object_get(got, "num_tokens")), NUM_CHUNKS * 127);
        json_decref(got);
        json_decref(golden);
        program_free(&r);
    }
}
