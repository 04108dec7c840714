#!/bin/sh
# embed.sh PAGE.html: the page as C on standard output; see src/server/page.h.
set -eu
[ -r "$1" ] || {
    echo "embed.sh: $1: cannot be read" >&2
    exit 1
}
cat <<'END'
#include "server/page.h"

const unsigned char nano_page_html[] = {
END
od -A n -v -t u1 "$1" | awk '{ line = ""; for (i = 1; i <= NF; i++) line = line $i ","; print line }'
cat <<'END'
};
const size_t nano_page_html_bytes = sizeof nano_page_html;
END
