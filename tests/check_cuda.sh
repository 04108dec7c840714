#!/bin/sh
# A build with CUDA: it starts anywhere, uses a GPU where there is one and says so where there is none,
# and the CPU runner works in any case.
set -u
program=${NANOVLLM_PROGRAM:?}
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}

run() { # RUNNER
    "$program" run --runner "$1" -p "Once upon a time" -n 8 --temp 0 2>&1
}

run cpu | grep -q time || fail "the CPU runner does not work: $(run cpu)"
if command -v ldd >/dev/null && ldd "$program" | grep -i 'libcuda\|libcublas'; then
    fail "the program needs CUDA's libraries to start"
fi
said=$(run cuda)
status=$?
case $said in
*"no NVIDIA driver on this machine"* | *"no NVIDIA GPU"*)
    [ $status -ne 0 ] || fail "no GPU, and status 0"
    echo "no GPU here: $said"
    ;;
*time*) echo "on the GPU: $said" ;;
*) fail "--runner cuda says: $said" ;;
esac
[ $failed = 0 ] && echo "2 passed, 0 failed"
exit $failed
