/* The access log. A line is written with one call, so that lines of several threads do not mix. */
#include "server/access_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/json_out.h"

static void print_time(char out[40])
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t length = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + length, 40 - length, ".%03ldZ", now.tv_nsec / 1000000);
}

static void write_line(struct nano_json_out *line)
{
    NANO_JSON_LIT(line, "\n");
    /* A log that cannot be written must not stop the server. */
    if (!line->failed && write(STDERR_FILENO, line->data, line->num_bytes) < 0)
        line->failed = true;
    nano_json_deinit(line);
}

static void add_json(struct nano_json_out *line, const struct nano_http_summary *summary)
{
    nano_json_printf(line, ",\"level\":\"info\",\"event\":\"request\",\"peer\":\"%s\",\"method\":",
                     summary->peer);
    nano_json_cstring(line, summary->method);
    NANO_JSON_LIT(line, ",\"path\":");
    nano_json_cstring(line, summary->path);
    nano_json_printf(
        line,
        ",\"status\":%d,\"complete\":%s,\"bytes\":%llu,\"duration_s\":%.6f,\"request_id\":\"%s\"",
        summary->status, summary->complete ? "true" : "false",
        (unsigned long long)summary->answer_bytes, (double)summary->duration_ns * 1e-9,
        summary->request_id);
    if (summary->has_usage)
        nano_json_printf(
            line, ",\"prompt_tokens\":%d,\"cached_tokens\":%d,\"completion_tokens\":%d",
            summary->num_prompt_tokens, summary->num_cached_tokens, summary->num_completion_tokens);
}

static void add_text(struct nano_json_out *line, const struct nano_http_summary *summary)
{
    char request[1024];
    snprintf(request, sizeof request, "%s %s", summary->method, summary->path);
    nano_json_printf(line, " %s ", summary->peer);
    nano_json_cstring(line, request); /* escapes what could break the line */
    nano_json_printf(line, " %d%s %lluB %.3fs id=%s", summary->status,
                     summary->complete ? "" : " (client gone)",
                     (unsigned long long)summary->answer_bytes, (double)summary->duration_ns * 1e-9,
                     summary->request_id);
    if (summary->has_usage)
        nano_json_printf(line, " prompt=%d cached=%d completion=%d", summary->num_prompt_tokens,
                         summary->num_cached_tokens, summary->num_completion_tokens);
}

void nano_access_log(enum nano_log_format format, const struct nano_http_exchange *exchange)
{
    struct nano_http_summary summary;
    struct nano_json_out line = {0};
    char time[40];
    print_time(time);
    nano_http_get_summary(exchange, &summary);
    if (format == NANO_LOG_JSON) {
        nano_json_printf(&line, "{\"time\":\"%s\"", time);
        add_json(&line, &summary);
        NANO_JSON_LIT(&line, "}");
    } else {
        nano_json_printf(&line, "%s", time);
        add_text(&line, &summary);
    }
    write_line(&line);
}

void nano_server_log(enum nano_log_format format, enum nano_log_level level, const char *fmt, ...)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    struct nano_json_out line = {0};
    char time[40], message[1024];
    va_list arguments;
    va_start(arguments, fmt);
    vsnprintf(message, sizeof message, fmt, arguments);
    va_end(arguments);
    print_time(time);
    if (format == NANO_LOG_JSON) {
        nano_json_printf(
            &line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"message\",\"message\":", time,
            levels[level]);
        nano_json_cstring(&line, message);
        NANO_JSON_LIT(&line, "}");
    } else {
        nano_json_printf(&line, "%s %s: ", time, levels[level]);
        nano_json_raw(&line, message, strlen(message));
    }
    write_line(&line);
}
