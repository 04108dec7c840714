/* The program: exit statuses, messages, and the shape and content of what it prints. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "tests/program.h"

/* ---- Usage ----------------------------------------------------------------------------------- */

Test(usage, mistakes_exit_with_2_and_one_line)
{
    static const struct {
        const char *args[6];
        const char *part;
    } cases[] = {
        {{NULL}, "no command"},
        {{"rnu"}, "did you mean run?"},
        {{"server"}, "server: unknown command"},
        {{"run", "--tmep", "1"}, "--tmep: unknown option, did you mean --temp?"},
        {{"run", "--max-token", "1"}, "did you mean --max-tokens?"},
        {{"run", "-Z"}, "-Z: unknown option"},
        {{"run", "-n"}, "-n: expected N"},
        {{"run", "-n", "ten"}, "-n: 'ten' is not a whole number"},
        {{"run", "-n", "5x"}, "-n: '5x'"},
        {{"run", "-n", "-2"}, "-n: -2"},
        {{"run", "-n", "99999999999"}, "-n: "},
        {{"run", "--top-p", "1.5"}, "--top-p: 1.5 is not from 0 to 1"},
        {{"run", "--temp", "nan"}, "--temp: 'nan'"},
        {{"run", "--seed=-3"}, "--seed: '-3'"},
        {{"run", "--json=yes"}, "--json: takes no value"},
        {{"run", "--kv-cache-dtype", "q3_9"}, "f16, bf16, f32, q8_0, fp8"},
        {{"run", "--mem-budget", "12parsecs"}, "--mem-budget: '12parsecs' is not a size"},
        {{"run", "--token-ids", "1,,2"}, "--token-ids: ',2' is not"},
        {{"run", "--logit-bias", "7"}, "--logit-bias: '7'"},
        {{"run", "--logprobs", "3", "-p", "x"}, "--logprobs: needs --json"},
        {{"run", "a prompt"}, "unexpected argument"},
        {{"embed", "-p", "x", "--pooling", "max"}, "--pooling: 'max' is none of mean, cls, last"},
        {{"embed", "-p", "x", "--embd-normalize", "-2"}, "--embd-normalize: -2"},
        {{"tokenize", "one", "two"}, "two: expected one text"},
        {{"tokenize", "one", "-f", "two"}, "expected one text"},
        {{"apply-template", "--chat-template", "x", "--chat-template-file", "y"}, "not both"},
        {{"apply-template", "r.json"}, "r.json: unexpected argument"},
        {{"info", "a.gguf", "b.gguf"}, "expected one model"},
        {{"bench", "--synthetic", "qwen2-0.5b:q4_0", "-m", "x"}, "not both"},
        {{"bench", "-b", "0"}, "-b: 0 is not from 1"},
        {{"bench", "--mixed", "--mock"}, "expected one of --mixed, --shared-prefix, --offline and --mock"},
        {{"bench", "--mock", "--compare", "x"}, "--compare: not with --mock or --offline"},
        {{"run", "--lora-scaled", "a.gguf"},
         "--lora-scaled: 'a.gguf' is not like adapter.gguf:0.5"},
        {{"run", "--lora-scaled", "a.gguf:nan"}, "--lora-scaled: 'a.gguf:nan' is not like"},
        {{"run", "--lora", "a.gguf,"}, "--lora: expected a file"},
#ifdef NANO_HAVE_SERVER
        {{"serve", "--lora-modules", "x"}, "--lora-modules: 'x' is not like name=adapter.gguf"},
        {{"serve", "--lora-modules", "x=a", "x=b"}, "--lora-modules: 'x' is there twice"},
#endif
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct program_result r = program_run("text", cases[i].args);
        cr_expect_eq(r.out_bytes, 0);
        program_expect_error(&r, 2, cases[i].part);
    }
}

/* The commands of this build. */
static const char *const commands[] = {
    "run",      "chat",       "embed",   "bench", "tokenize", "apply-template",
    "info",     "perplexity", "imatrix", "demo",
#ifdef NANO_HAVE_SERVER
    "serve",
#endif
    "quantize",
};

