#!/bin/sh
# Makes sure that a browser is installed: Google Chrome if it is there already,
# otherwise Debian's chromium. Other builds are never downloaded.
set -eu
for name in google-chrome-stable google-chrome chromium chromium-browser; do
	if command -v "$name" >/dev/null; then
		exit 0
	fi
done
exec "$(dirname "$0")/packages.sh" chromium
