/* Chat templates: requests, what a template can do, files, answers split into their parts. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "leak_check.h"
#include "nanovllm.h"
#include "tests/program.h"

static struct nano_error err;

static const char chatml[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls %}{{ c.function.arguments.q }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if think %}<think>\n{% endif %}{% "
    "endif %}"
    "{% if false %}<think></think>{% endif %}";

static nano_chat_template *create(const char *source)
{
    nano_chat_template *t;
    cr_assert_eq(nano_chat_template_create(&t, source, strlen(source), &err), NANO_OK, "%s",
                 err.message);
    return t;
}

static char *render(const nano_chat_template *t, const char *request,
                    const struct nano_chat_render_params *params)
{
    char *prompt = NULL;
    size_t num_bytes;
    err = (struct nano_error){0};
    nano_chat_template_render(t, request, strlen(request), params, &prompt, &num_bytes, &err);
    return prompt;
}

static void expect(const nano_chat_template *t, const char *request,
                   const struct nano_chat_render_params *params, const char *expected)
{
    char *prompt = render(t, request, params);
    cr_expect(prompt && strcmp(prompt, expected) == 0, "%s: %s", request,
              prompt ? prompt : err.message);
    nano_free(prompt);
}

/* ---- Requests -------------------------------------------------------------------------------- */

Test(chat, variables_of_a_request)
{
    nano_chat_template *t =
        create("{{ bos_token }}|{{ eos_token is defined }}|{{ x }}|{{ y }}|{{ tools }}|"
               "{{ add_generation_prompt }}|{{ messages | length }}");
    struct nano_chat_render_params params = nano_chat_render_params_default();
    expect(t, "{\"messages\":[]}", NULL, "|False|||None|True|0");
    params.bos_token = "<s>";
    params.add_generation_prompt = false;
    params.kwargs_json = "{\"x\":1,\"y\":2}";
    expect(t, "{\"messages\":[{}],\"chat_template_kwargs\":{\"y\":3},\"model\":\"m\"}", &params,
           "<s>|False|1|3|None|False|1");
    expect(t, "{\"messages\":[],\"add_generation_prompt\":true,\"tools\":[1]}", &params,
           "<s>|False|1|2|[1]|True|0");
    nano_chat_template_destroy(t);
}

Test(chat, bad_requests)
{
    static const struct {
        const char *request, *part;
    } cases[] = {
        {"", "JSON: unexpected end at byte 0"},
        {"[]", "no JSON object"},
        {"{\"messages\":5}", "messages: expected an array"},
        {"{\"messages\":[],\"tools\":{}}", "tools: expected an array"},
        {"{\"messages\":[],\"add_generation_prompt\":1}", "add_generation_prompt: expected true"},
        {"{\"messages\":[],\"chat_template_kwargs\":[]}",
         "chat_template_kwargs: expected an object"},
        {"{\"messages\":[]", "JSON: expected ',' or '}'"},
        {"{\"a\":01}", "JSON: unexpected character"},
        {"{\"a\":\"\\x\"}", "JSON: unknown escape"},
        {"{\"a\":\"\n\"}", "JSON: control character"},
        {"{\"a\":1}}", "JSON: unexpected text behind"},
        {"{\"a\":\"\xFF\"}", "JSON: invalid UTF-8 at byte 6"},
        {"{\"a\":[1,]}", "JSON: unexpected character"},
    };
    nano_chat_template *t = create(chatml);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *prompt = render(t, cases[i].request, NULL);
        cr_expect(!prompt && strstr(err.message, cases[i].part), "%s: %s", cases[i].request,
                  err.message);
        cr_expect_eq(err.status, NANO_ERR_INVALID_ARGUMENT);
    }
    static char deep[100000];
    memset(deep, '[', sizeof deep - 1);
    cr_expect_null(render(t, deep, NULL));
    cr_expect(strstr(err.message, "nested too deeply"), "%s", err.message);
    struct nano_chat_render_params params = nano_chat_render_params_default();
    params.max_output_bytes = 20;
    cr_expect_null(
        render(t, "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}", &params));
    cr_expect(strstr(err.message, "longer than 20 bytes"), "%s", err.message);
    params = nano_chat_render_params_default();
    params.max_steps = 10;
    cr_expect_null(
        render(t, "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}", &params));
    params.max_steps = 0;
    params.now = "yesterday";
    cr_expect_null(render(t, "{\"messages\":[]}", &params));
    cr_expect(strstr(err.message, "YYYY-MM-DD"), "%s", err.message);
    nano_chat_template_destroy(t);
}

