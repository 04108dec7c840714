#!/bin/sh
# Checks the names that the library brings into a program: the shared one exports nano_* and nothing
# else, and every function of nanovllm.h; in the static one every global symbol begins with nano.
set -u
: "${NM:=nm}"
header=${srcdir:-.}/include/nanovllm.h
libs=.libs
bad=0

if [ ! -d $libs ]; then
    echo "no $libs folder here"
    exit 99
fi

shared=$libs/libnanovllm.so
if [ -e $shared ]; then
    exported=$($NM -D --defined-only $shared | awk '{ print $NF }')
    for name in $exported; do
        case $name in
        nano_*) ;;
        __asan* | __ubsan* | __odr_asan*) ;; # the sanitizers' own
        *)
            echo "$shared exports $name"
            bad=1
            ;;
        esac
    done
    declared=$(tr '\n' ' ' <"$header" | sed 's/NANO_API/\n&/g' |
        sed -n 's/^NANO_API [^(]*[ *]\(nano_[a-z0-9_]*\)(.*/\1/p')
    for name in $declared; do
        echo "$exported" | grep -qx "$name" || {
            echo "$shared does not export $name"
            bad=1
        }
    done
    for name in $exported; do
        case $name in
        nano_*)
            echo "$declared" | grep -qx "$name" || {
                echo "$shared exports $name, which nanovllm.h does not declare"
                bad=1
            }
            ;;
        esac
    done
    [ "$(echo "$declared" | wc -l)" -ge 30 ] || {
        echo "only these functions found in $header: $declared"
        bad=1
    }
fi

static=$libs/libnanovllm.a
if [ -e $static ]; then
    global=$($NM -g --defined-only $static 2>/dev/null | awk 'NF == 3 && $2 != "W" && $2 != "V" { print $3 }')
    for name in $global; do
        case $name in
        nano_*) ;;
        __asan* | __ubsan* | __odr_asan*) ;;
        *)
            echo "$static defines $name"
            bad=1
            ;;
        esac
    done
    [ "$(echo "$global" | wc -l)" -ge 100 ] || {
        echo "$static has too few symbols to be true"
        bad=1
    }
fi

[ -e $shared ] || [ -e $static ] || {
    echo "no library in $(pwd)/$libs"
    exit 99
}
[ $bad = 0 ] && echo "names are fine"
exit $bad
