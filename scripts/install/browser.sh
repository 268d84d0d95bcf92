#!/bin/sh
# Makes sure that a browser of the system is there: Google Chrome if it is
# installed, else Debian's chromium. Never a downloaded build.
set -eu
for name in google-chrome-stable google-chrome chromium chromium-browser; do
	if command -v "$name" >/dev/null; then
		exit 0
	fi
done
exec "$(dirname "$0")/packages.sh" chromium
