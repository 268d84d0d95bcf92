#!/bin/sh
# Makes sure that a browser is installed: Google Chrome if it is there already,
# otherwise Debian's chromium. Other builds are never downloaded.
set -eu
for name in google-chrome-stable google-chrome chromium chromium-browser; do
	path=$(command -v "$name") || continue
	real=$(readlink -f "$path")
	# A snap, or Ubuntu's placeholder for one, is confined and can't be used.
	if [ "${real##*/}" != snap ] && ! head -c 16384 "$real" | grep -aq '^exec /snap/bin/\|snap run '; then
		exit 0
	fi
done
if grep -qs '^ID=ubuntu' /etc/os-release; then
	echo "Ubuntu's chromium is a snap, which can't be used here: install Google's package google-chrome-stable" >&2
	exit 1
fi
exec "$(dirname "$0")/packages.sh" chromium
