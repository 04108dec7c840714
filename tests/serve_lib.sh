# For tests of "nanovllm serve", which read this file with ".": starts and stops servers, counts
# checks. Sets `folder`, which is removed at the end together with servers that still run, and
# `program`.
set -u
command -v curl >/dev/null 2>&1 || {
    echo "[SKIP] $(basename "$0"): needs curl"
    exit 77
}
program=${NANOVLLM_PROGRAM:?is not set}
folder=$(mktemp -d "${TMPDIR:-/tmp}/nanovllm-serve-XXXXXX") || exit 99
num_passed=0 num_failed=0 num_servers=0 server_pids=

# ASan holds back freed memory, which says nothing of a server; leaks are reported at exit.
ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=16"
export ASAN_OPTIONS

clean_up() {
    for pid in $server_pids; do
        kill -9 "$pid" 2>/dev/null
    done
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

skip() { # WHY: of the whole script
    echo "[SKIP] $(basename "$0"): $1"
    exit 77
}

skip_part() { # WHY
    echo "[SKIP] $1"
}

check() { # WHAT COMMAND…: counts whether the command succeeds
    what=$1
    shift
    if "$@"; then
        num_passed=$((num_passed + 1))
    else
        num_failed=$((num_failed + 1))
        echo "FAIL: $what"
    fi
}

finish() {
    echo "$num_passed passed, $num_failed failed"
    [ "$num_failed" -eq 0 ]
    exit
}

# add_counts FILE: what a client printed: shows all but its last line, "N passed, M failed", and counts
# that. Without such a line it has failed.
add_counts() {
    grep -v '^[0-9]* passed, [0-9]* failed$' "$1"
    client_passed=$(sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p' "$1")
    client_failed=$(sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' "$1")
    num_passed=$((num_passed + ${client_passed:-0}))
    num_failed=$((num_failed + ${client_failed:-1}))
}

# npm_install SOURCE PLACE: the packages that SOURCE/package.json names; skips the script where they
# cannot be had. What was installed before stays, so that only the first run needs the network.
npm_install() {
    command -v node >/dev/null 2>&1 || skip "needs node"
    node -e 'process.exit(typeof fetch === "function" ? 0 : 1)' || skip "needs node 18 or newer"
    command -v npm >/dev/null 2>&1 || skip "needs npm"
    mkdir -p "$2" && cp "$1/package.json" "$2" || exit 99
    cmp -s "$2/package.json" "$2/installed.json" && return
    (cd "$2" && timeout 120 npm install --no-package-lock --no-audit --no-fund --fetch-retries 1) \
        >"$folder/npm" 2>&1 || skip "npm cannot install the package: $(grep -m 1 -i err "$folder/npm")"
    cp "$2/package.json" "$2/installed.json"
}

# wait_for SECONDS COMMAND…: tries ten times a second until the command succeeds.
wait_for() {
    tries=$(($1 * 10))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}

has_url() {
    url=$(sed -n 's/.*listening on //p' "$log" | head -n 1)
    [ -n "$url" ]
}

is_healthy() {
    case $url in
    unix:*) curl -sf --max-time 5 --unix-socket "${url#unix:}" http://localhost/health >"$folder/health" ;;
    *) curl -skf --max-time 5 "$url/health" >"$folder/health" ;;
    esac
}

# start_server OPTION…: on a free port unless told otherwise, with the built-in model, or in
# $NANOVLLM_TEST_ONNX as an ONNX graph. Sets pid, url, port and log; ends the script when there is no
# server.
start_server() {
    [ -z "${NANOVLLM_TEST_ONNX-}" ] || set -- --runner onnx -m "$NANOVLLM_TEST_ONNX" "$@"
    log=$folder/server.$((num_servers += 1)).log
    : >"$log"
    "$program" serve --port 0 "$@" >"$log" 2>&1 &
    pid=$!
    server_pids="$server_pids $pid"
    if ! wait_for 60 has_url || ! wait_for 60 is_healthy; then
        echo "FAIL: no server with $*: $(cat "$log")"
        exit 1
    fi
    port=${url##*:}
}

# stop_server: SIGTERM, and what became of it: sets server_status.
stop_server() {
    kill "$pid" 2>/dev/null
    wait "$pid"
    server_status=$?
    [ "$server_status" -eq 0 ] || tail -n 40 "$log"
}

# metric NAME: the value on /metrics, or nothing.
metric() {
    curl -s --max-time 5 "$url/metrics" | sed -n "s/^nanovllm_$1{[^}]*} //p"
}
