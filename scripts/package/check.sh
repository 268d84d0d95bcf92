#!/bin/bash
# Builds the packages for both architectures, has lintian check them, and runs the arm64
# binaries under qemu. Each line is a check; the exit status is 0 if all have passed.
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
scripts/install/packages.sh lintian qemu-user curl || exit 1
work=$(mktemp -d)
service=
trap '[ -z "$service" ] || kill $service; rm -rf "$work"' EXIT
bad=0
ok() { printf 'ok    %s\n' "$*"; }
no() { printf 'FAIL  %s\n' "$*"; bad=1; }

VERSION=0.1~test scripts/package/build.sh >"$work/built" || exit 1
while read -r package; do
	mv "$package" "$work/"
	package=$work/$(basename "$package")
	if lintian --fail-on error --tag-display-limit 0 "$package" >"$work/tags" 2>&1; then
		ok "lintian: no error in $(basename "$package"), $(grep -c '^W' "$work/tags") warnings"
	else
		no "lintian: $(basename "$package")"
	fi
	grep '^[EW]' "$work/tags"
done <"$work/built"

package=$work/session-manager_0.1~test_arm64.deb
dpkg-deb -x "$package" "$work/arm64"
bin=$work/arm64/usr/lib/session-manager
if [ "$(dpkg-deb -f "$package" Architecture)" = arm64 ] && file "$bin/supervisor" "$bin/worker" | grep -c 'ARM aarch64.*statically linked' | grep -q 2; then
	ok "static binaries for arm64"
else
	no "binaries for arm64: $(file "$bin"/*)"
fi
# The worker's name is a script, as the kernel here can't start what is for arm64.
printf '#!/bin/sh\nexec qemu-aarch64 %s "$@"\n' "$bin/worker" >"$work/worker"
chmod 755 "$work/worker"
qemu-aarch64 "$bin/supervisor" --listen "unix:$work/api" --tokens "$work/tokens" --worker "$work/worker" >"$work/log" 2>&1 &
service=$!
answer=$(curl -s --retry 30 --retry-delay 1 --retry-all-errors --unix-socket "$work/api" http://localhost/status)
case $answer in
*'"status":"'*) ok "arm64, under qemu: $answer" ;;
*) no "arm64, under qemu: $answer"; tail -5 "$work/log" ;;
esac
kill $service
wait $service
code=$?
service=
if [ $code = 0 ]; then ok "arm64, under qemu: exit code 0"; else no "arm64, under qemu: exit code $code"; fi
exit $bad
