/* Chat templates: the language. Each snippet says what Python and Jinja2 make of it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "nanovllm.h"

#define CONTEXT                                                                               \
    "{\"chat_template_kwargs\":{\"s\":\"Straw berry\",\"n\":3,\"f\":2.5,\"nil\":null,"        \
    "\"l\":[3,1,2],\"d\":{\"b\":1,\"a\":[true,null]},\"big\":123456789012345678901234567890," \
    "\"people\":[{\"name\":\"Zoe\",\"age\":30},{\"name\":\"adam\",\"age\":25},"               \
    "{\"name\":\"Bo\",\"age\":30}],\"u\":\"\\u00e9\\ud83d\\ude42x\",\"items\":{\"items\":7}}}"

static struct nano_error err;

/* Renders; *prompt NULL: err has the reason. */
static char *render(const char *source, size_t *num_bytes)
{
    nano_chat_template *chat_template;
    struct nano_chat_render_params params = nano_chat_render_params_default();
    char *prompt = NULL;
    params.now = "2024-02-29 15:04:05";
    err = (struct nano_error){0};
    if (nano_chat_template_create(&chat_template, source, strlen(source), &err) == NANO_OK)
        nano_chat_template_render(chat_template, CONTEXT, strlen(CONTEXT), &params, &prompt,
                                  num_bytes, &err);
    nano_chat_template_destroy(chat_template);
    return prompt;
}

struct snippet {
    const char *source, *expected;
};

static void check(const struct snippet *snippets, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        size_t num_bytes = 0;
        char *prompt = render(snippets[i].source, &num_bytes);
        cr_expect(prompt && strcmp(prompt, snippets[i].expected) == 0 &&
                      num_bytes == strlen(snippets[i].expected),
                  "%s\n  gives    %s\n  expected %s", snippets[i].source,
                  prompt ? prompt : err.message, snippets[i].expected);
        nano_free(prompt);
    }
}
#define CHECK(table) check(table, sizeof(table) / sizeof *(table))

Test(jinja, white_space)
{
    static const struct snippet snippets[] = {
        {"  {% if true %}\n a\n  {%- endif %}\nb\n", " ab"},
        {"a\r\n{#- note -#}\r\n b\n\n", "ab\n"},
        {"x  {%+ if true +%}\ny{% endif %}", "x  \ny"},
        {"{% raw %}{{ x }}{% endraw %}|{{ '{%' }}", "{{ x }}|{%"},
        {"{{- 1 -}}  {{ - 2 }}", "1-2"},
        {"\xE3\x80\x80{%- set x = 1 %}\n\xC2\xA0{{- x }}", "1"},
    };
    CHECK(snippets);
}

Test(jinja, values_print_as_in_python)
{
    static const struct snippet snippets[] = {
        {"{{ d }} {{ nil }} {{ f }} {{ big }}",
         "{'b': 1, 'a': [True, None]} None 2.5 123456789012345678901234567890"},
        {"{{ ['it\\'s', \"q\\\"\", '\\n\\x00\\u200b'] }}", "[\"it's\", 'q\"', '\\n\\x00\\u200b']"},
        {"{{ (1,) }} {{ () }} {{ 1e16 }} {{ 1e-5 }} {{ 100.0 }} {{ 0.1 + 0.2 }}",
         "(1,) () 1e+16 1e-05 100.0 0.30000000000000004"},
        {"{{ d.items() }} {{ range(1, 7, 2) }}",
         "dict_items([('b', 1), ('a', [True, None])]) range(1, 7, 2)"},
        {"{{ {1: 'a', true: 'b', 1.0: 'c'} }} {{ undefined_thing }}|", "{1: 'c'} |"},
    };
    CHECK(snippets);
}