Test(usage, help_and_version)
{
    struct program_result help = RUN("--help");
    cr_assert_eq(help.status, 0);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct program_result r = RUN(commands[i], "--help");
        cr_assert_eq(r.status, 0);
        cr_assert(strstr(r.out, "Usage: nanovllm"));
        cr_assert(strstr(help.out, commands[i]));
        for (const char *line = r.out; *line; line += strcspn(line, "\n") + 1)
            cr_expect_leq(strcspn(line, "\n"), 80, "%.100s", line);
        program_free(&r);
    }
    program_free(&help);
    struct program_result version = RUN("--version");
    cr_assert_eq(strncmp(version.out, "nanovllm ", 9), 0);
    program_free(&version);
}

/* The manual page with the backslashes of its hyphens removed. */
static char *read_manual(void)
{
    char path[4096];
    const char *srcdir = getenv("srcdir");
    snprintf(path, sizeof path, "%s/docs/nanovllm.1", srcdir ? srcdir : ".");
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    char *text = calloc(1, 1 << 20), *out = text;
    cr_assert_lt(fread(text, 1, (1 << 20) - 1, file), (1 << 20) - 1);
    fclose(file);
    for (const char *in = text; *in; in++)
        if (*in != '\\')
            *out++ = *in;
    *out = '\0';
    return text;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

Test(usage, the_manual_has_every_option)
{
    char *manual = read_manual();
    int num_options = 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct program_result r = RUN(commands[i], "--help");
        for (const char *p = r.out; (p = strstr(p, "  -")) != NULL;) {
            for (p += 2; *p == '-' || *p == ' ' || *p == ',';) { /* all spellings of one line */
                size_t length = 0;
                while (is_name_char(p[length]))
                    length++;
                char name[64];
                if (length > 2 && p[1] == '-') {
                    snprintf(name, sizeof name, "%.*s", (int)length, p);
                    cr_expect(strstr(manual, name), "docs/nanovllm.1 lacks %s of %s", name,
                              commands[i]);
                    num_options++;
                }
                p += length ? length : 1;
                if (*p != ',')
                    break;
                p += 2;
            }
        }
        program_free(&r);
    }
    cr_assert_gt(num_options, 40);
    free(manual);
}

/* ---- run ------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    cr_assert_not_null(text, "no text \"%s\"", key);
    return text;
}

static size_t size_of(const json_t *object, const char *key)
{
    const json_t *array = json_object_get(object, key);
    cr_assert(json_is_array(array), "no list \"%s\"", key);
    return json_array_size(array);
}

static int64_t int_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_integer(value), "no whole number \"%s\"", key);
    return json_integer_value(value);
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_number(value), "no number \"%s\"", key);
    return json_number_value(value);
}

/* {"token_id","logprob","top":[[id, logprob], …]} over the whole vocabulary. */
static void check_distribution(const json_t *entry, size_t vocab_size)
{
    double sum = 0, previous = 0, of_token = NAN;
    const json_t *top = json_object_get(entry, "top");
    cr_assert_eq(json_array_size(top), vocab_size);
    for (size_t k = 0; k < vocab_size; k++) {
        const json_t *pair = json_array_get(top, k);
        double logprob = json_number_value(json_array_get(pair, 1));
        cr_assert_leq(logprob, previous);
        previous = logprob;
        sum += exp(logprob);
        if (json_integer_value(json_array_get(pair, 0)) == int_of(entry, "token_id"))
            of_token = logprob;
    }
    cr_assert_float_eq(sum, 1.0, 1e-4);
    cr_assert_float_eq(of_token, number_of(entry, "logprob"), 0.0);
}

