#!/bin/sh
# apt-get as root, which waits up to ten minutes for another one, such as cloud-init's on
# a fresh machine. apt-get itself waits for the lock of dpkg, but not for that of its lists.
set -eu
root=""
if [ "$(id -u)" != 0 ]; then
	root="sudo"
fi
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
tries=60
while :; do
	code=0
	$root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@" 2>"$errors" || code=$?
	tries=$((tries - 1))
	if [ $code = 0 ] || [ $tries = 0 ] || ! grep -q 'Could not get lock' "$errors"; then
		cat "$errors" >&2
		exit $code
	fi
	sleep 10
done
