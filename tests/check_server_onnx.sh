#!/bin/sh
# The tests of the server once more, with the built-in model as an ONNX graph.
. "${srcdir:-.}/tests/serve_lib.sh"
tests=$(cd "${srcdir:-.}/tests" && pwd)
models=${NANOVLLM_ONNX_MODELS-}
[ -n "$models" ] || skip "this build has no ONNX runner"
[ ! -f "$models/SKIP" ] || skip "$(cat "$models/SKIP")"

[ -z "${NANOVLLM_TEST_QUICK-}" ] || skip "the server is the same as in check_server.sh"

NANOVLLM_TEST_ONNX=$models/concat
export NANOVLLM_TEST_ONNX
for script in check_server.sh check_openai.sh check_serve_life.sh; do
    "$tests/$script" >"$folder/out" 2>&1
    status=$?
    if [ "$status" -eq 77 ]; then
        cat "$folder/out"
    else
        echo "$script:"
        add_counts "$folder/out"
        check "the status of $script is $status" [ "$status" -eq 0 ]
    fi
done
finish
