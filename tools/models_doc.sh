#!/bin/sh
# Writes docs/MODELS.md: what runs, and how each of it was checked, from the program and its tests.
#
#   tools/models_doc.sh BUILD_DIR > docs/MODELS.md
#
# Needs a built tree (make check-programs or make check) and NANOVLLM_TEST_DATA.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:?usage: models_doc.sh BUILD_DIR}" && pwd)
zoo=${NANOVLLM_TEST_DATA:?is not set}/zoo
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# NAME DIFFERENCE, one line per golden that the tests compared
NANOVLLM_DATA_DIR=$top/data "$build/tests/test_golden_logits" 2>&1 |
    sed -n 's/^\([^ ]*\): worst relative difference \(.*\)$/\1 \2/p' | sort -u > "$work/goldens"

# NAME ARCHITECTURE FORMAT TOKENIZER…
while read -r name _; do
    file=$zoo/gguf/$name.gguf
    [ -f "$file" ] || file=$zoo/$name.gguf
    "$build/nanovllm" info -m "$file" 2>/dev/null |
        awk -v name="$name" '
            $1 == "architecture" { architecture = $2 }
            $1 == "parameters" { format = $(NF - 2); sub(",", "", format) }
            $1 == "tokenizer" { tokenizer = $2 ($3 == "bos" ? "" : " " $3); gsub(",", "", tokenizer)
                print name, architecture, format, tokenizer; exit }'
done < "$work/goldens" > "$work/models"

# What a model file says of itself: its first comment up to an empty line.
describe() {
    awk '/^ \*$/ || /\*\/$/ { exit } { sub(/^\/\* [^:]*: */, ""); sub(/^ \* /, ""); printf "%s%s", (NR > 1 ? " " : ""), $0 }' "$1"
}

cat << EOF
# Models

Written by \`tools/models_doc.sh\` from the program and its tests; do not edit.

An architecture is what a GGUF file calls \`general.architecture\`; \`nanovllm info --architectures\` lists
those of a build. Small models of random weights of every one are compared with plain loops of
doubles, must have the same bits in any batch, with any number of threads, and are damaged in all
ways that tests could think of. Models with golden logits are compared with them for prompts of
several lengths and chunks of several sizes ("difference": the largest, relative to the largest
logit). Golden models in quantised formats are compared with their weights dequantised, or with
another engine's results, whose activations are rounded too.

"Folder": models of it also open as Hugging Face's folders of safetensors.

| Architecture | Models | Golden: format, difference | Tokenizers | Folder |
|---|---|---|---|---|
EOF
"$build/nanovllm" info --architectures | sort | while read -r architecture; do
    source=$(grep -l "{\"$architecture\"," "$top"/models/*.c | head -1)
    goldens=$(awk -v a="$architecture" 'NR == FNR { difference[$1] = $2; next }
        $2 == a { printf "%s%s: %s, %s", n++ ? "; " : "", $1, $3, difference[$1] }' \
        "$work/goldens" "$work/models")
    tokenizers=$(awk -v a="$architecture" '$2 == a { t = $4 ($5 ? " " $5 : "")
        if (!seen[t]++) printf "%s%s", n++ ? ", " : "", t }' "$work/models")
    folder=$(grep -q "\"$architecture\"" "$top/src/format/hf_classes.c" && echo yes || true)
    [ "$goldens" ] || goldens="plain loops"
    echo "| $architecture | $(describe "$source") | $goldens | $tokenizers | $folder |"
done

cat << EOF

## Formats

Any tensor may have any of these formats, whatever the architecture. Each is dequantised bit by bit as
its definition says (compared with reference bytes), and its kernels are compared with that on every
instruction set.

| Format | Bits per weight | Kernels multiply with |
|---|---|---|
EOF
sed -n 's/^NANO_FORMAT(\(.*\))$/\1/p' "$top/simd/quant.def" | awk -F', *' '
    { x = $6 == "F32" ? "32-bit floats" : "8-bit integers, a scale per " substr($6, 4)
      printf "| %s | %.4g | %s |\n", $1, 8 * $5 / $4, x }'