Test(chat, messages_are_normalized)
{
    static const char parts[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"b\"}],\"tool_calls\":[{\"function\":{\"arguments\":"
        "\"{\\\"q\\\": 7}\"}}]}],\"add_generation_prompt\":false}";
    static const char image[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}";
    struct nano_chat_render_params params = nano_chat_render_params_default();
    nano_chat_template *t = create(chatml);
    params.normalize_messages = true;
    expect(t, parts, &params, "<|im_start|>user\na\nb7<|im_end|>\n");
    cr_expect_null(render(t, image, &params));
    cr_expect(strstr(err.message, "messages[0].content[0]: parts of type 'image_url'"), "%s",
              err.message);
    cr_expect_null(render(t, "{\"messages\":[7]}", &params));
    cr_expect(strstr(err.message, "messages[0]: expected an object"), "%s", err.message);
    nano_chat_template_destroy(t);
    t = create("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
               "{% for p in m.content %}<{{ p.text }}>{% endfor %}{% endif %}{% endfor %}");
    expect(t, parts, &params, "<a><b>");
    expect(t, "{\"messages\":[{\"content\":\"plain\"}]}", &params, "plain");
    nano_chat_template_destroy(t);
}

/* ---- What a template can do ------------------------------------------------------------------ */

Test(chat, info)
{
    struct nano_chat_template_info info;
    nano_chat_template *t = create(chatml);
    nano_chat_template_get_info(t, &info);
    cr_expect(info.takes_system && info.takes_tools && !info.takes_content_parts);
    cr_expect_str_eq(info.reasoning_start, "<think>");
    cr_expect_str_eq(info.reasoning_end, "</think>");
    nano_chat_template_destroy(t);
    t = create(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "{{ m.content[0].text if m.content is not string else m.content }}{% endfor %}");
    nano_chat_template_get_info(t, &info);
    cr_expect(!info.takes_system && !info.takes_tools && info.takes_content_parts);
    cr_expect_null(info.reasoning_start);
    nano_chat_template_destroy(t);
}

/* ---- Files ----------------------------------------------------------------------------------- */

static nano_chat_template *open_text(const char *name, const char *text)
{
    nano_chat_template *t;
    nano_chat_template_open(&t, program_file(name, text, strlen(text)), &err);
    return t;
}

Test(chat, files)
{
    nano_chat_template *t = open_text("t.jinja", "{{ messages | length }}");
    expect(t, "{\"messages\":[]}", NULL, "0");
    nano_chat_template_destroy(t);
    t = open_text("tokenizer_config.json", "{\n \"bos_token\": 1, \"chat_template\": \"one\"}");
    expect(t, "{}", NULL, "one");
    nano_chat_template_destroy(t);
    t = open_text("tokenizer_config.json",
                  "{\"chat_template\": [{\"name\": \"default\", \"template\": \"plain\"},"
                  "{\"name\": \"tool_use\", \"template\": \"{{ tools }}\"}]}");
    expect(t, "{\"messages\":[]}", NULL, "plain");
    expect(t, "{\"messages\":[],\"tools\":[]}", NULL, "plain");
    expect(t, "{\"messages\":[],\"tools\":[1]}", NULL, "[1]");
    nano_chat_template_destroy(t);
    cr_expect_null(open_text("tokenizer_config.json", "{\"bos_token\": \"<s>\"}"));
    cr_expect(strstr(err.message, "tokenizer_config.json: expected a \"chat_template\""), "%s",
              err.message);
    cr_expect_null(open_text("t.jinja", "a\n{{ ("));
    cr_expect(strstr(err.message, "t.jinja: chat template: line 2: "), "%s", err.message);
    cr_expect_neq(nano_chat_template_open(&t, "/nowhere/at/all", &err), NANO_OK);
    cr_expect_null(t);
    cr_expect_eq(nano_chat_template_create(&t, "\xC3(", 2, &err), NANO_ERR_FORMAT);
}

/* ---- Answers --------------------------------------------------------------------------------- */

struct answer {
    char reasoning[200], content[200];
};

static struct answer split(const nano_chat_template *t, const char *prompt, const char *text,
                           size_t first, size_t step)
{
    struct answer answer = {"", ""};
    nano_chat_parser *parser;
    size_t num_bytes = strlen(text), at = 0, next = first;
    cr_assert_eq(nano_chat_parser_create(&parser, t, prompt, strlen(prompt), &err), NANO_OK);
    for (bool is_last = false; !is_last; at = next, next = at + step) {
        struct nano_chat_delta delta;
        next = next < num_bytes ? next : num_bytes;
        is_last = next == num_bytes;
        cr_assert_eq(nano_chat_parser_push(parser, text + at, next - at, is_last, &delta, &err),
                     NANO_OK);
        strncat(answer.reasoning, delta.reasoning, delta.reasoning_bytes);
        strncat(answer.content, delta.content, delta.content_bytes);
    }
    nano_chat_parser_destroy(parser);
    return answer;
}

Test(chat, answers_cut_anywhere)
{
    static const char open[] = "<|im_start|>assistant\n<think>\n",
                      closed[] = "<|im_start|>assistant\n";
    static const struct {
        const char *prompt, *text, *reasoning, *content;
    } cases[] = {
        {closed, "<think>\nwhy not\n</think>\n\nBecause.", "why not", "Because."},
        {closed, "\n<think>a < b </thin k</think>c", "a < b </thin k", "c"},
        {closed, "No tags at all.", "", "No tags at all."},
        {closed, "<thin air", "", "<thin air"},
        {closed, "Look: <think>x</think>", "", "Look: <think>x</think>"},
        {closed, "<think></think>y\n", "", "y\n"},
        {closed, "<think>never closed </th", "never closed </th", ""},
        {closed, "", "", ""},
        {open, "hm\n\nhm\n</think>\n\nyes </think>", "hm\n\nhm", "yes </think>"},
        {open, "cut off", "cut off", ""},
        {"<think>\n\n</think>\n\n", "direct", "", "direct"},
    };
    nano_chat_template *t = create(chatml), *plain = create("x");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t num_bytes = strlen(cases[i].text);
        for (size_t at = 0; at <= num_bytes + 1; at++) { /* beyond the end: byte by byte */
            struct answer a = at > num_bytes
                                  ? split(t, cases[i].prompt, cases[i].text, 1, 1)
                                  : split(t, cases[i].prompt, cases[i].text, at, num_bytes);
            cr_expect_str_eq(a.reasoning, cases[i].reasoning, "%s cut at %zu", cases[i].text, at);
            cr_expect_str_eq(a.content, cases[i].content, "%s cut at %zu", cases[i].text, at);
        }
        struct answer a = split(plain, cases[i].prompt, cases[i].text, 1, 1);
        cr_expect_str_eq(a.content, cases[i].text);
    }
    nano_chat_template_destroy(t);
    nano_chat_template_destroy(plain);
}