Test(run, json_has_the_documented_form)
{
    struct program_result r = RUN("run", "-p", "Once upon a time", "-n", "4", "--temp", "0",
                                  "--json", "--logprobs", "1024", "--prompt-logprobs", "1024");
    cr_assert_eq(r.status, 0, "%s", r.err);
    json_t *j = program_json(&r, 0);
    cr_assert_str_eq(text_of(j, "prompt"), "Once upon a time");
    cr_assert_str_eq(text_of(j, "finish_reason"), "length");
    cr_assert_eq(size_of(j, "token_ids"), 4);
    cr_assert_gt(strlen(text_of(j, "text")), 4);
    cr_assert_null(json_object_get(j, "index"));
    size_t num_prompt = size_of(j, "prompt_token_ids");
    const json_t *usage = json_object_get(j, "usage");
    cr_assert_eq(int_of(usage, "prompt_tokens"), (int64_t)num_prompt);
    cr_assert_eq(int_of(usage, "completion_tokens"), 4);
    cr_assert_eq(int_of(usage, "cached_tokens"), 0);
    cr_assert_geq(number_of(json_object_get(j, "timing"), "decode_s"), 0);

    const json_t *logprobs = json_object_get(j, "logprobs"),
                 *prompt = json_object_get(j, "prompt_logprobs");
    cr_assert_eq(json_array_size(logprobs), 4);
    cr_assert_eq(json_array_size(prompt), num_prompt);
    cr_assert(json_is_null(json_array_get(prompt, 0)));
    for (size_t i = 0; i < 4; i++) {
        const json_t *entry = json_array_get(logprobs, i);
        check_distribution(entry, 1024);
        cr_assert_eq(int_of(entry, "token_id"),
                     json_integer_value(json_array_get(json_object_get(j, "token_ids"), i)));
        /* greedy: the chosen token is the most likely one */
        cr_assert_eq(int_of(entry, "token_id"),
                     json_integer_value(
                         json_array_get(json_array_get(json_object_get(entry, "top"), 0), 0)));
    }
    for (size_t i = 1; i < num_prompt; i++) {
        check_distribution(json_array_get(prompt, i), 1024);
        cr_assert_eq(int_of(json_array_get(prompt, i), "token_id"),
                     json_integer_value(json_array_get(json_object_get(j, "prompt_token_ids"), i)));
    }
    json_decref(j);
    program_free(&r);
}

Test(run, text_is_the_prompt_and_its_continuation)
{
    struct program_result r = RUN("run", "-p", "Once upon a time", "-n", "24", "-s", "7");
    struct program_result again =
        RUN("run", "--prompt=Once upon a time", "--max-tokens=24", "--seed", "7", "--json");
    struct program_result bare =
        RUN("run", "-pOnce upon a time", "-n24", "-s7", "--no-display-prompt");
    json_t *j = program_json(&again, 0);
    char expected[4096];
    snprintf(expected, sizeof expected, "Once upon a time%s\n", text_of(j, "text"));
    cr_assert_str_eq(r.out, expected);
    cr_assert_str_eq(bare.out, expected + strlen("Once upon a time"));
    cr_assert(strstr(r.err, "tok/s"), "%s", r.err);
    cr_assert_str_eq(again.err, "");
    json_decref(j);
    program_free(&r);
    program_free(&again);
    program_free(&bare);
}

Test(run, proposals_are_counted)
{
    const char *ids = "1,5,6,7,5,6,7,5,6,7,5,6,7"; /* with a bias: the output repeats itself */
    struct program_result r = RUN("run", "--token-ids", ids, "-n", "40", "--logit-bias", "5=100",
                                  "--num-speculative-tokens", "4");
    cr_assert(strstr(r.err, " proposed tokens accepted"), "%s", r.err);
    program_free(&r);
    r = RUN("run", "--token-ids", ids, "-n", "40", "--logit-bias", "5=100");
    cr_assert_not(strstr(r.err, "accepted"), "%s", r.err);
    program_free(&r);
}

