#!/bin/sh
# Malformed requests: 5,000 from a seed and each field with wrong types, against a server that must
# answer every one with its client's fault, answer the next good one as ever, and end well.
. "${srcdir:-.}/tests/serve_lib.sh"
clients=$(dirname "$program")/tests
num=5000
[ -z "${NANOVLLM_TEST_QUICK-}" ] || num=1500
seed=${NANOVLLM_TEST_SEED:-1}

# A short context keeps what a mutation may ask for small.
start_server --max-model-len 64 --max-num-seqs 32 --max-body-size 1M --disable-access-log
"$clients/fuzz_http" "$port" "$num" "$seed" ${NANOVLLM_TEST_ONNX:+no-embeddings} >"$folder/fuzz" 2>&1
status=$?
add_counts "$folder/fuzz"
check "the client's status is $status" [ "$status" -eq 0 ]
check "no sequence is left" wait_for 5 eval '[ "$(metric num_requests_running)" = 0 ]'
check "no block is left" wait_for 5 eval '[ "$(metric kv_cache_blocks_used)" = 0 ]'
# Connections whose client went away in the middle of a request are there still, perhaps.
since=$(date +%s)
stop_server
check "the server does not wait for who has gone" [ $(($(date +%s) - since)) -le 5 ]
check "the server ends with status 0" [ "$server_status" -eq 0 ]
finish
