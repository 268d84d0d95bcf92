#!/bin/bash
# Builds the packages for both architectures, has lintian check them, and runs what can be
# run of the arm64 binaries under qemu. Each line is a check; the exit status is 0 if all have passed.
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
scripts/install/packages.sh lintian qemu-user file || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
ok() { printf 'ok    %s\n' "$*"; }
no() { printf 'FAIL  %s\n' "$*"; bad=1; }

OUT=$work VERSION=0.1~test scripts/package/build.sh >"$work/built" || exit 1
while read -r package; do
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
if go test -count=1 ./scripts/deps -run TestLinksOfThePackage -unpacked "$work/arm64" >"$work/out" 2>&1; then
	ok "links of the documents lead to files and headings of the package"
else
	no "links of the documents: $(cat "$work/out")"
fi
# The service itself can't run there: qemu 7.2 does not know PR_SET_CHILD_SUBREAPER.
for command in --version --print-config "completion bash"; do
	# shellcheck disable=SC2086 # a list of words
	if qemu-aarch64 "$bin/supervisor" $command >"$work/out" 2>&1 && [ -s "$work/out" ]; then
		ok "arm64, under qemu: supervisor $command"
	else
		no "arm64, under qemu: supervisor $command: $(tail -3 "$work/out")"
	fi
done
qemu-aarch64 "$bin/worker" >"$work/out" 2>&1
if grep -q 'bin/supervisor starts this program' "$work/out"; then ok "arm64, under qemu: worker"; else no "arm64, under qemu: worker: $(tail -3 "$work/out")"; fi
exit $bad