/* One object per completion, in the order of the prompts. */
Test(run, several_prompts_are_a_batch)
{
    const char *file = program_file("prompt.txt", "The little cat\n", 15);
    struct program_result r = RUN("run", "-p", "One day", "-f", file, "--token-ids", "1021,473",
                                  "-N", "2", "-n", "5", "--json", "-s", "3");
    static const char *const prompts[] = {"One day",        "One day", "The little cat",
                                          "The little cat", NULL,      NULL};
    cr_assert_eq(r.status, 0, "%s", r.err);
    for (int i = 0; i < 6; i++) {
        json_t *j = program_json(&r, i);
        cr_assert_eq(int_of(j, "index"), i % 2);
        cr_assert_eq(size_of(j, "token_ids"), 5);
        if (prompts[i])
            cr_assert_str_eq(text_of(j, "prompt"), prompts[i]);
        else
            cr_assert_eq(size_of(j, "prompt_token_ids"), 2); /* as they are */
        json_decref(j);
    }
    program_free(&r);
    r = RUN("run", "-p", "One day", "-p", "The little cat", "-n", "5");
    cr_assert(strstr(r.out, "--- prompt 1 (5 tokens, length) ---\nOne day"), "%s", r.out);
    cr_assert(strstr(r.out, "--- prompt 2 (5 tokens, length) ---\nThe little cat"), "%s", r.out);
    cr_assert(strstr(r.err, "2 sequences"), "%s", r.err);
    program_free(&r);
}

Test(run, prompt_from_standard_input)
{
    struct program_result r =
        program_run("Once upon a time\n", (const char *const[]){"run", "-n", "1", "--json", NULL});
    json_t *j = program_json(&r, 0);
    cr_assert_str_eq(text_of(j, "prompt"), "Once upon a time");
    json_decref(j);
    program_free(&r);
}

/* Each option must change what is generated in the way it says. */
Test(run, sampling_options_do_what_they_say)
{
    struct program_result r = RUN("run", "-p", "Once upon a time", "-n", "20", "--temp", "0",
                                  "--json", "--stop", "there");
    json_t *j = program_json(&r, 0);
    cr_assert_str_eq(text_of(j, "finish_reason"), "stop");
    cr_assert_null(strstr(text_of(j, "text"), "there"));
    json_decref(j);
    program_free(&r);

    r = RUN("run", "-p", "Once upon a time", "-n", "3", "--temp", "0", "--json", "--logit-bias",
            "65=1000");
    j = program_json(&r, 0);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(json_integer_value(json_array_get(json_object_get(j, "token_ids"), i)), 65);
    json_decref(j);
    program_free(&r);

    r = RUN("run", "-p", "Once upon a time", "-n", "9", "--temp", "0", "--json", "--logit-bias",
            "65=1000", "--stop-token-ids", "64,65", "--min-tokens", "1");
    j = program_json(&r, 0);
    cr_assert_str_eq(text_of(j, "finish_reason"), "stop");
    cr_assert_eq(size_of(j, "token_ids"), 2);
    json_decref(j);
    program_free(&r);

    r = RUN("run", "-p", "Once upon a time", "-n", "0", "--prompt-logprobs", "0", "--json");
    j = program_json(&r, 0);
    cr_assert_eq(size_of(j, "token_ids"), 0);
    cr_assert_eq(size_of(j, "prompt_logprobs"), size_of(j, "prompt_token_ids"));
    json_decref(j);
    program_free(&r);
}

/* Nothing about how the work is cut or stored changes a token. */
Test(run, engine_options_change_no_token)
{
    static const char *const variants[][3] = {
        {"--max-num-batched-tokens", "1"},
        {"--block-size", "4"},
        {"--threads", "1"},
        {"--threads", "3"},
        {"--no-enable-prefix-caching"},
        {"-c", "64"},
        {"--num-blocks", "200"},
        {"--mem-budget", "200M"},
        {"--num-speculative-tokens", "4"},
        {"--itl-target-ms", "0.01"},
    };
    struct program_result r = RUN("run", "-p", "The sun was warm", "-n", "24", "-s", "5", "--json");
    json_t *plain = program_json(&r, 0);
    program_free(&r);
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        r = RUN("run", "-p", "The sun was warm", "-n", "24", "-s", "5", "--json", variants[i][0],
                variants[i][1]);
        cr_assert_eq(r.status, 0, "%s", r.err);
        json_t *j = program_json(&r, 0);
        cr_assert(json_equal(json_object_get(plain, "token_ids"), json_object_get(j, "token_ids")),
                  "%s", variants[i][0]);
        json_decref(j);
        program_free(&r);
    }
    json_decref(plain);
}

