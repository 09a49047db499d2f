#!/bin/sh
# The speech synthesiser of the tests and benchmarks of speech: espeak-ng, from the path or Debian's package.
set -eu
command -v espeak-ng >/dev/null && exit 0
command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || { echo "Install espeak-ng."; exit 1; }
apt-get update -q
apt-get install -q -y --no-install-recommends espeak-ng
