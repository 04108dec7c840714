#!/bin/sh
# gpu_check.sh [DIRECTORY]: builds for NVIDIA GPUs, checks and measures, and prints a table.
#
#   gpu_check.sh build DIRECTORY   only builds; the libraries that not every system has are put beside the
#                                  programs, which can be taken to a machine with as new a C library
#   gpu_check.sh run DIRECTORY     only runs what is there; `checks` or `speed` instead of `run` is one half
#
# What runs ends after $GPU_CHECK_SECONDS (480): what has found no time by then says so in the table.
# Goldens need $NANOVLLM_TEST_DATA. Logs are left in DIRECTORY/log ($OUT/log where OUT is set).
# CUDA_ARCHS (default 90) says what to build for.
set -u
cd "$(dirname "$0")/.." || exit 1
tests="tests/test_gpu_golden tests/test_gpu_op_values tests/test_gpu_architectures tests/test_gpu_features tests/test_gpu_states"

build() { # DIRECTORY
    mkdir -p "$1" && directory=$(cd "$1" && pwd) || exit 1
    [ -x configure ] && [ ! configure -ot configure.ac ] || autoreconf -i >"$directory/autoreconf.log" 2>&1
    source=$PWD
    (cd "$directory" && "$source/configure" -q --with-cuda="${CUDA_HOME:-yes}" CUDA_ARCHS="${CUDA_ARCHS:-90}" \
        --disable-shared --disable-server --without-libedit --with-plain-tests \
        LDFLAGS="-s ${LDFLAGS-}" >configure.log 2>&1 &&
        make -j "$(nproc)" nanovllm bench/bench_cuda $tests >make.log 2>&1) || {
        tail -n 20 "$directory/configure.log" "$directory/make.log"
        echo "gpu_check: the build failed"
        exit 1
    }
    mkdir -p "$directory/lib"
    ldd "$directory/nanovllm" | awk '/pcre2|utf8proc|jansson/ { print $3 }' | while read -r library; do
        cp -L "$library" "$directory/lib"
    done
    echo "built in $directory"
}

row() { # CHECK RESULT TARGET
    printf '%-44s %-28s %s\n' "$1" "$2" "$3" | tee -a "$table"
}

# limited SECONDS COMMAND...: a program that waits for a GPU does not look at the first signal.
limited() {
    limit=$1 left=$((deadline - $(date +%s)))
    shift
    [ "$left" -gt 0 ] || { echo "no time left"; return 124; }
    [ "$limit" -lt "$left" ] || limit=$left
    timeout -k 5 "$limit" "$@"
}

# timed SECONDS LOG COMMAND...: its output goes to the log.
timed() {
    seconds=$1 log=$2
    shift 2
    limited "$seconds" "$@" >"$logs/$log" 2>&1
}

# text NAME ARGUMENT...: what a run generates; fails if that is nothing.
text() {
    name=$1
    shift
    limited 30 "$program" run -n 60 --kv-cache-dtype f32 "$@" >"$logs/$name.txt" 2>"$logs/$name.log" &&
        [ -s "$logs/$name.txt" ]
}

# same_texts NAME NAME: of the runs that did not fail
same_texts() {
    [ -s "$logs/$1.txt" ] && cmp -s "$logs/$1.txt" "$logs/$2.txt"
}

check_test() { # NAME SECONDS
    if timed "$2" "$1.log" "$directory/tests/test_gpu_$1"; then
        row "test_gpu_$1" "$(grep -o 'Tested:.*' "$logs/$1.log" | tail -n 1)" "all pass"
    else
        row "test_gpu_$1" "FAILED ($?)" "all pass"
        grep -iE 'fail|expression|difference' "$logs/$1.log" | head -n 8
    fi
}

rate() { # LOG KEY: a number of a bench's JSON
    python3 - "$logs/$1" "$2" <<'PYTHON'
import json, sys
text = open(sys.argv[1]).read()
try:
    data = json.loads(text[text.index("{"):])
except ValueError:
    print("none: " + " ".join(text.split())[:60])
    sys.exit()
out = []
def walk(node, name=""):
    if isinstance(node, dict):
        label = " ".join(f"{k}={node[k]}" for k in ("batch", "num_seqs", "n_prompt", "num_prompt") if k in node)
        for key, value in node.items():
            if key == sys.argv[2] and isinstance(value, (int, float)):
                out.append(f"{label} {value:.0f}".strip())
            else:
                walk(value, key)
    elif isinstance(node, list):
        for value in node:
            walk(value, name)
walk(data)
print(", ".join(out) or "none")
PYTHON
}

bench() { # NAME SECONDS KEY TARGET ARGUMENT...
    name=$1 limit=$2 key=$3 target=$4
    log=$(printf '%s.json' "$name" | tr ' ,/' '_')
    shift 4
    if timed "$limit" "$log" "$program" bench --runner cuda --json -r 3 "$@"; then
        row "$name" "$(rate "$log" "$key")" "$target"
    else
        row "$name" "FAILED: $(tail -n 1 "$logs/$log" | cut -c1-60)" "$target"
    fi
}

