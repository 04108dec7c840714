#!/bin/sh
# The web page in a headless Chromium: against the server, and against a mock for what it must endure.
#   check_page.sh [--screenshots FOLDER]     with a folder: makes the pictures of docs/ there instead
. "${srcdir:-.}/tests/serve_lib.sh"
source=${srcdir:-.}/tests/web
place=$(dirname "$program")/tests/page-client

command -v node >/dev/null 2>&1 || skip "needs node"
node -e 'process.exit(typeof fetch === "function" ? 0 : 1)' || skip "needs node 18 or newer"
node "$source/policy.mjs" || { echo "FAIL: the policy is not the page's"; exit 1; }
command -v npm >/dev/null 2>&1 || skip "needs npm"
[ -x /usr/bin/chromium ] || skip "needs Chromium"
mkdir -p "$place" && cp "$source/package.json" "$place" || exit 99
# What was installed before stays, so that only the first run needs the network.
if ! cmp -s "$place/package.json" "$place/installed.json"; then
    (cd "$place" && timeout 120 npm install --no-package-lock --no-audit --no-fund --fetch-retries 1) \
        >"$folder/npm" 2>&1 || skip "npm cannot install the package: $(grep -m 1 -i err "$folder/npm")"
    cp "$place/package.json" "$place/installed.json"
fi
timeout 500 node "$source/page.test.mjs" --modules "$place" --program "$program" "$@"
