/* fuzz_http PORT NUM SEED [no-embeddings]: sends malformed requests to a server and looks at every
 * answer: its status is the client's fault (or the request was good after all), an error says what
 * was wrong, and the next good request is answered as ever. With no-embeddings a request for an
 * embedding must be refused. What it prints ends with "N passed, M failed". */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz_frames.h"
#include "http_client.h"
#include "require.h"

enum { ANSWER_MS = 60000, INCOMPLETE_MS = 20, GOOD_EVERY = 50, MAX_SHOWN = 20 };

static struct http_reply reply;
static int port, num_passed, num_failed;
static int by_status[1000], num_without;
static bool no_embeddings;

static bool complain(const struct fuzz_frame *frame, const char *problem)
{
    if (++num_failed > MAX_SHOWN)
        return false;
    printf("FAIL: %s: %s (status %d)\n  request: ", frame->what, problem, reply.status);
    for (size_t i = 0; i < frame->num_bytes && i < 400; i++) {
        unsigned char c = (unsigned char)frame->data[i];
        printf(c >= 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
    }
    printf("\n  answer: %.300s\n", reply.body ? reply.body : "");
    return false;
}

/* ---- Answers -----------------------------------------------------------------------------------
 */

/* Events of JSON, the last of them [DONE]. */
static bool is_event_stream(char *body)
{
    bool is_done = false;
    for (char *line = body; *line;) {
        char *end = line + strcspn(line, "\n");
        bool is_last = *end == '\0';
        *end = '\0';
        if (strcmp(line, "data: [DONE]") == 0) {
            is_done = true;
        } else if (*line) {
            json_t *event =
                strncmp(line, "data: ", 6) == 0 ? json_loads(line + 6, JSON_ALLOW_NUL, NULL) : NULL;
            json_decref(event);
            if (!event || is_done)
                return false;
        }
        line = is_last ? end : end + 1;
    }
    return is_done;
}

static bool check_json(const struct fuzz_frame *frame)
{
    const char *type = http_header(&reply, "Content-Type");
    bool ok = true;
    if (type && strncmp(type, "text/event-stream", 17) == 0)
        return is_event_stream(reply.body) || complain(frame, "not a stream of events");
    json_t *root = json_loadb(reply.body ? reply.body : "", reply.body_bytes, JSON_ALLOW_NUL, NULL);
    if (!root)
        return complain(frame, "the answer is not JSON");
    json_t *error = json_object_get(root, "error");
    if (reply.status >= 400)
        ok = json_string_length(json_object_get(error, "message")) > 0 &&
             json_string_length(json_object_get(error, "type")) > 0 &&
             json_object_get(error, "param") && json_object_get(error, "code");
    json_decref(root);
    return ok || complain(frame, "expected an error object with message, type, param and code");
}

/* Sends the frame on a connection of its own; true when the answer is as it must be. */
static bool try_frame(const struct fuzz_frame *frame)
{
    int fd = http_connect(port);
    if (fd < 0)
        return complain(frame, "the server does not take connections");
    http_reply_reset(&reply);
    http_send(fd, frame->data, frame->num_bytes); /* an answer may come before all was sent */
    if (frame->hangs_up) {
        close(fd);
        return true;
    }
    if (frame->is_incomplete)
        shutdown(fd, SHUT_WR);
    enum http_outcome outcome = http_read(fd, &reply, strncmp(frame->data, "HEAD ", 5) == 0,
                                          frame->is_incomplete ? INCOMPLETE_MS : ANSWER_MS);
    close(fd);
    by_status[reply.status % 1000]++;
    if (outcome == HTTP_TIMED_OUT)
        return frame->is_incomplete || complain(frame, "no answer");
    if (outcome == HTTP_NOT_HTTP)
        return complain(frame, "the answer is not HTTP");
    if (outcome == HTTP_CLOSED) {
        num_without++;
        /* What is malformed as HTTP may be hung up on; a server may also close before it read a
         * body that is too large, whose client then may not see the answer. */
        bool needs_answer = frame->expected ? frame->expected != 413 : frame->needs_json;
        return !needs_answer || complain(frame, "no whole answer");
    }
    if (frame->expected && frame->expected != reply.status)
        return complain(frame, "another status");
    if (reply.status >= 500 && reply.status != 503 && reply.status != 501 && reply.status != 505)
        return complain(frame, "the server blames itself");
    if (frame->needs_json && (reply.status == 501 || reply.status == 505))
        return complain(frame, "the server blames itself");
    return !frame->needs_json || check_json(frame);
}

static void count(bool passed)
{
    num_passed += passed;
}

/* ---- Good requests in between ------------------------------------------------------------------
 */

static void check_good(void)
{
    static char *first_text;
    struct fuzz_frame frame = {0};
    struct fuzz_body body;
    fuzz_valid_body(0, &body);
    fuzz_frame_post(&frame, &body);
    frame.what = "good request";
    frame.expected = 200;
    bool ok = try_frame(&frame);
    json_t *root = ok ? json_loads(reply.body, 0, NULL) : NULL;
    const char *text = json_string_value(
        json_object_get(json_array_get(json_object_get(root, "choices"), 0), "text"));
    if (ok && text && !first_text)
        first_text = strdup(text);
    if (ok && (!text || strcmp(text, first_text) != 0))
        ok = complain(&frame, "another text than before");
    count(ok);
    json_decref(root);
    fuzz_frame_free(&frame);
}

/* All bodies that mutations begin with. */
static void check_valid(void)
{
    struct fuzz_frame frame = {0};
    struct fuzz_body body;
    for (size_t i = 0; fuzz_valid_body(i, &body); i++) {
        const bool is_refused = no_embeddings && strcmp(body.path, "/v1/embeddings") == 0;
        fuzz_frame_post(&frame, &body);
        frame.expected = is_refused ? 400 : 200;
        bool ok = try_frame(&frame);
        if (ok && is_refused && !strstr(reply.body, "hidden states"))
            ok = complain(&frame, "another reason than that there are no hidden states");
        count(ok);
    }
    fuzz_frame_free(&frame);
}

/* ---- The run -----------------------------------------------------------------------------------
 */

/* A request with a field of a wrong type is refused, and the answer names the field. */
static int check_wrong_types(void)
{
    struct fuzz_frame frame = {0};
    struct fuzz_body body;
    const char *field;
    bool must_fail;
    int num = 0;
    for (size_t i = 0; fuzz_wrong_type(i, &body, &field, &must_fail); i++) {
        if (!must_fail) {
            free(body.data);
            continue;
        }
        fuzz_frame_post(&frame, &body);
        free(body.data);
        frame.expected = strcmp(field, "model") == 0 && strstr(frame.data, "\"one\"") ? 404 : 400;
        bool ok = try_frame(&frame);
        if (ok && !strstr(reply.body, field))
            ok = complain(&frame, "the answer does not name the field");
        count(ok);
        num++;
    }
    fuzz_frame_free(&frame);
    return num;
}

static void fuzz(int num, uint64_t seed)
{
    struct fuzz_random random = {seed};
    struct fuzz_frame frame = {0};
    for (int i = 0; i < num; i++) {
        if (fuzz_below(&random, 4) > 0) {
            struct fuzz_body body = fuzz_mutate(&random);
            fuzz_frame_post(&frame, &body);
            free(body.data);
        } else {
            fuzz_frame_make(&frame, &random);
        }
        count(try_frame(&frame));
        if (i % GOOD_EVERY == 0)
            check_good();
    }
    check_good();
    fuzz_frame_free(&frame);
}

int main(int argc, char **argv)
{
    no_embeddings = argc == 5 && strcmp(argv[4], "no-embeddings") == 0;
    if (argc != 4 && !no_embeddings) {
        fprintf(stderr, "usage: fuzz_http PORT NUM SEED [no-embeddings]\n");
        return 2;
    }
    port = atoi(argv[1]);
    int num = atoi(argv[2]);
    uint64_t seed = strtoull(argv[3], NULL, 10);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (no_embeddings)
        printf("embeddings: their refusal is expected\n");
    check_valid();
    int num_types = check_wrong_types();
    fuzz(num, seed);
    printf("%d fuzzed requests (seed %llu) and %d with fields of a wrong type:", num,
           (unsigned long long)seed, num_types);
    for (int i = 1; i < 1000; i++)
        if (by_status[i] > 0)
            printf(" %d x %d,", by_status[i], i);
    printf(" %d closed without an answer\n%d passed, %d failed\n", num_without, num_passed,
           num_failed);
    http_reply_free(&reply);
    return num_failed > 0;
}
