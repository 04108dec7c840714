#!/bin/sh
# Installs into a folder of its own, then acts as a user of that: is everything there, does the
# program find its model, do the examples of docs/ build with pkg-config and run, in C and C++,
# against the shared library and the static one?
set -u
src=$(cd "${srcdir:-.}" && pwd)
: "${MAKE:=make}" "${CC:=cc}" "${CXX:=c++}"
unset NANOVLLM_DATA_DIR # what is installed must be enough
folder=$(mktemp -d "${TMPDIR:-/tmp}/nanovllm-install-XXXXXX") || exit 99
trap 'rm -rf "$folder"' EXIT
root=$folder/root
bad=0

fail() {
    echo "FAIL: $*"
    bad=1
}

# DESTDIR keeps the configured prefix out of it; the files then move as a whole, as a package does.
$MAKE -s install DESTDIR="$root" >"$folder/install.log" 2>&1 || {
    cat "$folder/install.log"
    exit 1
}
program=$(find "$root" -type f -name nanovllm -path '*bin*' | head -n 1)
[ -n "$program" ] || {
    echo "no program in $(find "$root" -type f)"
    exit 1
}
prefix=${program%/bin/nanovllm}
library=$(find "$prefix" -name libnanovllm.la -o -name libnanovllm.so -o -name libnanovllm.a | head -n 1)
libdir=$(dirname "$library")

for file in bin/nanovllm include/nanovllm.h share/nanovllm/tinymodel.gguf share/man/man1/nanovllm.1; do
    [ -s "$prefix/$file" ] || fail "$file is not installed"
done
[ -s "$libdir/pkgconfig/nanovllm.pc" ] || fail "nanovllm.pc is not installed"
[ -e "$libdir/libnanovllm.so" ] || [ -e "$libdir/libnanovllm.a" ] || fail "no library is installed"

PKG_CONFIG_PATH=$libdir/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
LD_LIBRARY_PATH=$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PKG_CONFIG_PATH LD_LIBRARY_PATH
pc() {
    pkg-config --define-variable=prefix="$prefix" --define-variable=libdir="$libdir" \
        --define-variable=includedir="$prefix/include" "$@" nanovllm
}

"$prefix/bin/nanovllm" run -p "Once upon a time" -n 24 --temp 0 >"$folder/story" 2>"$folder/log" ||
    fail "the installed program does not run: $(cat "$folder/log")"
grep -q "^Once upon a time." "$folder/story" || fail "the installed program said: $(cat "$folder/story")"
"$prefix/bin/nanovllm" --version | grep -qx "nanovllm $(pc --modversion)" || fail "the versions differ"

model=$prefix/share/nanovllm/tinymodel.gguf
try() { # WHAT COMPILER SOURCE FLAGS…
    what=$1 compiler=$2 source=$3
    shift 3
    # shellcheck disable=SC2086 # a compiler may come with flags of its own
    $compiler ${NANO_EXAMPLE_CFLAGS:-} "$src/docs/$source" -o "$folder/example" "$@" >"$folder/log" 2>&1 || {
        fail "$what does not build: $(cat "$folder/log")"
        return
    }
    "$folder/example" "$model" >"$folder/out" 2>"$folder/log" || fail "$what does not run: $(cat "$folder/log")"
    [ "$(wc -c <"$folder/out")" -ge 40 ] || fail "$what said only '$(cat "$folder/out")'"
    "$folder/example" /nonexistent.gguf >"$folder/out" 2>"$folder/log" && fail "$what ignores an error"
    grep -q /nonexistent.gguf "$folder/log" || fail "$what says of a missing file: $(cat "$folder/log")"
}

if [ -e "$libdir/libnanovllm.so" ]; then
    # shellcheck disable=SC2046
    try "example.c" "$CC -std=c11 -Wall -Wextra -Werror -pedantic" example.c $(pc --cflags --libs)
    # shellcheck disable=SC2046
    try "example_cpp.cpp" "$CXX -std=c++14 -Wall -Wextra -Werror -pedantic" example_cpp.cpp $(pc --cflags --libs)
fi
if [ -e "$libdir/libnanovllm.a" ]; then
    static=$(pc --static --libs | sed "s|-lnanovllm|$libdir/libnanovllm.a|")
    # shellcheck disable=SC2046,SC2086
    try "example.c, static" "$CC" example.c $(pc --cflags) $static
    # shellcheck disable=SC2046,SC2086
    try "example_cpp.cpp, static" "$CXX" example_cpp.cpp $(pc --cflags) $static
fi

[ $bad = 0 ] && echo "installed $(find "$prefix" -type f | wc -l) files; the program and the examples work"
exit $bad
