#!/bin/sh
# The tests of the server once more with the ONNX runner, on the built-in model as an ONNX graph.
. "${srcdir:-.}/tests/serve_lib.sh"
tests=$(cd "${srcdir:-.}/tests" && pwd)
data=${NANOVLLM_DATA_DIR:-${srcdir:-.}/data}
model=$folder/model

# A program without the runner says so before it looks for the model.
"$program" run --runner onnx -p a -n 1 >"$folder/out" 2>&1
! grep -q "not in this build" "$folder/out" || skip "$(cat "$folder/out")"
python=
for name in /usr/bin/python3 python3; do
    ! "$name" -c 'import numpy, onnx' 2>/dev/null || { python=$name && break; }
done
[ -n "$python" ] || skip "needs python3 with numpy and onnx"
"$python" "$tests/../tools/onnx/export.py" -m "$data/tinymodel.gguf" -o "$model" || exit 99
"$program" run --runner onnx -m "$model" -p a -n 1 >"$folder/out" 2>&1
! grep -q "ONNX Runtime cannot be loaded" "$folder/out" || skip "$(cat "$folder/out")"

NANOVLLM_TEST_ONNX=$model
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
