/* bench: what it counts per token, which is exact whatever the speed, and the form of its output.
 * Nothing here depends on how fast the machine is. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/program.h"

#define KV_ELEMENT_BYTES 2 /* f16 */

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_number(value), "no number \"%s\"", key);
    return json_number_value(value);
}

static const json_t *item_of(const json_t *object, const char *key, size_t index)
{
    const json_t *item = json_array_get(json_object_get(object, key), index);
    cr_assert_not_null(item, "no \"%s\" %zu", key, index);
    return item;
}

static json_t *json_of(struct program_result r)
{
    cr_assert_eq(r.status, 0, "%s", r.err);
    json_t *j = program_json(&r, 0);
    program_free(&r);
    return j;
}

/* The built-in model's sizes. */
struct sizes {
    double num_layers, num_heads, head_dim, kv_token_bytes;
};

static struct sizes read_sizes(void)
{
    json_t *j = json_of(RUN("info", "--json"));
    struct sizes s = {number_of(j, "num_layers"), number_of(j, "num_heads"),
                      number_of(j, "head_dim"), 0};
    s.kv_token_bytes =
        s.num_layers * number_of(j, "num_kv_heads") * s.head_dim * 2 * KV_ELEMENT_BYTES;
    json_decref(j);
    return s;
}

static double bytes_per_token(const json_t *row)
{
    return number_of(row, "read_gbps") * 1e9 / number_of(row, "tokens_per_s");
}

static double ops_per_token(const json_t *row)
{
    return number_of(row, "gops") * 1e9 / number_of(row, "tokens_per_s");
}

static void check_row(const json_t *j, const json_t *row)
{
    const json_t *machine = json_object_get(j, "machine");
    cr_assert_gt(number_of(row, "tokens_per_s"), 0);
    cr_assert_leq(number_of(row, "tokens_per_s_min"), number_of(row, "tokens_per_s"));
    cr_assert_geq(number_of(row, "tokens_per_s_max"), number_of(row, "tokens_per_s"));
    cr_assert_gt(number_of(row, "read_share"), 0);
    cr_assert_gt(number_of(row, "peak_share"), 0);
    cr_assert_lt(number_of(row, "peak_share"), 1.5);
    cr_assert_str_eq(json_string_value(json_object_get(row, "peak")), "int8");
    cr_assert_float_eq(number_of(row, "peak_share") * number_of(machine, "int8_gops"),
                       number_of(row, "gops"), 1e-6 * number_of(row, "gops"));
}

static void check_limits(const json_t *limits)
{
    cr_assert_gt(number_of(limits, "read_gbps"), 0);
    cr_assert_gt(number_of(limits, "int8_gops"), 0);
    cr_assert_gt(number_of(limits, "f32_gops"), 0);
}

/* What ops but attention read in all steps of decoding. */
static double weight_bytes_of_decode(const json_t *j, double *num_steps)
{
    double sum = 0;
    size_t i;
    json_t *op;
    *num_steps = 0;
    json_array_foreach(json_object_get(j, "profile"), i, op)
    {
        if (strcmp(json_string_value(json_object_get(op, "phase")), "decode") != 0)
            continue;
        const char *name = json_string_value(json_object_get(op, "op"));
        if (strncmp(name, "attention ", 10) != 0)
            sum += number_of(op, "weight_bytes");
        if (strncmp(name, "embed ", 6) == 0)
            *num_steps = number_of(op, "count");
    }
    return sum;
}