Test(jinja, operators)
{
    static const struct snippet snippets[] = {
        {"{{ 7 // -2 }} {{ -7 % 3 }} {{ 7.5 % -2 }} {{ 2 ** -1 }} {{ 7 / 2 }}",
         "-4 2 -0.5 0.5 3.5"},
        {"{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ '1' + 2 ~ 3 }}", "64 4 123"},
        {"{{ 9223372036854775807 + 1 }} {{ 2 ** 70 }} {{ big - big }} {{ -big * 10 }}",
         "9223372036854775808 1180591620717411303424 0 -1234567890123456789012345678900"},
        {"{{ 1 < 2 < 3 }} {{ 3 > 2 == true }} {{ [1, 2] < [1, 3] }} {{ 'a' not in 'bcd' }}",
         "True False True True"},
        {"{{ not 0 and 'x' or 'y' }} {{ 'a' if false }}|{{ 1 if 0 else 2 if 0 else 3 }}", "x |3"},
        {"{{ '%s-%03d-%.2f-%r-%%' % ('a', 5, 1.005, 'q') }} {{ '%(k)s' % {'k': 1} }}",
         "a-005-1.00-'q'-% 1"},
        {"{{ l[::-1] }} {{ u[1] }}{{ u[-1:] }} {{ l[5:] }} {{ s[2:4] }} {{ range(9)[2::3] | list "
         "}}",
         "[2, 1, 3] \xF0\x9F\x99\x82x [] ra [2, 5, 8]"},
        {"{{ 1 == 1.0 == true }} {{ 1 is sameas true }} {{ [1] * 2 + [nil] }}",
         "True False [1, 1, None]"},
    };
    CHECK(snippets);
}

Test(jinja, statements)
{
    static const struct snippet snippets[] = {
        {"{% for i in l if i != 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }} {% else %}-"
         "{% endfor %}",
         "1/2:3 2/2:2 "},
        {"{% for k, v in d | dictsort %}{{ k }}{{ loop.revindex0 }}{{ loop.cycle('x', 'y') }}"
         "{% endfor %}",
         "a1xb0y"},
        {"{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i > 3 %}{% break %}{% endif "
         "%}"
         "{{ i }}{% endfor %}",
         "023"},
        {"{% set x = 1 %}{% for i in l %}{% set x = 9 %}{% endfor %}{{ x }}", "1"},
        {"{% set ns = namespace(t=0) %}{% for i in l %}{% set ns.t = ns.t + i %}{% endfor %}"
         "{{ ns.t }}",
         "6"},
        {"{% set a, b = 1, [2, 3] %}{{ a }}{{ b[1] }}{% set t %}<{{ a }}>{% endset %}{{ t }}",
         "13<1>"},
        {"{% macro m(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}"
         "{{ m(1) }} {{ m(1, 2, 3, k=4) }}",
         "11(){} 12(3,){'k': 4}"},
        {"{% macro m() %}[{{ caller('x') }}]{% endmacro %}{% call(v) m() %}{{ v }}{{ n }}{% "
         "endcall %}",
         "[x3]"},
        {"{% for x in [[1, [2]], [3]] recursive %}{{ x if x is number else loop(x) }},{% endfor %}",
         "1,2,,,3,,"},
        {"{% filter upper %}a{{ s }}{% endfilter %}{% with q = 5 %}{{ q }}{% endwith %}{{ q }}",
         "ASTRAW BERRY5"},
        {"{% generation %}{% set z = 1 %}{{ z }}{% endgeneration %}{{ z is defined }}", "1False"},
        {"{% block b %}B{{ n }}{% endblock %}{{ self.b() }}", "B3B3"},
        {"{% autoescape true %}{{ '<' }}{{ '<' | safe }}{% endautoescape %}", "&lt;<"},
    };
    CHECK(snippets);
}

