#!/bin/sh
# A Chromium for the browser tests: the one there is, else Debian's package, else Playwright's own download.
set -eu
python=$1
if [ -n "${BROWSER_PATH:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
    command -v google-chrome >/dev/null; then
    exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -q
    apt-get install -q -y --no-install-recommends chromium && exit 0
fi
exec "$python" -m playwright install chromium