Test(bench, json_has_the_documented_form)
{
    json_t *j = json_of(RUN("bench", "-p", "8,16", "-n", "3", "-b", "1,2", "-r", "2", "--json"));
    const json_t *machine = json_object_get(j, "machine");
    cr_assert_str_eq(json_string_value(json_object_get(j, "quantization")), "Q8_0");
    cr_assert_gt(number_of(j, "threads"), 0);
    cr_assert_gt(strlen(json_string_value(json_object_get(j, "isa"))), 0);
    cr_assert_gt(number_of(j, "load_s"), 0);
    cr_assert_gt(number_of(j, "cold_start_s"), number_of(j, "load_s"));
    cr_assert_gt(number_of(j, "peak_rss_bytes"), 1 << 20);
    cr_assert_lt(number_of(j, "peak_rss_bytes"), 512 << 20,
                 "the memory for measuring the machine counts");
    check_limits(machine);
    check_limits(json_object_get(machine, "first"));
    check_limits(json_object_get(machine, "last"));
    check_limits(json_object_get(machine, "one_thread"));
    cr_assert_eq(json_array_size(json_object_get(j, "prefill")), 2);
    cr_assert_eq(json_array_size(json_object_get(j, "decode")), 2);
    cr_assert_eq(number_of(item_of(j, "prefill", 1), "num_tokens"), 16);
    cr_assert_eq(number_of(item_of(j, "prefill", 1), "context"), 0);
    cr_assert_eq(number_of(item_of(j, "decode", 1), "batch"), 2);
    cr_assert_eq(number_of(item_of(j, "decode", 1), "context"), 16);
    cr_assert_null(json_object_get(j, "profile"));
    for (size_t i = 0; i < 2; i++) {
        check_row(j, item_of(j, "prefill", i));
        check_row(j, item_of(j, "decode", i));
    }
    json_decref(j);
}

/* A step reads the weights once, and of each sequence the keys and values of its context: with 16
 * tokens before four steps, 17 to 20 of them. */
Test(bench, bytes_are_weights_once_and_contexts)
{
    const struct sizes sizes = read_sizes();
    json_t *j =
        json_of(RUN("bench", "-p", "0", "-n", "4", "-b", "1,3", "-r", "2", "--profile", "--json"));
    double num_steps;
    const double weights = weight_bytes_of_decode(j, &num_steps) / num_steps;
    cr_assert_eq(num_steps, 1 + 2 * 2 * 4, "one of the warm-up, two rows of two times four");
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = item_of(j, "decode", i);
        const double expected = weights / number_of(row, "batch") + 18.5 * sizes.kv_token_bytes;
        cr_expect_float_eq(bytes_per_token(row), expected, 1e-6 * expected, "%f, expected %f",
                           bytes_per_token(row), expected);
    }
    json_decref(j);
}

/* Behind 96 tokens that are found in the cache, attention alone has more to do: a product of q and
 * k and one with v for each of them. */
Test(bench, prefill_at_a_depth_computes_the_prompt_alone)
{
    const struct sizes sizes = read_sizes();
    json_t *shallow = json_of(RUN("bench", "-p", "8", "-n", "0", "-r", "2", "--json"));
    json_t *deep = json_of(
        RUN("bench", "-p", "8", "-n", "0", "-r", "2", "-d", "96", "--block-size", "16", "--json"));
    const json_t *row = item_of(deep, "prefill", 0);
    const double more = ops_per_token(row) - ops_per_token(item_of(shallow, "prefill", 0));
    const double expected = 2.0 * 2 * 96 * sizes.num_heads * sizes.head_dim * sizes.num_layers;
    cr_assert_eq(number_of(row, "context"), 96);
    cr_assert_eq(number_of(row, "num_tokens"), 8);
    cr_assert_float_eq(more, expected, 1e-3 * expected, "%f more, expected %f", more, expected);
    json_decref(shallow);
    json_decref(deep);
}

static void check_times(const json_t *row)
{
    cr_assert_gt(number_of(row, "ttft_median_s"), 0);
    cr_assert_geq(number_of(row, "ttft_p99_s"), number_of(row, "ttft_median_s"));
    cr_assert_gt(number_of(row, "itl_median_s"), 0);
    cr_assert_geq(number_of(row, "itl_p99_s"), number_of(row, "itl_median_s"));
    cr_assert_gt(number_of(row, "total_tokens_per_s"), number_of(row, "tokens_per_s"));
}

