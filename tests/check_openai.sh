#!/bin/sh
# The openai package of npm, as its users have it, against the server and the built-in model.
. "${srcdir:-.}/tests/serve_lib.sh"
source=${srcdir:-.}/tests/openai
place=$(dirname "$program")/tests/openai-client${NANOVLLM_TEST_ONNX:+-onnx} # two may run at once

npm_install "$source" "$place"
cp "$source/client.test.mjs" "$place" || exit 99

start_server --max-num-seqs 1 --max-num-queued-reqs 1 --api-key secret --disable-access-log
strict_url=$url strict_pid=$pid
start_server --disable-access-log
timeout 240 node "$place/client.test.mjs" "$url" "$strict_url" \
    ${NANOVLLM_TEST_ONNX:+no-embeddings} >"$folder/out" 2>&1
status=$?
add_counts "$folder/out"
check "the client's status is $status" [ "$status" -eq 0 ]
stop_server
check "the server ends with status 0" [ "$server_status" -eq 0 ]
pid=$strict_pid
stop_server
check "the strict server ends with status 0" [ "$server_status" -eq 0 ]
finish
