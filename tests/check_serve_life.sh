#!/bin/sh
# The server among clients as they are: many, idle, slow, hostile, killed; and its end under load.
. "${srcdir:-.}/tests/serve_lib.sh"
bench=$(dirname "$program")/bench/bench_serve
quick=${NANOVLLM_TEST_QUICK-}
prompt="Once upon a time"

# load OPTION…: JSON of bench_serve in $report; its status is that of the run.
load() {
    "$bench" --port "$port" --json "$@" >"$folder/report"
    status=$?
    report=$(cat "$folder/report")
    return "$status"
}

# no_failure OPTION…: a load of which nothing may fail
no_failure() {
    load "$@" || {
        echo "  the report: $report"
        return 1
    }
}

# field NAME, field OBJECT NAME: a number of the report
field() {
    part=$report
    [ $# -eq 1 ] || part=$(echo "$report" | sed -n "s/.*\"$1\":{\([^}]*\)}.*/{\1/p")
    [ $# -eq 1 ] || shift
    echo "$part" | sed -n "s/.*[{,]\"$1\":\([0-9.]*\).*/\1/p"
}

says() { # TEXT: the report contains it
    case $report in
    *"$1"*) return 0 ;;
    esac
    echo "  the report: $report"
    return 1
}

at_most() { # NUMBER LIMIT
    awk "BEGIN { exit !(\"$1\" != \"\" && $1 + 0 <= $2) }" || {
        echo "  expected at most $2, got $1"
        return 1
    }
}

is() { # GOT EXPECTED
    [ "$1" = "$2" ] || {
        echo "  expected $2, got $1"
        return 1
    }
}

metric_is() { # NAME VALUE
    [ "$(metric "$1")" = "$2" ]
}

# code OPTION… URL: status of the answer, whose head and body are in $folder/head and $folder/body
code() {
    curl -s -k --max-time 60 -D "$folder/head" -o "$folder/body" -w '%{http_code}' "$@"
}

has_header() { # TEXT
    grep -qi "^$1" "$folder/head"
}

body() { # N MAX_TOKENS MORE
    echo "{\"prompt\":\"$prompt\",\"n\":$1,\"max_tokens\":$2,\"temperature\":0,\"ignore_eos\":true$3}"
}

# ---- Idle, dribbling and deaf connections -------------------------------------------------------

check_strangers() {
    num_idle=1000
    [ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -gt 1400 ] || num_idle=$(($(ulimit -n) - 400))
    start_server --timeout 2 --timeout-keep-alive 60 --disable-access-log
    check "no request fails beside idle and dribbling connections" \
        no_failure --idle "$num_idle" --slow-loris 20 --linger 3 --num-prompts 200 --prompt "$prompt" \
        --output-len 20 --same
    check "idle connections are answered" is "$(field idle alive)" "$num_idle"
    check "who dribbles is cut off" is "$(field slow_loris cut)" 20
    check "and soon" at_most "$(field slow_loris longest_s)" 4
    [ -n "$quick" ] || check "and delays nobody" at_most "$(field ttft_s max)" 1

    # They rest for so long that buffers fill and the time to read passes on a busy machine too.
    load --num-prompts 0 --slow-read 2 --n 32 --output-len 900 --ignore-eos --linger 18 \
        --extra '"logprobs":20'
    check "who does not read is cut off" is "$(field slow_read cut)" 2
    check "its sequences are gone" wait_for 10 metric_is num_requests_running 0
    check "its blocks are free" wait_for 1 metric_is kv_cache_blocks_used 0
    check "no request fails after it" no_failure --num-prompts 20 --prompt "$prompt" --output-len 20 --same
    stop_server
    check "the server ends with status 0 then" is "$server_status" 0
}

# ---- Killed clients -----------------------------------------------------------------------------

text_of() { # FILE: of a stream, choice by choice the same
    sed -n 's/.*"text":"\(.*\)","logprobs".*/\1/p' "$1" | tr -d '\n'
}

check_killed() {
    num_clients=64
    [ -z "$quick" ] || num_clients=16
    half=$((num_clients / 2))
    start_server --disable-access-log
    # Blocks are not shared with different salts, and most of a sequence's are its prompt's: half of
    # the sequences with all of their output have fewer than all of them without any.
    request=$(awk 'BEGIN { for (i = 0; i < 600; i++) printf "%s%d", i ? "," : "{\"prompt\":[", 50 + i * 7 % 900 }')
    request="$request],\"max_tokens\":330,\"temperature\":0,\"ignore_eos\":true,\"stream\":true"
    curl -sN "$url/v1/completions" -d "$request}" >"$folder/expected"
    doomed='' others='' i=0
    while [ "$i" -lt "$num_clients" ]; do
        curl -sN "$url/v1/completions" -d "$request,\"cache_salt\":\"$i\"}" >"$folder/out.$i" &
        if [ $((i % 2)) = 0 ]; then doomed="$doomed $!"; else others="$others $!"; fi
        i=$((i + 1))
    done
    wait_for 30 metric_is num_requests_running "$num_clients" ||
        echo "  only $(metric num_requests_running) run at once"
    before=$(metric kv_cache_blocks_used)
    # shellcheck disable=SC2086
    kill -9 $doomed
    check "sequences of killed clients are gone within a second" \
        wait_for 1 metric_is num_requests_running "$half"
    after=$(metric kv_cache_blocks_used)
    check "and their blocks ($before before, $after after)" at_most "$after" "$((before * 4 / 5))"
    # shellcheck disable=SC2086
    wait $others
    i=1 num_right=0 expected=$(text_of "$folder/expected")
    while [ "$i" -lt "$num_clients" ]; do
        [ "$(text_of "$folder/out.$i")" = "$expected" ] && num_right=$((num_right + 1))
        i=$((i + 2))
    done
    check "the expected text is one" [ ${#expected} -gt 300 ]
    check "the others have the right answer" is "$num_right" "$half"
    check "nothing is left" wait_for 1 metric_is kv_cache_blocks_used 0
    check "no request fails where others hang up" \
        no_failure --num-prompts 200 --max-concurrency 32 --output-len 100 --ignore-eos --abort 0.5
    check "others do" eval '[ "$(field aborted)" -gt 20 ]'
    check "no sequence is left of who hung up" wait_for 1 metric_is num_requests_running 0
    check "no block either" wait_for 1 metric_is kv_cache_blocks_used 0
    if command -v promtool >/dev/null 2>&1; then
        check "promtool accepts the metrics" eval \
            'curl -s "$url/metrics" | promtool check metrics >"$folder/promtool" 2>&1 || { cat "$folder/promtool"; false; }'
    else
        skip_part "promtool is not there"
    fi
    stop_server
    check "the server ends with status 0 after that" is "$server_status" 0
}

# ---- The end under load -------------------------------------------------------------------------

is_long_running() {
    [ "$(metric num_requests_running)" -ge 64 ]
}

check_drain() {
    num_tokens=900
    [ -z "$quick" ] || num_tokens=300
    # What is asked for must be done within the time that a server has to end in.
    [ -z "${NANOVLLM_TEST_ONNX-}" ] || {
        num_tokens=300
        echo "the end under load: with $num_tokens tokens each, the ONNX runner is slower"
    }
    start_server --disable-access-log
    body 64 $num_tokens '' >"$folder/request"
    code_file=$folder/code
    "$bench" --port "$port" --json --duration 2 --max-concurrency 16 --output-len 100 --ignore-eos \
        --prompt "$prompt" --same >"$folder/report" &
    loaded=$!
    # Requests that are not whole keep the server from ending however fast it answers the others.
    "$bench" --port "$port" --num-prompts 0 --slow-loris 2 --linger 60 >"$folder/loris" &
    loris=$!
    sleep 0.3
    curl -s -o "$folder/long" -w '%{http_code}' "$url/v1/completions" -d "@$folder/request" >"$code_file" &
    long=$!
    check "a long request is at work" wait_for 5 is_long_running
    kill "$pid"
    wait_for 5 grep -q stopping "$log"
    check "/health says 503 while draining" is "$(code "$url/health")" 503
    check "a new request is refused" is "$(code "$url/v1/completions" -d "@$folder/request")" 503
    check "with a reason" grep -q '"message":"the server is stopping"' "$folder/body"
    check "and when to try again" has_header "retry-after: "
    kill "$loris"
    wait "$long"
    check "a request from before is answered" is "$(cat "$code_file")" 200
    check "with all that it asked for" is "$(grep -o '"finish_reason":"length"' "$folder/long" | wc -l)" 64
    wait "$loaded"
    report=$(cat "$folder/report")
    for kind in truncated "error event" "no usage" "other text" "not HTTP" timeout; do
        check "no answer is $kind" eval 'case $report in *"\"$kind\":"*) echo "$report"; false ;; esac'
    done
    check "requests were answered before" eval '[ "$(field ok)" -gt 0 ]'
    stop_server
    check "the server ends with status 0 under load" is "$server_status" 0
}

# ---- Ways in, keys, headers ---------------------------------------------------------------------

check_doors() {
    start_server --api-key one --api-key two --allowed-origins http://here.example --max-num-seqs 1 \
        --max-num-queued-reqs 1
    check "no key" is "$(code "$url/v1/models")" 401
    check "a wrong key" is "$(code -H 'Authorization: Bearer on' "$url/v1/models")" 401
    check "a key" is "$(code -H 'Authorization: Bearer one' "$url/v1/models")" 200
    check "another key" is "$(code -H 'Authorization: Bearer two' "$url/v1/models")" 200
    check "no key is needed for health" is "$(code "$url/health")" 200
    code -H 'X-Request-Id: abc-1' "$url/health" >/dev/null
    check "the request's id comes back" has_header "x-request-id: abc-1"
    code -H 'Origin: http://here.example' "$url/health" >/dev/null
    check "an allowed origin" has_header "access-control-allow-origin: http://here.example"
    code -H 'Origin: http://there.example' "$url/health" >/dev/null
    check "another origin" eval '! has_header access-control'
    body 1 4 ',"stream":true' >"$folder/request"
    code -H 'Authorization: Bearer one' "$url/v1/completions" -d "@$folder/request" >/dev/null
    check "a stream is not to be cached" has_header "cache-control: no-cache"
    check "no header is sent twice" is "$(sed 's/:.*//' "$folder/head" | sort -f | uniq -di)" ""
    load --api-key one --max-concurrency 12 --num-prompts 12 --output-len 300 --ignore-eos
    check "too many requests" says '"status 429":'
    check "and no other failure" eval 'is "$(field failed)" "$(field failures "status 429")"'
    stop_server
    check "the server with keys ends with status 0" is "$server_status" 0

    start_server --uds "$folder/socket"
    check "a UNIX socket" is "$(code --unix-socket "$folder/socket" http://localhost/v1/models)" 200
    code -H 'Origin: http://here.example' --unix-socket "$folder/socket" http://localhost/health >/dev/null
    check "no origin is allowed by default" eval '! has_header access-control'
    kill -INT "$pid"
    wait "$pid"
    check "SIGINT ends it too" is "$?" 0
    check "its socket is gone" [ ! -e "$folder/socket" ]
}

check_tls() {
    command -v openssl >/dev/null 2>&1 || {
        skip_part "TLS: openssl is not there"
        return
    }
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$folder/key.pem" -out "$folder/cert.pem" -days 2 \
        -subj /CN=localhost >/dev/null 2>&1
    start_server --ssl-keyfile "$folder/key.pem" --ssl-certfile "$folder/cert.pem"
    check "its URL is https" [ "${url%%:*}" = https ]
    check "HTTPS" is "$(code "$url/v1/completions" -d "$(body 1 5 '')")" 200
    check "a stream" is "$(code "$url/v1/completions" -d "$(body 1 5 ',"stream":true')")" 200
    check "is whole" grep -q 'data: \[DONE\]' "$folder/body"
    check "HTTP is not answered there" eval '! curl -s --max-time 5 "http://127.0.0.1:$port/health" >/dev/null'
    stop_server
    check "the server with TLS ends with status 0" is "$server_status" 0
}

for part in doors tls drain killed strangers; do
    check_$part
done
finish