Test(run, odd_prompts_are_valid)
{
    struct program_result r = RUN("run", "-p", "", "-n", "2", "--json"); /* BOS is a prompt */
    json_t *j = program_json(&r, 0);
    cr_assert_eq(size_of(j, "prompt_token_ids"), 1);
    cr_assert_eq(size_of(j, "token_ids"), 2);
    json_decref(j);
    program_free(&r);
    r = RUN("run", "-p", "caf\xC3\xA9 \xFF\xC3 end", "-n", "2",
            "--json"); /* not UTF-8: taken as bytes */
    j = program_json(&r, 0);
    cr_assert_str_eq(text_of(j, "prompt"), "caf\xC3\xA9 \xEF\xBF\xBD\xEF\xBF\xBD end");
    cr_assert_eq(r.status, 0, "%s", r.err);
    json_decref(j);
    program_free(&r);
}

Test(run, refused_requests_exit_with_1)
{
    char *text = malloc(40001);
    for (int i = 0; i < 40000; i++)
        text[i] = i % 5 ? (char)('a' + i % 26) : ' ';
    text[40000] = '\0';
    const char *file = program_file("long.txt", text, 40000);
    struct program_result r = RUN("run", "-f", file);
    program_expect_error(&r, 1, "max_model_len 1024");
    r = RUN("run", "-p", "a few words more than four", "-c", "4");
    program_expect_error(&r, 1, "max_model_len 4");
    r = RUN("run", "-p", "", "--no-add-special");
    program_expect_error(&r, 1, "prompt is empty");
    r = RUN("run", "--token-ids", "5000");
    program_expect_error(&r, 1, "token id 5000");
    r = RUN("run", "-p", "x", "--runner", "abacus");
    program_expect_error(&r, 1, "abacus");
    r = RUN("run", "-p", "x", "--mem-budget", "1M");
    program_expect_error(&r, 1, "memory budget 1.0 MiB is too small");
    r = RUN("run", "-f", "/nonexistent/prompt.txt");
    program_expect_error(&r, 1, "/nonexistent/prompt.txt");
    r = RUN("run", "-f", "/tmp");
    program_expect_error(&r, 1, "/tmp");
    free(text);
}

Test(run, a_full_disk_is_reported)
{
    int saved = dup(STDOUT_FILENO);
    char *const argv[] = {getenv("NANOVLLM_PROGRAM"), "run", "-p", "x", "-n", "2", "--json", NULL};
    FILE *err = tmpfile();
    pid_t pid = fork();
    if (pid == 0) {
        dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 1);
    char line[512] = "";
    rewind(err);
    cr_assert_not_null(fgets(line, sizeof line, err));
    cr_assert(strstr(line, "nanovllm: standard output: "), "%s", line);
    fclose(err);
    close(saved);
}

Test(run, interrupt_prints_what_there_is)
{
    int ends[2];
    char *const argv[] = {getenv("NANOVLLM_PROGRAM"), "run", "-p", "Once", "--ignore-eos",
                          "--no-display-prompt",      NULL};
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (!freopen("/dev/null", "w", stderr))
            _exit(126);
        execv(argv[0], argv);
        _exit(127);
    }
    close(ends[1]);
    char buffer[65536];
    size_t num_bytes = 0;
    ssize_t got;
    while ((got = read(ends[0], buffer + num_bytes, sizeof buffer - num_bytes)) > 0) {
        num_bytes += (size_t)got;
        if (num_bytes == (size_t)got) /* the first text: the engine runs */
            kill(pid, SIGINT);
    }
    int status;
    waitpid(pid, &status, 0);
    close(ends[0]);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 130);
    cr_assert_gt(num_bytes, 1);
    cr_assert_eq(buffer[num_bytes - 1], '\n');
}

