#include "fuzz_frames.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "require.h"

#define HOST "Host: 127.0.0.1\r\n"

static void add_bytes(struct fuzz_frame *frame, const void *bytes, size_t num_bytes)
{
    if (frame->num_bytes + num_bytes > frame->capacity) {
        frame->capacity = 2 * (frame->num_bytes + num_bytes);
        frame->data = realloc(frame->data, frame->capacity);
        REQUIRE(frame->data);
    }
    memcpy(frame->data + frame->num_bytes, bytes, num_bytes);
    frame->num_bytes += num_bytes;
}

static void add(struct fuzz_frame *frame, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct fuzz_frame *frame, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    REQUIRE(length >= 0 && (size_t)length < sizeof text);
    add_bytes(frame, text, (size_t)length);
}

static void fill(struct fuzz_frame *frame, char c, size_t num)
{
    char piece[256];
    memset(piece, c, sizeof piece);
    for (; num >= sizeof piece; num -= sizeof piece)
        add_bytes(frame, piece, sizeof piece);
    add_bytes(frame, piece, num);
}

static void fill_random(struct fuzz_frame *frame, struct fuzz_random *random, size_t num)
{
    for (; num > 0; num--) {
        unsigned char byte = (unsigned char)fuzz_next(random);
        add_bytes(frame, &byte, 1);
    }
}

static void add_valid(struct fuzz_frame *frame)
{
    struct fuzz_body body;
    fuzz_valid_body(0, &body);
    add(frame, "POST %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", body.path,
        body.num_bytes);
    add_bytes(frame, body.data, body.num_bytes);
}

void fuzz_frame_post(struct fuzz_frame *frame, const struct fuzz_body *body)
{
    *frame = (struct fuzz_frame){
        .what = body->path, .data = frame->data, .capacity = frame->capacity, .needs_json = true};
    add(frame, "POST %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", body->path,
        body->num_bytes);
    add_bytes(frame, body->data, body->num_bytes);
}

/* ---- One kind each -----------------------------------------------------------------------------
 */

static void bad_method(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const methods[] = {"FOO",   "get",   "PUT",   "DELETE",
                                          "TRACE", "PATCH", "POST/", "G@T"};
    f->what = "method";
    add(f, "%s /v1/completions HTTP/1.1\r\n" HOST "\r\n", methods[fuzz_below(r, 8)]);
}

static void wrong_method(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const lines[] = {
        "GET /v1/completions", "GET /v1/chat/completions", "DELETE /v1/completions",
        "GET /tokenize",       "PUT /v1/models",           "POST /v1/models",
        "POST /health",        "DELETE /metrics",          "PATCH /v1/embeddings",
        "GET /apply-template",
    };
    f->what = "wrong method";
    f->expected = 405;
    f->needs_json = true;
    add(f, "%s HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", lines[fuzz_below(r, 10)]);
}

static void odd_path(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const paths[] = {"/../../../etc/passwd",
                                        "/%2e%2e/%2e%2e/etc/passwd",
                                        "/v1/models/%00",
                                        "/v1/completions/",
                                        "//v1/completions",
                                        "/v1/models/../../x",
                                        "/%zz",
                                        "/%",
                                        "/v2/completions",
                                        "/v1/models/%ff%fe",
                                        "/v1/models/a%0d%0ab",
                                        "/favicon"};
    f->what = "path";
    f->needs_json = true;
    f->expected = 404;
    add(f, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[fuzz_below(r, 12)]);
}

static void long_line(struct fuzz_frame *f, struct fuzz_random *r)
{
    f->what = "long request line";
    add(f, "GET /");
    fill(f, "a/?%"[fuzz_below(r, 4)], (size_t)1 << (8 + fuzz_below(r, 12)));
    add(f, " HTTP/1.1\r\n" HOST "\r\n");
}

