#!/bin/sh
# Installs those of the named Debian packages that are missing.
set -eu
missing=""
for package; do
	if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
		missing="$missing $package"
	fi
done
[ -n "$missing" ] || exit 0
echo "installing:$missing" >&2
apt=$(dirname "$0")/apt.sh
"$apt" -qq update
# shellcheck disable=SC2086 # a list of words
"$apt" -qq install -y --no-install-recommends $missing >/dev/null
