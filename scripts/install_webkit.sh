#!/bin/sh
# What `make test-webkit` needs beside Python: WebKitGTK with its WebDriver, a screen for it, and GStreamer's decoders.
set -eu
if command -v WebKitWebDriver >/dev/null && command -v xvfb-run >/dev/null; then
    exit 0
fi
packages="webkit2gtk-driver xvfb xauth gstreamer1.0-libav gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-gl"
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "WebKitGTK is needed for these tests; on Debian: apt-get install $packages"
    exit 1
fi
apt-get update -q
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $packages
