#include "http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"
#include "require.h"

int http_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(fd >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

bool http_send(int fd, const void *data, size_t num_bytes)
{
    const char *bytes = data;
    while (num_bytes > 0) {
        ssize_t num = send(fd, bytes, num_bytes, MSG_NOSIGNAL);
        if (num < 0 && errno == EINTR)
            continue;
        if (num < 0)
            return false;
        bytes += num;
        num_bytes -= (size_t)num;
    }
    return true;
}

/* ---- Reading -----------------------------------------------------------------------------------
 */

struct reader {
    int fd;
    struct http_reply *reply;
    double deadline_s;
    bool timed_out;
};

static double now_s(void)
{
    return (double)nano_os_clock_ns() * 1e-9;
}

/* Receives more bytes; false at the connection's end or the deadline. */
static bool receive(struct reader *reader)
{
    enum { PIECE = 65536 };
    struct http_reply *reply = reader->reply;
    struct pollfd ready = {.fd = reader->fd, .events = POLLIN};
    double left_s = reader->deadline_s - now_s();
    if (left_s <= 0 || poll(&ready, 1, (int)(left_s * 1000) + 1) == 0) {
        reader->timed_out = true;
        return false;
    }
    char *grown = realloc(reply->bytes, reply->num_bytes + PIECE + 1);
    REQUIRE(grown);
    reply->bytes = grown;
    ssize_t num = recv(reader->fd, reply->bytes + reply->num_bytes, PIECE, 0);
    if (num <= 0)
        return false;
    reply->num_bytes += (size_t)num;
    reply->bytes[reply->num_bytes] = '\0';
    return true;
}

static void drop(struct http_reply *reply, size_t num_bytes)
{
    reply->num_bytes -= num_bytes;
    memmove(reply->bytes, reply->bytes + num_bytes, reply->num_bytes + 1);
}

static void add_body(struct http_reply *reply, size_t num_bytes)
{
    char *grown = realloc(reply->body, reply->body_bytes + num_bytes + 1);
    REQUIRE(grown);
    reply->body = grown;
    memcpy(reply->body + reply->body_bytes, reply->bytes, num_bytes);
    reply->body_bytes += num_bytes;
    reply->body[reply->body_bytes] = '\0';
    drop(reply, num_bytes);
}

/* Until `text` is there: where it begins, or -1. */
static long find(struct reader *reader, const char *text)
{
    struct http_reply *reply = reader->reply;
    for (;;) {
        /* Heads and chunks' sizes have no NUL bytes, so the search ends behind them at most. */
        const char *found = reply->num_bytes > 0 ? strstr(reply->bytes, text) : NULL;
        if (found)
            return found - reply->bytes;
        if (!receive(reader))
            return -1;
    }
}

static bool read_bytes(struct reader *reader, size_t num_bytes)
{
    while (reader->reply->num_bytes < num_bytes)
        if (!receive(reader))
            return false;
    add_body(reader->reply, num_bytes);
    return true;
}

static enum http_outcome read_chunks(struct reader *reader)
{
    struct http_reply *reply = reader->reply;
    for (;;) {
        char *end;
        long line_bytes = find(reader, "\r\n");
        if (line_bytes < 0)
            return HTTP_CLOSED;
        unsigned long size = strtoul(reply->bytes, &end, 16);
        if (end == reply->bytes || (*end != '\r' && *end != ';'))
            return HTTP_NOT_HTTP;
        drop(reply, (size_t)line_bytes + 2);
        if (!read_bytes(reader, size) || find(reader, "\r\n") < 0)
            return HTTP_CLOSED;
        if (strncmp(reply->bytes, "\r\n", 2) != 0)
            return HTTP_NOT_HTTP;
        drop(reply, 2);
        if (size == 0)
            return HTTP_ANSWERED;
    }
}

static enum http_outcome read_body(struct reader *reader, bool is_head)
{
    const char *length = http_header(reader->reply, "Content-Length");
    if (is_head || reader->reply->status == 204)
        return HTTP_ANSWERED;
    if (length)
        return read_bytes(reader, strtoul(length, NULL, 10)) ? HTTP_ANSWERED : HTTP_CLOSED;
    if (http_header(reader->reply, "Transfer-Encoding"))
        return read_chunks(reader);
    while (receive(reader))
        continue;
    add_body(reader->reply, reader->reply->num_bytes);
    return HTTP_ANSWERED;
}

static enum http_outcome read_answer(struct reader *reader, bool is_head)
{
    struct http_reply *reply = reader->reply;
    long head_bytes = find(reader, "\r\n\r\n");
    if (head_bytes < 0)
        return reply->num_bytes > 0 && strncmp(reply->bytes, "HTTP/1.", 7) != 0 ? HTTP_NOT_HTTP
                                                                                : HTTP_CLOSED;
    if (sscanf(reply->bytes, "HTTP/1.%*1[01] %3d ", &reply->status) != 1 ||
        (size_t)head_bytes + 3 > sizeof reply->head)
        return HTTP_NOT_HTTP;
    memcpy(reply->head, reply->bytes, (size_t)head_bytes + 2);
    reply->head[head_bytes + 2] = '\0';
    drop(reply, (size_t)head_bytes + 4);
    if (reply->status == 100) {
        reply->status = 0;
        return read_answer(reader, is_head);
    }
    return read_body(reader, is_head);
}

enum http_outcome http_read(int fd, struct http_reply *reply, bool is_head, int timeout_ms)
{
    struct reader reader = {.fd = fd, .reply = reply, .deadline_s = now_s() + timeout_ms * 1e-3};
    reply->status = 0;
    reply->body_bytes = 0;
    reply->head[0] = '\0';
    if (reply->body)
        reply->body[0] = '\0';
    enum http_outcome outcome = read_answer(&reader, is_head);
    return outcome == HTTP_CLOSED && reader.timed_out ? HTTP_TIMED_OUT : outcome;
}

void http_reply_reset(struct http_reply *reply)
{
    reply->num_bytes = 0;
    if (reply->bytes)
        reply->bytes[0] = '\0';
}

void http_reply_free(struct http_reply *reply)
{
    free(reply->body);
    free(reply->bytes);
    reply->body = reply->bytes = NULL;
}

const char *http_header(const struct http_reply *reply, const char *name)
{
    static char value[256];
    size_t length = strlen(name);
    for (const char *line = strstr(reply->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, length) != 0 || line[2 + length] != ':')
            continue;
        const char *begin = line + 3 + length + strspn(line + 3 + length, " ");
        snprintf(value, sizeof value, "%.*s", (int)strcspn(begin, "\r"), begin);
        return value;
    }
    return NULL;
}
