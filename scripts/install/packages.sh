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
root=""
if [ "$(id -u)" != 0 ]; then
	root="sudo"
fi
echo "installing:$missing" >&2
$root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $missing >/dev/null
