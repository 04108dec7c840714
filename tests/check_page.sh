#!/bin/sh
# The web page in a headless Chromium: against the server, and against a mock for what it must endure.
#   check_page.sh [--screenshots FOLDER]     with a folder: makes the pictures of docs/ there instead
. "${srcdir:-.}/tests/serve_lib.sh"
source=${srcdir:-.}/tests/web
place=$(dirname "$program")/tests/page-client

command -v node >/dev/null 2>&1 || skip "needs node"
node "$source/policy.mjs" || { echo "FAIL: the policy is not the page's"; exit 1; }
[ -x /usr/bin/chromium ] || skip "needs Chromium"
npm_install "$source" "$place"
timeout 500 node "$source/page.test.mjs" --modules "$place" --program "$program" "$@"