Test(jinja, filters_and_tests)
{
    static const struct snippet snippets[] = {
        {"{{ people | sort(attribute='age,name') | map(attribute='name') | join(' ') }}",
         "adam Bo Zoe"},
        {"{{ people | selectattr('age', 'gt', 26) | map(attribute='name') | list }}",
         "['Zoe', 'Bo']"},
        {"{% for age, group in people | groupby('age') %}{{ age }}={{ group | length }};{% endfor "
         "%}",
         "25=1;30=2;"},
        {"{{ l | sum }} {{ l | max }} {{ l | sort(reverse=true) }} {{ ['a', 'A', 'b'] | unique | "
         "list "
         "}}",
         "6 3 [3, 2, 1] ['a', 'b']"},
        {"{{ d | tojson }} {{ d | tojson(indent=1) }}",
         "{\"b\": 1, \"a\": [true, null]} {\n \"b\": 1,\n \"a\": [\n  true,\n  null\n ]\n}"},
        {"{{ u | tojson(ensure_ascii=true) }} {{ u | length }}", "\"\\u00e9\\ud83d\\ude42x\" 3"},
        {"{{ 'a\\n\\nb' | indent(2) }}|{{ 'x' | default('y') }}|{{ nope | default('y') }}|"
         "{{ '' | default('z', true) }}",
         "a\n\n  b|x|y|z"},
        {"{{ 2.5 | round }} {{ 1.25 | round(1) }} {{ '42.7' | int }} {{ 'ff' | int(base=16) }} "
         "{{ 'x' | int(-1) }}",
         "2.0 1.2 42 255 -1"},
        {"{{ 'hello wORLD-x' | title }} {{ 'stra\xC3\x9F' | upper }} {{ '\xC3\x89' | lower }}",
         "Hello World-X STRASS \xC3\xA9"},
        {"{{ [1, 2, 3, 4, 5] | batch(2, 0) | list }} {{ [1, 2, 3] | slice(2) | list }}",
         "[[1, 2], [3, 4], [5, 0]] [[1, 2], [3]]"},
        {"{{ '<a> & \"b\"' | e }} {{ 'foo bar baz' | truncate(9) }} {{ 'a b' | urlencode }}",
         "&lt;a&gt; &amp; &#34;b&#34; foo bar baz a%20b"},
        {"{{ 3 is odd }} {{ nil is none }} {{ 'a' is in s }} {{ 4 is divisibleby 2 }} "
         "{{ range is callable }} {{ d is mapping }} {{ 'A' is upper }} {{ nope is defined }}",
         "True True True True True True True False"},
        {"{{ [1, 2] | map('string') is iterable }} {{ ['1', 'x'] | map('int', 7) | list }}",
         "True [1, 7]"},
    };
    CHECK(snippets);
}

Test(jinja, methods)
{
    static const struct snippet snippets[] = {
        {"{{ ' a,b,,c '.strip().split(',', 2) }} {{ 'a b c'.rsplit(' ', 1) }} {{ ' a  b '.split() "
         "}}",
         "['a', 'b', ',c'] ['a b', 'c'] ['a', 'b']"},
        {"{{ 'xxaxx'.strip('x') }} {{ 'abab'.replace('b', '', 1) }} {{ 'ab'.replace('', '-') }}",
         "a aab -a-b-"},
        {"{{ s.startswith(('x', 'Str')) }} {{ s.find('e') }} {{ s.count('r') }} {{ "
         "s.upper().title() }}",
         "True 7 3 Straw Berry"},
        {"{{ '{0}/{x!r:>5}/{1:,}'.format('a', 12345, x='q') }} {{ '{:^5}|{:.1%}'.format('m', "
         "0.256) }}",
         "a/  'q'/12,345   m  |25.6%"},
        {"{{ d.get('b') }} {{ d.get('z', 'no') }} {{ d.keys() | list }} {{ "
         "'a\\r\\nb\\x85c'.splitlines() "
         "}}",
         "1 no ['b', 'a'] ['a', 'b', 'c']"},
        {"{{ items['items'] }} {{ items.items() | list }} {{ d['items'] is callable }} "
         "{{ d['update'] is defined }}",
         "7 [('items', 7)] True False"},
        {"{{ 'a-b'.partition('-') }} {{ ','.join(['x', 'y']) }} {{ '7'.zfill(3) }} {{ "
         "'a'.center(4, '*') "
         "}}",
         "('a', '-', 'b') x,y 007 *a**"},
        {"{{ strftime_now('%Y-%m-%d %A %-d %b %j %I:%M %p %U %V') }}",
         "2024-02-29 Thursday 29 Feb 060 03:04 PM 08 09"},
    };
    CHECK(snippets);
}