/* ---- tokenize -------------------------------------------------------------------------------- */

Test(tokenize, there_and_back_byte_for_byte)
{
    static const char text[] =
        "Once upon\ta time,\n\n  there was \xC3\xA9\xF0\x9F\x98\x80 <|im_start|>\n";
    const char *file = program_file("text.txt", text, sizeof text - 1);
    struct program_result r = RUN("tokenize", "-f", file, "--no-add-special", "--no-parse-special");
    cr_assert_eq(r.status, 0, "%s", r.err);
    struct program_result back =
        program_run(r.out, (const char *const[]){"tokenize", "--detokenize", NULL});
    cr_assert_eq(back.out_bytes, sizeof text - 1);
    cr_assert_str_eq(back.out, text);
    program_free(&r);
    program_free(&back);
}

Test(tokenize, special_tokens_and_json)
{
    struct program_result r = RUN("tokenize", "--json", "a<|im_start|>");
    json_t *with = program_json(&r, 0);
    program_free(&r);
    r = RUN("tokenize", "--json", "--no-parse-special", "--no-add-special", "-p", "a<|im_start|>");
    json_t *without = program_json(&r, 0);
    program_free(&r);
    cr_assert_eq(size_of(with, "tokens"), 3); /* BOS, a, the control token */
    cr_assert_gt(size_of(without, "tokens"), 3);
    json_decref(with);
    json_decref(without);
    r = RUN("tokenize", "--pieces", "a\nb", "--no-add-special");
    cr_assert(strstr(r.out, "  \"\\n\"\n"), "%s", r.out);
    program_free(&r);
    r = RUN("tokenize", "--detokenize", "--json", "[64, 65]");
    json_t *text = program_json(&r, 0);
    cr_assert_str_eq(text_of(text, "text"), "ab");
    json_decref(text);
    program_free(&r);
    r = RUN("tokenize", "--detokenize", "12 apples");
    program_expect_error(&r, 1, "'apples'");
}

/* ---- perplexity ------------------------------------------------------------------------------ */

/* Two chunks scored by hand from log-probabilities that `run` gives. */
Test(perplexity, is_that_of_the_second_half_of_each_chunk)
{
    static const char text[] =
        "Once upon a time, there was a little girl named Lily. She loved to play in the garden. "
        "One day, she found a red ball and went to the river with her friend. The sun was warm.";
    const char *file = program_file("text.txt", text, sizeof text - 1);
    struct program_result r = RUN("tokenize", "-f", file, "--json");
    json_t *tokens = program_json(&r, 0);
    program_free(&r);
    cr_assert_geq(size_of(tokens, "tokens"), 32);
    double sum = 0;
    for (int chunk = 0; chunk < 2; chunk++) {
        char ids[512] = "1021"; /* BOS in place of the chunk's first token */
        for (size_t i = 1; i < 16; i++)
            snprintf(ids + strlen(ids), sizeof ids - strlen(ids), ",%d",
                     (int)json_integer_value(json_array_get(json_object_get(tokens, "tokens"),
                                                            (size_t)chunk * 16 + i)));
        r = RUN("run", "--token-ids", ids, "-n", "0", "--prompt-logprobs", "0", "--json");
        json_t *j = program_json(&r, 0);
        for (size_t i = 9; i < 16; i++)
            sum -= number_of(json_array_get(json_object_get(j, "prompt_logprobs"), i), "logprob");
        json_decref(j);
        program_free(&r);
    }
    r = RUN("perplexity", "-f", file, "-c", "16", "--chunks", "2", "--json");
    json_t *j = program_json(&r, 0);
    cr_assert_eq(int_of(j, "num_tokens"), 14);
    cr_assert_float_eq(number_of(j, "perplexity"), exp(sum / 14), 1e-5);
    cr_assert_gt(number_of(j, "stderr"), 0);
    json_decref(j);
    json_decref(tokens);
    program_free(&r);
    r = RUN("perplexity", "-f", file, "-c", "16", "--chunks", "2");
    cr_assert_eq(strncmp(r.out, "[1]", 3), 0, "%s", r.out);
    cr_assert(strstr(r.out, "14 tokens scored in 2 chunks of 16"), "%s", r.out);
    program_free(&r);
    r = RUN("perplexity", "-f", file, "-c", "512");
    program_expect_error(&r, 1, "expected at least 512");
}

