#!/bin/sh
# make_onnx_models.sh PROGRAM FOLDER: what the tests of the ONNX runner run, made by tools/onnx from the
# built-in model. Without python3's onnx module, or without the runner in the program, the folder gets a
# file SKIP that says so.
set -eu
program=$1 folder=$2
tools=${srcdir:-.}/tools/onnx
builtin=${srcdir:-.}/data/tinymodel.gguf
rm -rf "$folder"
mkdir -p "$folder"
python=
for candidate in /usr/bin/python3 python3; do
    if [ -z "$python" ] && "$candidate" -c 'import numpy, onnx' 2>/dev/null; then python=$candidate; fi
done
if [ -z "$python" ]; then
    echo "python3 has no onnx module" >"$folder/SKIP"
    exit 0
fi
export PYTHONDONTWRITEBYTECODE=1
export_to() { # NAME ARGUMENT...
    name=$1
    shift
    "$python" "$tools/export.py" "$@" -o "$folder/$name" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
}
"$program" quantize "$builtin" "$folder/f32.gguf" f32 --allow-requantize >/dev/null
"$program" quantize "$builtin" "$folder/q4_0.gguf" q4_0 --pure --allow-requantize >/dev/null
for past in concat packed none shared merged; do
    export_to $past -m "$builtin" --past $past
done
for type in f16 bf16; do
    export_to concat-$type -m "$builtin" --dtype $type
    export_to shared-$type -m "$builtin" --past shared --dtype $type
done
export_to external -m "$builtin" --external
export_to concat-q4_0 -m "$folder/q4_0.gguf"
export_to concat-int4 -m "$folder/q4_0.gguf" --int4
export_to gpt2 --synthetic arch=gpt2,hidden=64,layers=2,heads=4,ffn=128,vocab=300,context=256
for damage in no-logits no-ids head-mismatch missing-present missing-past not-decoder int8-past; do
    export_to damage-$damage -m "$builtin" --damage $damage
done
rm -f "$folder/log"