Test(bench, mixed)
{
    json_t *j =
        json_of(RUN("bench", "--mixed", "-b", "2,3", "-n", "8", "-p", "24", "-r", "2", "--json"));
    cr_assert_eq(json_array_size(json_object_get(j, "prefill")), 0);
    cr_assert_eq(json_array_size(json_object_get(j, "decode")), 0);
    cr_assert_eq(json_array_size(json_object_get(j, "mixed")), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = item_of(j, "mixed", i);
        cr_assert_eq(number_of(row, "batch"), (double)(2 + i));
        cr_assert_eq(number_of(row, "num_prompts"), 4);
        cr_assert_eq(number_of(row, "num_tokens"), 24);
        cr_assert_eq(number_of(row, "num_decode"), 8);
        cr_assert_gt(number_of(row, "itl_alone_median_s"), 0);
        /* tokens in: 16 of each that decodes and 4 prompts of 24; out: 8 each and 4 times 16 */
        const double in = 16 * (double)(2 + i) + 4 * 24, out = 8 * (double)(2 + i) + 4 * 16;
        cr_assert_lt(number_of(row, "tokens_per_s"), number_of(row, "total_tokens_per_s"));
        cr_assert_float_eq(number_of(row, "total_tokens_per_s") / number_of(row, "tokens_per_s"),
                           (in + out) / out, 1e-6);
        check_times(row);
        check_row(j, row);
    }
    json_decref(j);
}

Test(bench, shared_prefix_is_computed_once)
{
    json_t *j = json_of(RUN("bench", "--shared-prefix", "-b", "4", "-n", "4", "-p", "8",
                            "--prefix-len", "64", "--block-size", "16", "-r", "2", "--json"));
    const json_t *row = item_of(j, "shared_prefix", 0);
    cr_assert_eq(number_of(row, "prefix_len"), 64);
    cr_assert_eq(number_of(row, "num_cached_tokens"), 3 * 64);
    check_times(row);
    check_row(j, row);
    json_decref(j);
}