/* ---- Threads and memory ---------------------------------------------------------------------- */

static const char conversation[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"\xC3\xA9\"}]}";

static void *render_often(void *arg)
{
    for (int i = 0; i < 200; i++)
        expect(arg, conversation, NULL,
               "<|im_start|>user\n\xC3\xA9<|im_end|>\n<|im_start|>assistant\n");
    return NULL;
}

Test(chat, many_threads_render_one_template)
{
    pthread_t threads[4];
    nano_chat_template *t = create(chatml);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, render_often, t), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    nano_chat_template_destroy(t);
}

/* Everything once, with the n-th allocation failing. */
static enum nano_status use_everything(void)
{
    nano_chat_template *t = NULL;
    nano_chat_parser *parser = NULL;
    struct nano_chat_delta delta;
    char *prompt = NULL;
    size_t num_bytes;
    enum nano_status status = nano_chat_template_create(&t, chatml, strlen(chatml), &err);
    if (status == NANO_OK)
        status = nano_chat_template_render(t, conversation, strlen(conversation), NULL, &prompt,
                                           &num_bytes, &err);
    if (status == NANO_OK)
        status = nano_chat_parser_create(&parser, t, prompt, num_bytes, &err);
    if (status == NANO_OK)
        status = nano_chat_parser_push(parser, "<think>a</think>b", 17, true, &delta, &err);
    nano_chat_parser_destroy(parser);
    nano_chat_template_destroy(t);
    nano_free(prompt);
    return status;
}