static void many_headers(struct fuzz_frame *f, struct fuzz_random *r)
{
    f->what = "header flood";
    add(f, "GET /health HTTP/1.1\r\n" HOST);
    for (size_t num = (size_t)1 << fuzz_below(r, 14), i = 0; i < num; i++)
        add(f, "X-%zu: %zu\r\n", i, i);
    add(f, "\r\n");
}

static void long_header(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const names[] = {"X-Request-Id", "Cookie", "Authorization", "Origin"};
    f->what = "long header";
    add(f, "GET /health HTTP/1.1\r\n" HOST "%s: ", names[fuzz_below(r, 4)]);
    fill(f, "a \"\xff"[fuzz_below(r, 4)], (size_t)1 << (6 + fuzz_below(r, 14)));
    add(f, "\r\n\r\n");
}

static void bad_header(struct fuzz_frame *f, struct fuzz_random *r)
{
    f->what = "header";
    add(f, "GET /health HTTP/1.1\r\n" HOST);
    switch (fuzz_below(r, 7)) {
    case 0:
        add(f, "NoColon\r\n");
        break;
    case 1:
        add_bytes(f, "X-A: b\0c\r\n", 10);
        break;
    case 2:
        add(f, ": nameless\r\n");
        break;
    case 3:
        add(f, " folded\r\n");
        break;
    case 4:
        add(f, "X A: b\r\n");
        break;
    case 5:
        add(f, "X-Request-Id: a\rb\r\n");
        break;
    default:
        fill_random(f, r, 40);
        add(f, "\r\n");
    }
    add(f, "\r\n");
}

static void bad_length(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const lengths[] = {"-1",
                                          "abc",
                                          "1e3",
                                          "",
                                          "0x10",
                                          "99999999999999999999999",
                                          "18446744073709551616",
                                          "5\r\nContent-Length: 6",
                                          "+5",
                                          "5,5"};
    f->what = "Content-Length";
    f->is_incomplete = true;
    add(f, "POST /v1/completions HTTP/1.1\r\n" HOST "Content-Length: %s\r\n\r\n{}",
        lengths[fuzz_below(r, 10)]);
}

static void huge_length(struct fuzz_frame *f, struct fuzz_random *r)
{
    f->what = "huge Content-Length";
    f->is_incomplete = true;
    add(f, "POST /v1/completions HTTP/1.1\r\n" HOST "Content-Length: %llu\r\n\r\n",
        (unsigned long long)(fuzz_next(r) >> (1 + fuzz_below(r, 30))));
}

static void huge_body(struct fuzz_frame *f, struct fuzz_random *r)
{
    size_t num_bytes = (size_t)(1 + fuzz_below(r, 3)) << 20;
    f->what = "huge body";
    f->expected = 413;
    f->needs_json = true;
    add(f, "POST /v1/completions HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", num_bytes + 1);
    fill(f, "[{\"a"[fuzz_below(r, 4)], num_bytes + 1);
}

