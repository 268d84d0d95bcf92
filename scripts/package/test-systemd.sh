#!/bin/bash
# Boots Debian with a real systemd in a container (see boot), installs the package, and
# checks the service through what happens to services: stop, kill, hang, crash, bad
# settings, upgrade, reboot, removal. The simulator runs next to it. What README.md has for
# a clone is run on this machine. Each line is a check; the exit status is 0 if all have
# passed. The arguments are what to boot: releases of Debian, or "host" for this machine's own files.
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "test-systemd: needs root and apt-get, as it boots a container; nothing was tested" >&2
	exit 1
fi
export LAB_NAME=${LAB_NAME:-session-manager}
boot=scripts/package/boot
work=$(mktemp -d)
trap '$boot kill; rm -rf "$work"' EXIT
arch=$(dpkg --print-architecture)

# test_on SYSTEM: everything, on one system.
test_on() {
	local root="--root debian --suite $1" bad=0 lines
	case $1 in
	host)
		root="--root host"
		scripts/install/browser.sh && scripts/install/packages.sh jq || return 1
		;;
	bookworm) ;;
	*) root="$root --cgroup v2" ;;
	esac
	# shellcheck disable=SC2086 # a list of words
	$boot up $root --pkgs "$([ "$1" = host ] || echo chromium fonts-liberation jq)" --bin "$work/simulator" || return 1
	if [ "$1" = host ]; then
		# /var is empty in the container, but the packages of this machine are installed in it.
		tar -C /var/lib -c dpkg | $boot exec tar -C /var/lib -x || return 1
	fi
	$boot put "$work/0.1.deb" /root/0.1.deb
	$boot put "$work/0.2.deb" /root/0.2.deb
	$boot put scripts/package/inside.sh /root/inside.sh 755
	$boot exec /root/inside.sh life || bad=1
	# The dump of the hung process comes later, and is not in JSON.
	lines=$($boot exec journalctl -q -o cat --no-pager _SYSTEMD_UNIT=session-manager.service _COMM=supervisor --until "$($boot exec cat /root/before-the-hang)")
	if [ -n "$lines" ] && ! grep -qv '^{.*}$' <<<"$lines"; then
		echo "ok    the log is one JSON object per line: $(wc -l <<<"$lines") lines"
	else
		echo "FAIL  lines of the log that are not JSON objects:"; grep -v '^{.*}$' <<<"$lines" | head -5
		bad=1
	fi
	$boot reboot || return 1
	$boot exec /root/inside.sh reboot || bad=1
	$boot down
	return $bad
}

# in_clone COMMAND…: the command asks for a scan, in a network of its own, where its ports are free, and with
# the simulator in place of WhatsApp's page.
in_clone() {
	if SESSION_MANAGER_URL=http://127.0.0.1:3002/ SESSION_MANAGER_TOKENS=$work/tokens \
		timeout -k 5 180 unshare --net --pid --fork --kill-child --mount-proc bash -c '
		ip link add here0 type veth peer name there0 && ip address add 192.0.2.1/24 dev here0
		for link in here0 there0 lo; do ip link set $link up; done
		[ "$2" = "make demo" ] || "$1/simulator" >/dev/null 2>&1 &
		script -qefc "stty cols 100 rows 60; $2" "$1/clone.log" </dev/null >/dev/null &
		until curl -s localhost:3001/status | grep -q QR_REQUIRED && grep -qE "▀▀▀▀|QR_REQUIRED" "$1/clone.log"; do sleep 0.2; done
	' _ "$work" "$*"; then
		echo "ok    $*"
	else
		echo "FAIL  $*"; tail -20 "$work/clone.log"
		failed=1
	fi
}

CGO_ENABLED=0 go build -o "$work/simulator" ./scripts/simulator/cmd || exit 1
for version in 0.1 0.2; do
	OUT=$work ARCHS=$arch VERSION=$version~test scripts/package/build.sh >/dev/null || exit 1
	mv "$work/session-manager_$version~test_$arch.deb" "$work/$version.deb"
done
failed=0
echo "== a clone"
in_clone make demo
in_clone make run
[ $# -gt 0 ] || set -- bookworm trixie
for system; do
	echo "== $system"
	test_on "$system" || failed=1
done
exit $failed