Test(chat, allocations_fail)
{
    uint64_t n = 1;
    for (;; n++) {
        nano_mem_fail_after(n);
        enum nano_status status = use_everything();
        nano_mem_fail_after(0);
        if (status == NANO_OK)
            break;
        cr_assert_eq(status, NANO_ERR_NO_MEMORY, "allocation %d: %s", (int)n, err.message);
    }
    cr_assert_gt(n, 10);
    cr_assert_not(leak_check_found());
}

/* ---- The command ----------------------------------------------------------------------------- */

static const char request_lines[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n"
                                    "\n{broken\n"
                                    "{\"messages\":[],\"add_generation_prompt\":false}";

static void expect_member(const struct program_result *r, int line, const char *key,
                          const char *expected)
{
    json_t *json = program_json(r, line);
    const char *text = json_string_value(json_object_get(json, key));
    cr_expect(text && strcmp(text, expected) == 0, "line %d: %s", line, r->out);
    json_decref(json);
}

static const char simple[] =
    "{% for m in messages %}<{{ m.content }}>{% endfor %}{{ bos_token }}{{ k }}"
    "{% if add_generation_prompt %}:{% endif %}";

Test(apply_template, text)
{
    static const char pretty[] = "{\n \"messages\": [\n  {\"content\": \"a\\u00e9\"}\n ]\n}\n";
    const char *file = program_file("pretty.json", pretty, strlen(pretty));
    struct program_result r =
        RUN("apply-template", "--chat-template", simple, "--bos-token", "B", "-f", file);
    cr_expect_str_eq(r.out, "<a\xC3\xA9>B:");
    cr_expect_eq(r.status, 0);
    program_free(&r);
    r = program_run(pretty, (const char *const[]){"apply-template", "--chat-template", simple,
                                                  "--json", "--no-add-generation-prompt",
                                                  "--chat-template-kwargs", "{\"k\":5}", NULL});
    expect_member(&r, 0, "rendered", "<a\xC3\xA9>5");
    program_free(&r);
}

Test(apply_template, lines)
{
    struct program_result r = RUN("apply-template", "--chat-template", simple, "-f",
                                  program_file("r.jsonl", request_lines, strlen(request_lines)));
    cr_expect_eq(r.status, 0);
    expect_member(&r, 0, "rendered", "<a>:");
    expect_member(&r, 1, "error", "JSON: expected a string as key at byte 1");
    expect_member(&r, 2, "rendered", "");
    program_free(&r);
    r = program_run(request_lines, (const char *const[]){"apply-template", "--chat-template",
                                                         simple, "--json", NULL});
    expect_member(&r, 2, "rendered", "");
    program_free(&r);
}

Test(apply_template, errors)
{
    static const char request[] = "{\"messages\":[]}";
    struct program_result r =
        program_run(request, (const char *const[]){"apply-template", "--chat-template",
                                                   "{{ raise_exception('not so') }}", NULL});
    program_expect_error(&r, 1, "nanovllm: not so");
    program_free(&r);
    r = program_run(request, (const char *const[]){"apply-template", "--json", "--chat-template",
                                                   "{{ raise_exception('not so') }}", NULL});
    cr_expect_eq(r.status, 1);
    expect_member(&r, 0, "error", "not so");
    program_free(&r);
    r = program_run(request,
                    (const char *const[]){"apply-template", "--chat-template", "{{", NULL});
    program_expect_error(&r, 1, "line 1");
    program_free(&r);
}

/* The built-in model's template and tokens are those of ChatML. */
Test(apply_template, model)
{
    static const char request[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    struct program_result r =
        program_run(request, (const char *const[]){"apply-template", "-m", program_model(), NULL});
    cr_expect(strstr(r.out, "hi"), "%s%s", r.out, r.err);
    program_free(&r);
}