static void chunked(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const sizes[] = {"zz\r\n", "-1\r\n",    "ffffffffffffffffffff\r\n",
                                        "\r\n",   "5;a=b\r\n", "7fffffffffffffff\r\n",
                                        "5 \r\n", "0x5\r\n",   "5\n",
                                        "5"};
    f->what = "chunked body";
    f->is_incomplete = true;
    add(f, "POST /v1/completions HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t num = fuzz_below(r, 3); num > 0; num--)
        add(f, "8\r\n{\"a\":1,\n\r\n");
    add(f, "%s", sizes[fuzz_below(r, 10)]);
    if (fuzz_below(r, 2))
        add(f, "{\"a\":\r\n0\r\n\r\n");
}

static void chunked_whole(struct fuzz_frame *f, struct fuzz_random *r)
{
    struct fuzz_body body;
    size_t cut = 1 + fuzz_below(r, 20);
    fuzz_valid_body(0, &body);
    f->what = "body in chunks";
    f->expected = 200;
    add(f, "POST /v1/completions HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < body.num_bytes; at += cut) {
        size_t num = body.num_bytes - at < cut ? body.num_bytes - at : cut;
        add(f, "%zx\r\n", num);
        add_bytes(f, body.data + at, num);
        add(f, "\r\n");
    }
    add(f, "0\r\n\r\n");
}

static void encodings(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const headers[] = {
        "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked, gzip\r\n", "Expect: nonsense\r\nContent-Length: 2\r\n"};
    f->what = "encoding";
    f->is_incomplete = true;
    add(f, "POST /v1/completions HTTP/1.1\r\n" HOST "%s\r\n{}", headers[fuzz_below(r, 4)]);
}

static void short_body(struct fuzz_frame *f, struct fuzz_random *r)
{
    f->what = "short body";
    f->is_incomplete = true;
    add(f, "POST /v1/completions HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n{\"prompt\":",
        20 + fuzz_below(r, 1000));
}

static void early_close(struct fuzz_frame *f, struct fuzz_random *r)
{
    f->what = "early close";
    f->hangs_up = true;
    add_valid(f);
    f->num_bytes = fuzz_below(r, f->num_bytes + 1);
}

static void head(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const paths[] = {"/health", "/metrics", "/version"};
    f->what = "HEAD";
    f->expected = 200;
    add(f, "HEAD %s HTTP/1.1\r\n" HOST "\r\n", paths[fuzz_below(r, 3)]);
}

static void versions(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const versions[] = {"HTTP/9.9",   "HTTP/2.0",  "http/1.1", "HTTP/1",
                                           "HTTP/1.1.1", "HTTPS/1.1", "",         "X"};
    f->what = "version";
    add(f, "GET /health %s\r\n" HOST "\r\n", versions[fuzz_below(r, 8)]);
}

static void hosts(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const char *const hosts[] = {"", HOST HOST, "Host:\r\n", "Host: a b\r\n"};
    f->what = "Host";
    add(f, "GET /health HTTP/1.1\r\n%s\r\n", hosts[fuzz_below(r, 4)]);
}

static void pipelined(struct fuzz_frame *f, struct fuzz_random *r)
{
    f->what = "pipelined garbage";
    f->expected = 200;
    add_valid(f);
    fill_random(f, r, 1 + fuzz_below(r, 300));
}

static void random_bytes(struct fuzz_frame *f, struct fuzz_random *r)
{
    f->what = "random bytes";
    f->is_incomplete = true;
    fill_random(f, r, 1 + fuzz_below(r, 4000));
}

static void other_protocol(struct fuzz_frame *f, struct fuzz_random *r)
{
    static const unsigned char hello[] = {0x16, 3, 1, 0, 0x2f, 1, 0, 0, 0x2b, 3, 3};
    f->what = "another protocol";
    f->is_incomplete = true;
    switch (fuzz_below(r, 3)) {
    case 0:
        add_bytes(f, hello, sizeof hello);
        fill_random(f, r, 0x2f - sizeof hello + 5);
        break;
    case 1:
        add(f, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        break;
    default:
        add(f, "EHLO example\r\n");
    }
}

void fuzz_frame_make(struct fuzz_frame *frame, struct fuzz_random *random)
{
    static void (*const kinds[])(struct fuzz_frame *, struct fuzz_random *) = {
        bad_method, wrong_method, odd_path,       long_line, many_headers, long_header,
        bad_header, bad_length,   huge_length,    huge_body, chunked,      chunked_whole,
        encodings,  short_body,   early_close,    head,      versions,     hosts,
        pipelined,  random_bytes, other_protocol,
    };
    *frame = (struct fuzz_frame){.data = frame->data, .capacity = frame->capacity};
    kinds[fuzz_below(random, sizeof kinds / sizeof *kinds)](frame, random);
}

void fuzz_frame_free(struct fuzz_frame *frame)
{
    free(frame->data);
    *frame = (struct fuzz_frame){0};
}
