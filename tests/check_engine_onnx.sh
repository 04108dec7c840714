#!/bin/sh
# The engine's tests that need some model, with an ONNX graph in the place of the built-in one.
set -eu
: "${NANOVLLM_ONNX_MODELS:?is set by make check}"
if [ -f "$NANOVLLM_ONNX_MODELS/SKIP" ]; then
    echo "[SKIP] engine tests on ONNX: $(cat "$NANOVLLM_ONNX_MODELS/SKIP")"
    exit 77
fi
failed=0
for layout in concat shared; do
    for suite in engine engine_faults speculative; do
        echo "$suite on $layout:"
        NANOVLLM_TEST_MODEL=$NANOVLLM_ONNX_MODELS/$layout tests/test_engine --filter "$suite/*" || failed=1
    done
done
exit $failed