Test(jinja, errors_name_the_line)
{
    static const struct snippet snippets[] = {
        {"{% if x %}\n{{ 1 }}", "line 2: unexpected end of template"},
        {"\n\n{{ 'a' | nope }}", "line 3: no filter named 'nope'"},
        {"{{ 1 +\n }}", "line 2: expected an expression"},
        {"a\n{{ nope.x }}", "line 2: 'nope' is undefined"},
        {"a\n\n{{ 'a' + 1 }}", "line 3: unsupported operands for +: 'str' and 'int'"},
        {"{% break %}", "'break' outside of a loop"},
        {"{% for loop in l %}{% endfor %}", "cannot be called 'loop'"},
        {"{{ nil | length }}", "object of type 'NoneType' has no length"},
        {"{{ l.append(1) }}", "access to attribute 'append'"},
        {"{{ raise_exception('my own words') }}", "my own words"},
        {"{{ {}['a'].b }}", "has no attribute 'a'"},
        {"{{ d | dictsort(by='z') }}", "dictsort: by must be"},
        {"{{ 1 / 0 }}", "division by zero"},
        {"{{ range(10 ** 9) }}", "more than 100000 items"},
        {"{{ s.replace('a') }}", "the argument 'new' is missing"},
        {"{% set d.x = 1 %}", "only of a namespace"},
        {"{% include 'x' %}", "cannot load other templates"},
        {"{{ '\\u12' }}", "truncated \\u escape"},
        {"{{ [1, 2 }}", "unexpected '}', expected ']'"},
        {"{{ people | sort }}", "'<' not supported between 'dict' and 'dict'"},
    };
    for (size_t i = 0; i < sizeof snippets / sizeof *snippets; i++) {
        size_t num_bytes;
        char *prompt = render(snippets[i].source, &num_bytes);
        cr_expect(!prompt && strstr(err.message, snippets[i].expected), "%s gives %s",
                  snippets[i].source, prompt ? prompt : err.message);
        nano_free(prompt);
    }
    cr_assert_null(render("{{ raise_exception('x') }}", &(size_t){0}));
    cr_assert_str_eq(err.message, "x");
    cr_assert_eq(err.status, NANO_ERR_INVALID_ARGUMENT);
    cr_assert_null(render("{{ ", &(size_t){0}));
    cr_assert_eq(err.status, NANO_ERR_FORMAT);
}

/* An unknown filter is an error only where it is reached, inside of a branch. */
Test(jinja, unknown_filters_in_branches)
{
    static const struct snippet snippets[] = {
        {"{% if false %}{{ 1 | nope }}{{ 1 is nope }}{% endif %}ok", "ok"},
        {"{{ 'ok' if true else (1 | nope) }}", "ok"},
    };
    CHECK(snippets);
    cr_expect_null(render("{% if true %}{{ 1 | nope }}{% endif %}", &(size_t){0}));
    cr_expect_eq(err.status, NANO_ERR_INVALID_ARGUMENT);
    cr_expect_null(render("{% if false %}{% for i in l %}{{ 1 | nope }}{% endfor %}{% endif %}",
                          &(size_t){0}));
    cr_expect_eq(err.status, NANO_ERR_FORMAT);
}

/* What takes too long, too much or too deep ends in an error, soon. */
Test(jinja, limits, .timeout = 60)
{
    static const char *const hostile[] = {
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10 ** 12 }}",
        "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}"
        "{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor "
        "%}"
        "{{ ns.l }}{{ ns.l == ns.l[0] }}",
        "{% set a = 'a' * 3000000 %}{% for i in range(99999) %}{{ a.find('a' * 20000 + 'b') }}{% "
        "endfor %}",
        "{% set l = range(99999) | list %}{% for i in l %}{% if 'x' in l %}{% endif %}{% endfor %}",
        "{{ 7 ** 99999 }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'a'.center(10 ** 15) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set a = 'ab' * 500000 %}{% for i in range(99999) %}{{ a | upper | length }}{% endfor "
        "%}",
        "{% set a = ' ' * 5000000 %}{% for i in range(99999) %}{{ a.strip() }}{% endfor %}",
        "{% set l = ['a' * 100000] * 99999 %}{% for i in range(9999) %}{{ l | join | length }}"
        "{% endfor %}",
    };
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        size_t num_bytes;
        char *prompt = render(hostile[i], &num_bytes);
        cr_expect_null(prompt, "%s", hostile[i]);
        cr_expect(strlen(err.message) > 0);
        nano_free(prompt);
    }
}

Test(jinja, deep_sources_are_refused)
{
    static const char *const parts[] = {"(", "[", "{'a':", "-", "not ", "a[", "a(", "1 if ", "1+"};
    static char source[400000];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t num = 0, length = strlen(parts[i]);
        num += (size_t)snprintf(source, sizeof source, "{{ ");
        while (num + length < sizeof source - 10) {
            memcpy(source + num, parts[i], length);
            num += length;
        }
        snprintf(source + num, sizeof source - num, "1 }}");
        char *prompt = render(source, &(size_t){0});
        cr_expect(strcmp(parts[i], "not ") == 0 || !prompt, "%s", parts[i]);
        nano_free(prompt);
    }
    size_t num = 0;
    while (num + 20 < sizeof source)
        num += (size_t)snprintf(source + num, sizeof source - num, "{%% if 1 %%}");
    cr_expect_null(render(source, &(size_t){0}));
}