/* ---- embed ----------------------------------------------------------------------------------- */

static void read_embedding(const json_t *answer, size_t index, double *out, size_t size)
{
    const json_t *one = json_array_get(json_object_get(answer, "data"), index);
    const json_t *values = json_object_get(one, "embedding");
    cr_assert_eq(int_of(one, "index"), (int64_t)index);
    cr_assert_eq(json_array_size(values), size);
    for (size_t i = 0; i < size; i++)
        out[i] = json_number_value(json_array_get(values, i));
}

Test(embed, options_files_and_lines_are_texts)
{
    enum { SIZE = 128 };
    static const char lines[] = "Once upon a time\nthe dog\nOnce upon a time\n";
    const char *file = program_file("text.txt", "the dog\n", 8);
    struct program_result given = RUN("embed", "-p", "Once upon a time", "-f", file, "--json");
    struct program_result piped =
        program_run(lines, (const char *const[]){"embed", "--json", "-b", "2", NULL});
    cr_assert_eq(given.status, 0, "%s", given.err);
    cr_assert_eq(piped.status, 0, "%s", piped.err);
    json_t *a = program_json(&given, 0), *b = program_json(&piped, 0);
    double first[SIZE], second[SIZE], other[SIZE], length = 0;
    cr_assert_str_eq(text_of(a, "object"), "list");
    cr_assert_eq(size_of(a, "data"), 2);
    cr_assert_eq(size_of(b, "data"), 3);
    cr_assert_gt(int_of(json_object_get(b, "usage"), "prompt_tokens"),
                 int_of(json_object_get(a, "usage"), "prompt_tokens"));
    read_embedding(a, 0, first, SIZE);
    read_embedding(a, 1, second, SIZE);
    for (size_t i = 0; i < 3; i++) {
        read_embedding(b, i, other, SIZE);
        cr_assert_eq(memcmp(other, i == 1 ? second : first, sizeof other), 0, "line %zu", i + 1);
    }
    for (int i = 0; i < SIZE; i++)
        length += first[i] * first[i];
    cr_assert_float_eq(length, 1, 1e-5);
    json_decref(a);
    json_decref(b);
    program_free(&given);
    program_free(&piped);
}

Test(embed, people_see_ends_and_similarities)
{
    struct program_result r =
        RUN("embed", "-p", "Once", "-p", "Once", "-p", "the dog", "--pooling", "mean");
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert(strstr(r.out, "text 3 (") && strstr(r.out, "Similarity"), "%s", r.out);
    cr_assert(strstr(r.out, "\n    1  1.000  1.000 "), "%s", r.out);
    cr_assert(strstr(r.err, "tok/s"), "%s", r.err);
    program_free(&r);
    r = RUN("embed");
    program_expect_error(&r, 2, "no text");
    r = RUN("embed", "-p", "Once", "--token-ids", "5,99999");
    program_expect_error(&r, 1, "99999");
    r = RUN("embed", "-m", "missing.gguf", "-p", "x");
    program_expect_error(&r, 1, "missing.gguf");
    r = RUN("embed", "-p", "Once upon a time", "-c", "2");
    program_expect_error(&r, 1, "expected at most 2");
}

/* ---- info, bench, demo ----------------------------------------------------------------------- */