prepare() { # DIRECTORY
    directory=$(cd "$1" && pwd) || exit 1
    logs=${OUT:-$directory}/log
    program=$directory/nanovllm
    table=$logs/table
    deadline=$(($(date +%s) + ${GPU_CHECK_SECONDS:-480}))
    mkdir -p "$logs"
    : >"$table"
    export LD_LIBRARY_PATH="$directory/lib${LD_LIBRARY_PATH+:$LD_LIBRARY_PATH}"
    export NANOVLLM_DATA_DIR="$PWD/data" NANOVLLM_PROGRAM="$program" srcdir=.
    command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$logs/gpu"
    limited 60 "$program" run --runner cuda -p "Once upon a time" -n 32 --temp 0 || exit 1
}

# Is it right?
checks() {
    same=0 serial=0
    for prompt in "Once upon a time" "Lily and Tom" "The little dog" "The sun was" "Mia loved"; do
        text cpu -p "$prompt" --temp 0
        text gpu --runner cuda -p "$prompt" --temp 0
        same_texts gpu cpu && same=$((same + 1))
        export NANOVLLM_CUDA_OVERLAP=0
        text serial --runner cuda -p "$prompt" --temp 0
        unset NANOVLLM_CUDA_OVERLAP
        same_texts gpu serial && serial=$((serial + 1))
    done
    row "greedy text as on the CPU, Q8_0" "$same of 5" "(the CPU rounds to 8 bits)"
    row "the same text as without overlap" "$serial of 5" "5 of 5"
    same=0
    for seed in 1 2 3; do
        text ahead --runner cuda -p "Once upon a time" -N 4 -s $seed
        text alone --runner cuda --no-async-scheduling -p "Once upon a time" -N 4 -s $seed
        same_texts ahead alone && same=$((same + 1))
    done
    row "text with and without async scheduling" "$same of 3" "3 of 3"
    check_test op_values 60
    check_test architectures 90
    check_test golden 120
    check_test states 30
    check_test features 60
    command -v compute-sanitizer >/dev/null || return
    for way in "memcheck --enforce-eager" "racecheck --enforce-eager" "memcheck --async-scheduling"; do
        log=$(echo "$way" | tr -d ' ').log
        timed 60 "$log" compute-sanitizer --tool ${way% *} "$program" run --runner cuda ${way#* } \
            -p "Once upon a time" -n 8
        row "compute-sanitizer $way" "$(grep 'SUMMARY' "$logs/$log" | tail -n 1 | cut -c11-)" "0 errors"
    done
}

# Is it fast?
speed() {
    timed 60 ceilings.log "$directory/bench/bench_cuda" 10
    row "copy bandwidth, BF16 products" "$(sed -n 's/^copy: //p; s/.*8192: //p' "$logs/ceilings.log" | tr '\n' ' ')" "the ceilings"
    bench "decode qwen3-0.6b BF16, tokens/s" 60 tokens_per_s "1: 70 % of copy / 1.2 GB" --synthetic qwen3-0.6b:bf16 -p 0 -n 128 -b 1,32,256
    export NANOVLLM_CUDA_OVERLAP=0
    bench "the same without overlap" 30 tokens_per_s "(what overlap is worth)" --synthetic qwen3-0.6b:bf16 -p 0 -n 128 -b 1
    unset NANOVLLM_CUDA_OVERLAP
    bench "decode llama-8b Q4_K_M, tokens/s" 90 tokens_per_s "1: 60 % of the bound" --synthetic llama-8b:q4_k -p 0 -n 64 -b 1,32
    for type in f16 q8_0 fp8; do
        bench "decode qwen3-0.6b behind 8192 tokens, KV $type, tokens/s" 60 tokens_per_s "8 bits: 1.5 x f16" \
            --synthetic qwen3-0.6b:bf16 -p 0 -n 64 -b 16 -d 8192 -c 9000 --kv-cache-dtype "$type"
    done
    bench "offline qwen3-0.6b, output tokens/s" 90 output_tokens_per_s "20000" --synthetic qwen3-0.6b:bf16 --offline
    bench "the same, no async scheduling" 90 output_tokens_per_s "less" --synthetic qwen3-0.6b:bf16 --offline --no-async-scheduling
    bench "prefill llama-8b BF16, tokens/s" 90 tokens_per_s "50 % of BF16 / 16 GFLOP" --synthetic llama-8b:bf16 -p 16384 -n 0 \
        -b 1 --max-num-batched-tokens 8192 -c 20000 --no-batch-invariant
    if python3 -c 'import torch, transformers' 2>/dev/null; then
        timed 120 transformers.log python3 tools/gpu_hf_bench.py 64 256
        row "transformers' generate" "$(tail -n 1 "$logs/transformers.log" | cut -c1-60)" "a fifth of offline"
    fi
}

run() { # DIRECTORY PART...
    prepare "$1"
    shift
    for part; do
        "$part"
    done
    echo
    cat "$table"
}

case ${1-} in
build) build "${2:?directory}" ;;
checks | speed) run "${2:?directory}" "$1" ;;
run) run "${2:?directory}" checks speed ;;
*)
    build "${1:-build/gpu}"
    run "${1:-build/gpu}" checks speed
    ;;
esac
