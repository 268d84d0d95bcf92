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
# On a fresh machine cloud-init holds apt's locks for minutes.
apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600"
$apt update
# shellcheck disable=SC2086 # a list of words
$apt install -y --no-install-recommends $missing >/dev/null
