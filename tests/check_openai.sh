#!/bin/sh
# The openai package of npm, as its users have it, against the server and the built-in model.
. "${srcdir:-.}/tests/serve_lib.sh"
source=${srcdir:-.}/tests/openai
place=$(dirname "$program")/tests/openai-client

command -v node >/dev/null 2>&1 || skip "needs node"
node -e 'process.exit(typeof fetch === "function" ? 0 : 1)' || skip "needs node 18 or newer"
command -v npm >/dev/null 2>&1 || skip "needs npm"
mkdir -p "$place" && cp "$source/package.json" "$source/client.test.mjs" "$place" || exit 99
# What was installed before stays, so that only the first run needs the network.
if ! cmp -s "$place/package.json" "$place/installed.json"; then
    (cd "$place" && timeout 120 npm install --no-package-lock --no-audit --no-fund --fetch-retries 1) \
        >"$folder/npm" 2>&1 || skip "npm cannot install the package: $(grep -m 1 -i err "$folder/npm")"
    cp "$place/package.json" "$place/installed.json"
fi

start_server --max-num-seqs 1 --max-num-queued-reqs 1 --api-key secret --disable-access-log
strict_url=$url strict_pid=$pid
start_server --disable-access-log
timeout 240 node "$place/client.test.mjs" "$url" "$strict_url" >"$folder/out" 2>&1
status=$?
grep -v '^[0-9]* passed, ' "$folder/out"
num_passed=$(sed -n 's/^\([0-9]*\) passed.*/\1/p' "$folder/out")
num_failed=$(sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' "$folder/out")
: "${num_passed:=0}" "${num_failed:=1}"
check "the client's status is $status" [ "$status" -eq 0 ]
stop_server
check "the server ends with status 0" [ "$server_status" -eq 0 ]
pid=$strict_pid
stop_server
check "the strict server ends with status 0" [ "$server_status" -eq 0 ]
finish
