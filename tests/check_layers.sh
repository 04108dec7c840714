#!/bin/sh
# Checks who includes whom: every `#include "…"` of a folder must name a folder it may use. The
# order is that of ARCHITECTURE.md; a folder listed nowhere is an error, so new ones are thought of.
set -u
cd "${srcdir:-.}" || exit 99
bad=0

# allowed FOLDER: what its files may include, by first path components
allowed() {
    case $1 in
    src/base) echo "base nanovllm.h config.h" ;;
    simd) echo "simd base nanovllm.h config.h" ;;
    src/format) echo "format simd base nanovllm.h" ;;
    src/tokenizer) echo "tokenizer format base nanovllm.h" ;;
    models) echo "models format simd base nanovllm.h" ;;
    src/runner) echo "runner models format simd base nanovllm.h config.h" ;;
    src/engine) echo "engine runner models tokenizer format simd base nanovllm.h" ;;
    src/chat) echo "chat base nanovllm.h" ;;
    src/server) echo "server base nanovllm.h" ;;
    src/cli) echo "cli server base nanovllm.h config.h" ;;
    include) echo "" ;;
    *) echo "UNKNOWN" ;;
    esac
}

check_file() { # FILE FOLDER
    list=$(allowed "$2")
    if [ "$list" = UNKNOWN ]; then
        echo "$1: folder $2 is not in tests/check_layers.sh"
        bad=1
        return
    fi
    # shellcheck disable=SC2013 # names of headers have no spaces
    for header in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$1"); do
        case $header in
        */*) first=${header%%/*} ;;
        *) first=$header ;;
        esac
        case " $list " in
        *" $first "*) ;;
        *)
            echo "$1: includes \"$header\"; $2 may include: $list"
            bad=1
            ;;
        esac
    done
}

count=0
for file in $(find include models simd src -name '*.[ch]' -o -name '*.cu' -o -name '*.def' -o -name '*.inc' | sort); do
    case $file in
    src/*) rest=${file#src/}; folder=src/${rest%%/*} ;;
    *) folder=${file%%/*} ;;
    esac
    check_file "$file" "$folder"
    count=$((count + 1))
done

# What only some may know: the operating system, and instruction sets.
for file in $(find models src -name '*.[ch]' | sort); do
    case $file in
    src/base/os.c) continue ;;
    esac
    if grep -nE '__linux__|__APPLE__|_WIN32|__x86_64__|__AVX|immintrin|__aarch64__|__ARM|arm_neon' "$file"; then
        echo "$file: only src/base/os.c and simd/ may ask for the system or the instruction set"
        bad=1
    fi
done

if [ "$count" -lt 40 ]; then
    echo "only $count files found in $(pwd)"
    bad=1
fi
[ $bad = 0 ] && echo "$count files include only what their layer may"
exit $bad
