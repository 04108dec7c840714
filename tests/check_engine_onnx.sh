#!/bin/sh
# The engine's tests that need some model, with an ONNX graph in the place of the built-in one.
set -eu
: "${NANOVLLM_ONNX_MODELS:?is set by make check}"
if [ -f "$NANOVLLM_ONNX_MODELS/SKIP" ]; then
    echo "[SKIP] engine tests on ONNX: $(cat "$NANOVLLM_ONNX_MODELS/SKIP")"
    exit 77
fi
failed=0
unset CRITERION_VERBOSITY_LEVEL # with it, what the filter leaves out counts as skipped
"$NANOVLLM_PROGRAM" run -m "$NANOVLLM_ONNX_MODELS/none" -p a -n 9 2>&1 >/dev/null |
    grep -q 'warning: .*/none/model.onnx: has no past' || { echo "no warning of a graph without past"; failed=1; }
for layout in concat shared; do
    for suite in engine engine_faults speculative; do
        echo "$suite on $layout:"
        NANOVLLM_TEST_MODEL=$NANOVLLM_ONNX_MODELS/$layout tests/test_engine --filter "$suite/*" || failed=1
    done
done
exit $failed
