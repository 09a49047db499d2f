#!/bin/sh
# The browsers of the page's tests, Chromium and Firefox: those there are, else Debian's packages, else Playwright's own.
# These need the Python that has Playwright, as the argument.
# Firefox plays H.264 with FFmpeg's libraries, which Debian's package ffmpeg brings.
set -eu
python=${1:-}

has_one() {
    for name in "$@"; do
        if [ -n "$name" ] && command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}

install_package() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
    [ -n "${updated:-}" ] || apt-get update -q || return 1
    updated=yes
    apt-get install -q -y --no-install-recommends "$1"
}

download() {
    [ -z "$python" ] || "$python" -m playwright install "$1"
}

has_one "${BROWSER_PATH:-}" chromium-headless-shell || install_package chromium-headless-shell ||
    has_one chromium chromium-browser google-chrome google-chrome-stable || install_package chromium ||
    download chromium
has_one "${FIREFOX_PATH:-}" firefox-esr ||
    install_package firefox-esr || download firefox
if command -v apt-get >/dev/null && ! PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -q 'libavcodec\.so'; then
    install_package ffmpeg || echo "Firefox needs FFmpeg's libraries to play H.264: install the package ffmpeg"
fi
