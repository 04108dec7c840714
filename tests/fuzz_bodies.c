#include "fuzz_bodies.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "require.h"

uint64_t fuzz_next(struct fuzz_random *random)
{
    uint64_t x = random->state += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

size_t fuzz_below(struct fuzz_random *random, size_t end)
{
    return (size_t)(fuzz_next(random) % end);
}

/* ---- Valid bodies ------------------------------------------------------------------------------
 */

#define COMPLETIONS "/v1/completions"
#define CHAT "/v1/chat/completions"
#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"max_tokens\":3"
static const struct {
    const char *path, *text;
} valid[] = {
    {COMPLETIONS, "{\"prompt\":\"Once upon a time\",\"max_tokens\":3,\"temperature\":0}"},
    {COMPLETIONS, "{\"prompt\":[\"One\",\"Two\"],\"max_tokens\":2,\"n\":2,\"temperature\":0.5,"
                  "\"seed\":7,\"top_p\":0.9,\"top_k\":20,\"min_p\":0.1}"},
    {COMPLETIONS, "{\"prompt\":[5,6,7,8],\"max_tokens\":4,\"logprobs\":2,\"echo\":true}"},
    {COMPLETIONS, "{\"prompt\":[[5,6],[7,8,9]],\"max_tokens\":2,\"stop\":[\"a\",\"b\"],"
                  "\"stop_token_ids\":[3,4],\"logit_bias\":{\"5\":-1.5,\"9\":2}}"},
    {COMPLETIONS, "{\"prompt\":\"The dog\",\"max_tokens\":3,\"stream\":true,"
                  "\"stream_options\":{\"include_usage\":true},\"logprobs\":1}"},
    {COMPLETIONS, "{\"prompt\":\"A\",\"max_tokens\":3,\"priority\":1,\"cache_salt\":\"s\","
                  "\"min_tokens\":2,\"ignore_eos\":true,\"repetition_penalty\":1.1,"
                  "\"presence_penalty\":0.5,\"frequency_penalty\":-0.5,\"prompt_logprobs\":1}"},
    {CHAT, "{" USER "}"},
    {CHAT, "{" USER ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":2,\"n\":2}"},
    {CHAT,
     "{\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\","
     "\"content\":[{\"type\":\"text\",\"text\":\"Hi\"},{\"type\":\"text\",\"text\":\"you\"}]}],"
     "\"max_completion_tokens\":3,\"chat_template_kwargs\":{\"enable_thinking\":false}}"},
    {CHAT,
     "{" USER ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":"
     "{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"string\"}}}}}],"
     "\"tool_choice\":\"auto\",\"response_format\":{\"type\":\"text\"}}"},
    {"/tokenize", "{\"prompt\":\"Hello there\",\"add_special_tokens\":true}"},
    {"/tokenize", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"},
    {"/detokenize", "{\"tokens\":[5,6,7]}"},
    {"/apply-template", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],"
                        "\"add_generation_prompt\":true}"},
    {"/v1/embeddings", "{\"input\":[\"Hello\",\"you\"],\"encoding_format\":\"float\"}"},
};

bool fuzz_valid_body(size_t i, struct fuzz_body *out)
{
    if (i >= sizeof valid / sizeof *valid)
        return false;
    *out = (struct fuzz_body){valid[i].path, (char *)valid[i].text, strlen(valid[i].text)};
    return true;
}

/* ---- Values ------------------------------------------------------------------------------------
 */

/* What stands for any text in these is a number or a string that is usual nowhere. */
static const char *const odd_values[] = {
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "2147483647",
    "2147483648",
    "-2147483649",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "-1e308",
    "1e-320",
    "0.1",
    "-0.0",
    "3.0",
    "\"\"",
    "\"a\"",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "\"\xe2\x82\xac\"",
    "\"NaN\"",
    "\"-1\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "[{}]",
    "[0]",
    "[-1]",
    "[1.5]",
    "[\"\"]",
    "[2147483648]",
    "{\"a\":null}",
    "{\"type\":\"text\"}",
    "[[[[[[]]]]]]",
    "[[1],[2],\"x\"]",
    "[1,\"1\"]",
};

static json_t *deep_value(size_t depth, bool arrays)
{
    json_t *value = json_integer(1);
    while (depth-- > 0) {
        json_t *outer = arrays ? json_array() : json_object();
        if (arrays)
            json_array_append_new(outer, value);
        else
            json_object_set_new(outer, "a", value);
        value = outer;
    }
    return value;
}

static json_t *long_string(struct fuzz_random *random)
{
    size_t num_bytes = (size_t)1 << fuzz_below(random, 17);
    char *text = malloc(num_bytes + 1);
    REQUIRE(text);
    memset(text, "a \n~"[fuzz_below(random, 4)], num_bytes);
    text[num_bytes] = '\0';
    json_t *value = json_string(text);
    free(text);
    return value;
}

static json_t *long_array(struct fuzz_random *random)
{
    size_t num = (size_t)1 << fuzz_below(random, 13);
    long item = (long)fuzz_below(random, 100) - 5;
    json_t *array = json_array();
    for (size_t i = 0; i < num; i++)
        json_array_append_new(array, item < 0 ? json_string("a") : json_integer(item));
    return array;
}

static json_t *odd_value(struct fuzz_random *random)
{
    switch (fuzz_below(random, 12)) {
    case 0:
        return deep_value(1 + fuzz_below(random, 1500), fuzz_below(random, 2));
    case 1:
        return long_string(random);
    case 2:
        return long_array(random);
    case 3:
        return json_integer((json_int_t)(fuzz_next(random) >> fuzz_below(random, 64)));
    default:
        break;
    }
    const char *text = odd_values[fuzz_below(random, sizeof odd_values / sizeof *odd_values)];
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    REQUIRE(value);
    return value;
}

/* ---- Mutations ---------------------------------------------------------------------------------
 */

static const char *random_key(struct fuzz_random *random, json_t *object)
{
    void *at = json_object_iter(object);
    size_t num_steps = json_object_size(object) ? fuzz_below(random, json_object_size(object)) : 0;
    while (at && num_steps-- > 0)
        at = json_object_iter_next(object, at);
    return at ? json_object_iter_key(at) : NULL;
}

static void mutate_object(struct fuzz_random *random, json_t *object);

static void mutate_array(struct fuzz_random *random, json_t *array)
{
    size_t num = json_array_size(array);
    size_t i = num ? fuzz_below(random, num) : 0;
    json_t *item = json_array_get(array, i);
    if (json_is_object(item) && fuzz_below(random, 2))
        mutate_object(random, item);
    else if (json_is_array(item) && fuzz_below(random, 2))
        mutate_array(random, item);
    else if (num && fuzz_below(random, 4) == 0)
        json_array_remove(array, i);
    else if (num && fuzz_below(random, 2))
        json_array_set_new(array, i, odd_value(random));
    else
        json_array_insert_new(array, i, odd_value(random));
}

static void mutate_object(struct fuzz_random *random, json_t *object)
{
    static const char *const names[] = {
        "prompt", "messages", "model",      "n",       "stream", "stop", "suffix",      "logprobs",
        "tools",  "grammar",  "max_tokens", "content", "role",   "",     "constructor", "best_of"};
    const char *key = random_key(random, object);
    json_t *value = key ? json_object_get(object, key) : NULL;
    if (json_is_object(value) && fuzz_below(random, 2))
        mutate_object(random, value);
    else if (json_is_array(value) && fuzz_below(random, 2))
        mutate_array(random, value);
    else if (key && fuzz_below(random, 8) == 0)
        json_object_del(object, key);
    else if (key && fuzz_below(random, 4))
        json_object_set_new(object, key, odd_value(random));
    else
        json_object_set_new(object, names[fuzz_below(random, sizeof names / sizeof *names)],
                            odd_value(random));
}

/* Bytes instead of values: what a broken client sends. */
static void mutate_bytes(struct fuzz_random *random, struct fuzz_body *body)
{
    static const unsigned char odd[] = {0,    '"',  '{',  '}',  '[',  ']',  ',',
                                        ':',  '\\', '\n', 0x7f, 0x80, 0xbf, 0xc0,
                                        0xc1, 0xe2, 0xed, 0xf4, 0xf5, 0xfe, 0xff};
    for (size_t num = 1 + fuzz_below(random, 4); num > 0 && body->num_bytes > 1; num--) {
        size_t at = fuzz_below(random, body->num_bytes);
        size_t length = 1 + fuzz_below(random, body->num_bytes - at);
        switch (fuzz_below(random, 4)) {
        case 0: /* cut off */
            body->num_bytes = at;
            break;
        case 1: /* a piece is missing */
            memmove(body->data + at, body->data + at + length, body->num_bytes - at - length);
            body->num_bytes -= length;
            break;
        case 2:
            body->data[at] = (char)odd[fuzz_below(random, sizeof odd)];
            break;
        default:
            body->data[at] = (char)(body->data[at] ^ (1 << fuzz_below(random, 8)));
            break;
        }
    }
}

static char *print(const json_t *value, size_t *num_bytes)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) { /* what jansson reads but does not write: too deep */
        text = strdup("[[[[1]]]]");
        REQUIRE(text);
    }
    *num_bytes = strlen(text);
    return text;
}