Test(bench, text_has_every_mode)
{
    static const struct {
        const char *args[14];
        const char *parts[6];
    } cases[] = {
        {{"bench", "-p", "8", "-n", "2", "-b", "2", "-r", "1", "--profile"},
         {"prefill 8 ", "decode 2 x 2 at 16 ", "%read", "machine", "peak memory",
          "linear ffn_down"}},
        {{"bench", "--mixed", "-b", "1", "-n", "2", "-p", "8", "-r", "1"},
         {"mixed: 1 x 2 tokens", "first token", "between tokens", "no prompts", "throughput",
          "machine"}},
        {{"bench", "--shared-prefix", "-b", "2", "-n", "2", "-p", "8", "--prefix-len", "100000",
          "-r", "1"},
         {"shared prefix: 2 requests of 1014 + 8 tokens", "first token", "from the cache",
          "throughput", "machine", "peak memory"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct program_result r = program_run(NULL, cases[i].args);
        cr_assert_eq(r.status, 0, "%s", r.err);
        for (size_t k = 0; k < 6; k++)
            cr_expect(strstr(r.out, cases[i].parts[k]), "no '%s' in\n%s", cases[i].parts[k], r.out);
        program_free(&r);
    }
}

/* Of an older file: rows without what was added later, in another order. */
Test(bench, compare_finds_the_same_rows)
{
    static const char old[] =
        "{\"model\":\"a \\\"model\\\"\",\"threads\":77,\"machine\":{\"read_gbps\":1e-3},\n"
        " \"prefill\": [ {\"num_tokens\":9,\"tokens_per_s\":3}, "
        "{\"num_tokens\":8,\"tokens_per_s\":2.5} ],\n"
        " \"decode\":[{\"batch\":2,\"context\":99,\"tokens_per_s\":7}],\"other\":[true,null]}";
    const char *path = program_file("old.json", old, sizeof old - 1);
    json_t *j = json_of(
        RUN("bench", "-p", "8", "-n", "2", "-b", "2", "-r", "1", "--compare", path, "--json"));
    const json_t *compare = json_object_get(j, "compare");
    const json_t *result = item_of(compare, "results", 0);
    cr_assert_eq(json_array_size(json_object_get(compare, "results")), 1);
    cr_assert_str_eq(json_string_value(json_object_get(result, "name")), "prefill 8: tokens_per_s");
    cr_assert_eq(number_of(result, "old"), 2.5);
    cr_assert_eq(number_of(result, "new"), number_of(item_of(j, "prefill", 0), "tokens_per_s"));
    cr_assert_float_eq(number_of(result, "ratio"), number_of(result, "new") / 2.5,
                       1e-6 * number_of(result, "ratio"));
    const char *const warnings[] = {"model: a \"model\" then", "threads: 77 then", "read_gbps"};
    cr_assert_eq(json_array_size(json_object_get(compare, "warnings")), 3);
    for (size_t i = 0; i < 3; i++)
        cr_assert(strstr(json_string_value(item_of(compare, "warnings", i)), warnings[i]));
    json_decref(j);
}

Test(bench, compare_refuses_what_is_no_result)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "not JSON: line 1: '[' or '{' expected"},
        {"{\"machine\":{\"read_gbps\":1}", "not JSON: line 1: '}' expected"},
        {"{\"machine\":\n 1", "not JSON: line 2"},
        {"{\"a\":1} 2", "end of file expected"},
        {"[1,2]", "is not what nanovllm bench --json prints"},
        {"{\"machine\":3}", "is not what nanovllm bench --json prints"},
        {"{\"perplexity\":3}", "is not what nanovllm bench --json prints"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = program_file("bad.json", cases[i].text, strlen(cases[i].text));
        struct program_result r = RUN("bench", "--compare", path);
        cr_expect_eq(r.out_bytes, 0);
        program_expect_error(&r, 1, cases[i].part);
    }
    struct program_result r = RUN("bench", "--compare", "/nonexistent/old.json");
    program_expect_error(&r, 1, "/nonexistent/old.json: cannot open");
}

Test(bench, what_does_not_fit_is_refused)
{
    static const struct {
        const char *args[8];
        const char *part;
    } cases[] = {
        {{"bench", "-d", "100000"}, "-d: 100000 tokens leave no room in the context of 1024"},
        {{"bench", "-n", "100000"}, "-n: 100000 tokens leave no room"},
        {{"bench", "--mixed", "-n", "100000"}, "-n: 100000 tokens leave no room"},
        {{"bench", "--mixed", "-p", "0"}, "-p and -n: expected at least 1"},
        {{"bench", "--shared-prefix", "-n", "0"}, "-p and -n: expected at least 1"},
        {{"bench", "--shared-prefix", "-p", "1000", "-n", "30"},
         "-p and -n: 1030 tokens leave no room"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct program_result r = program_run(NULL, cases[i].args);
        cr_expect_eq(r.out_bytes, 0);
        program_expect_error(&r, 1, cases[i].part);
    }
}

Test(bench, mock_measures_the_scheduler)
{
    json_t *j = json_of(RUN("bench", "--mock", "-r", "1", "--json"));
    cr_assert_gt(number_of(j, "prefill_tokens_per_s"), 0);
    cr_assert_gt(number_of(j, "decode_tokens_per_s"), 0);
    cr_assert_eq(number_of(j, "num_preemptions"), 0);
    json_decref(j);
    j = json_of(RUN("bench", "--mock", "-r", "1", "--json", "--block-size", "16", "--num-blocks",
                    "4000")); /* too few for all */
    cr_assert_gt(number_of(j, "num_preemptions"), 0);
    json_decref(j);
}
