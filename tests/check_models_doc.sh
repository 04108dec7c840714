#!/bin/sh
# docs/MODELS.md has a row for each architecture of this build, and no other.
set -eu
: "${NANOVLLM_PROGRAM:?is not set}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$NANOVLLM_PROGRAM" info --architectures | sort > "$work/program"
sed -n '/^## Formats/q; /^| Architecture /d; /^|---/d; s/^| \([^ ]*\) |.*/\1/p' \
    "${srcdir:-.}/docs/MODELS.md" | sort > "$work/doc"
[ -s "$work/program" ] || { echo "no architectures"; exit 1; }
diff "$work/doc" "$work/program" || {
    echo "docs/MODELS.md is not of this program: run tools/models_doc.sh"
    exit 1
}