struct fuzz_body fuzz_mutate(struct fuzz_random *random)
{
    struct fuzz_body body;
    fuzz_valid_body(fuzz_below(random, sizeof valid / sizeof *valid), &body);
    json_t *root = json_loads(body.data, 0, NULL);
    REQUIRE(root);
    size_t kind = fuzz_below(random, 10);
    if (kind == 0) {
        json_decref(root);
        root = odd_value(random);
    } else if (kind < 8) {
        for (size_t num = 1 + fuzz_below(random, 3); num > 0; num--)
            mutate_object(random, root);
    }
    body.data = print(root, &body.num_bytes);
    json_decref(root);
    if (kind >= 7)
        mutate_bytes(random, &body);
    return body;
}

/* ---- Wrong types -------------------------------------------------------------------------------
 */

enum { B = 1, I = 2, F = 4, S = 8, A = 16, O = 32 }; /* types that a field takes */

static const struct {
    const char *name;
    int types, routes; /* routes: 1 completions, 2 chat */
} fields[] = {
    {"model", S, 3},
    {"max_tokens", I, 3},
    {"max_completion_tokens", I, 2},
    {"min_tokens", I, 3},
    {"n", I, 3},
    {"temperature", I | F, 3},
    {"top_p", I | F, 3},
    {"top_k", I, 3},
    {"min_p", I | F, 3},
    {"repetition_penalty", I | F, 3},
    {"presence_penalty", I | F, 3},
    {"frequency_penalty", I | F, 3},
    {"seed", I, 3},
    {"stop", S | A, 3},
    {"stop_token_ids", A, 3},
    {"logit_bias", O, 3},
    {"ignore_eos", B, 3},
    {"skip_special_tokens", B, 3},
    {"include_stop_str_in_output", B, 3},
    {"prompt_logprobs", I, 3},
    {"priority", I, 3},
    {"cache_salt", S, 3},
    {"stream", B, 3},
    {"stream_options", O, 3},
    {"add_special_tokens", B, 3},
    {"response_format", O, 3},
    {"prompt", S | A, 1},
    {"echo", B, 1},
    {"logprobs", I, 1},
    {"best_of", I, 1},
    {"logprobs", B, 2},
    {"top_logprobs", I, 2},
    {"messages", A, 2},
    {"tools", A, 2},
    {"chat_template_kwargs", O, 2},
    {"add_generation_prompt", B, 2},
    {"continue_final_message", B, 2},
};

static const struct {
    int type;
    const char *text;
} samples[] = {{B, "true"}, {I, "1"},         {F, "0.5"},        {S, "\"one\""},
               {A, "[{}]"}, {O, "{\"a\":1}"}, {S, "\"\\u0000\""}};

bool fuzz_wrong_type(size_t i, struct fuzz_body *out, const char **field, bool *must_fail)
{
    size_t num_fields = sizeof fields / sizeof *fields,
           num_samples = sizeof samples / sizeof *samples;
    size_t at = i / num_samples % num_fields, route = i / num_samples / num_fields;
    if (route > 1)
        return false;
    const char *sample = samples[i % num_samples].text;
    fuzz_valid_body(route == 0 ? 0 : 6, out);
    json_t *root = json_loads(out->data, 0, NULL);
    REQUIRE(root);
    json_object_set_new(root, fields[at].name,
                        json_loads(sample, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
    *field = fields[at].name;
    *must_fail =
        (fields[at].routes & (1 << route)) && !(samples[i % num_samples].type & fields[at].types);
    out->data = print(root, &out->num_bytes);
    json_decref(root);
    return true;
}