Test(info, describes_the_model)
{
    struct program_result r = RUN("info", "--json", "--program", "--max-num-seqs", "4", "-c", "256",
                                  "--mem-budget", "256M");
    cr_assert_eq(r.status, 0, "%s", r.err);
    json_t *j = program_json(&r, 0);
    cr_assert_str_eq(text_of(j, "architecture"), "llama");
    cr_assert_str_eq(text_of(j, "quantization"), "Q8_0");
    cr_assert_eq(int_of(j, "vocab_size"), 1024);
    cr_assert(strstr(text_of(j, "program"), "embed"));
    uint64_t weight_bytes = 0;
    const json_t *tensors = json_object_get(j, "tensors");
    for (size_t i = 0; i < json_array_size(tensors); i++)
        weight_bytes += (uint64_t)int_of(json_array_get(tensors, i), "num_bytes");
    cr_assert_eq((uint64_t)int_of(j, "weight_bytes"), weight_bytes);
    const json_t *plan = json_object_get(j, "memory_plan");
    cr_assert_eq(int_of(plan, "total_bytes"),
                 int_of(plan, "weight_bytes") + int_of(plan, "mapped_bytes") +
                     int_of(plan, "kv_bytes") + int_of(plan, "activation_bytes") +
                     int_of(plan, "engine_bytes"));
    cr_assert_leq(int_of(plan, "total_bytes"), 256 << 20);
    cr_assert_eq(int_of(plan, "max_model_len"), 256);
    json_decref(j);
    program_free(&r);

    r = RUN("info", program_model(), "--program");
    static const char *const parts[] = {
        "llama",       "Q8_0",   "general.architecture", "token_embd.weight", "1024",
        "Memory plan", "Program"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cr_assert(strstr(r.out, parts[i]), "%s", parts[i]);
    program_free(&r);

    r = RUN("info", "--mem-budget", "1M"); /* the plan is printed, then the refusal */
    cr_assert_eq(r.status, 1);
    cr_assert(strstr(r.out, "Memory plan"));
    cr_assert(strstr(r.err, "too small"));
    program_free(&r);
}

Test(info, sizes_are_powers_of_1024)
{
    static const struct {
        const char *text;
        int64_t num_bytes;
    } cases[] = {{"300M", 300 << 20},
                 {"1.5GiB", 3 << 29},
                 {"200000k", 200000 << 10},
                 {"400000000", 400000000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct program_result r = RUN("info", "--json", "--mem-budget", cases[i].text);
        json_t *j = program_json(&r, 0);
        cr_assert_eq(int_of(json_object_get(j, "memory_plan"), "budget_bytes"), cases[i].num_bytes,
                     "%s", cases[i].text);
        json_decref(j);
        program_free(&r);
    }
}

Test(info, kv_of_8_bits_is_half_as_large)
{
    static const char *const types[] = {"f16", "fp8", "FP8_E4M3"};
    json_int_t num_bytes[3];
    for (int i = 0; i < 3; i++) {
        struct program_result r =
            RUN("info", "--json", "--num-blocks", "20", "--kv-cache-dtype", types[i]);
        json_t *j = program_json(&r, 0);
        num_bytes[i] = int_of(json_object_get(j, "memory_plan"), "kv_bytes");
        json_decref(j);
        program_free(&r);
    }
    cr_assert_eq(2 * num_bytes[1], num_bytes[0]);
    cr_assert_eq(num_bytes[2], num_bytes[1]);
}

Test(demo, tells_the_whole_story)
{
    static const char *const parts[] = {"B shares 2 blocks", "prefill and decode in one step",
                                        "C is preempted",    "C is back",
                                        "C is finished",     "2 shared",
                                        "1 preemption",      "14 of 14 blocks used"};
    struct program_result r = RUN("demo"), again = RUN("demo", "--threads", "1");
    cr_assert_eq(r.status, 0, "%s", r.err);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cr_expect(strstr(r.out, parts[i]), "no '%s' in\n%s", parts[i], r.out);
    for (const char *line = r.out; *line; line += strcspn(line, "\n") + 1)
        cr_expect_leq(strcspn(line, "\n"), 80, "%.100s", line);
    cr_assert_str_eq(r.out, again.out);
    program_free(&r);
    program_free(&again);
}
