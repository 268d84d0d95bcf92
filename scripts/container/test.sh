#!/bin/bash
# Builds the image with podman, from base images that are made here, as no registry is
# needed, and checks what an operator relies on: a QR, Chrome's sandbox, a clean stop, and a
# start without a scan. The simulator runs next to it, in the same pod. Each line is a
# check; the exit status is 0 if all have passed.
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "test-container: needs root and apt-get; nothing was tested" >&2
	exit 1
fi
if (exec 3<>/dev/tcp/127.0.0.1/3001) 2>/dev/null; then
	echo "test-container: port 3001 is in use; nothing was tested" >&2
	exit 1
fi
scripts/install/packages.sh podman podman-compose runc netavark aardvark-dns iptables debootstrap curl jq || exit 1

work=$(mktemp -d)
bad=0
ok() { printf 'ok    %s\n' "$*"; }
no() { printf 'FAIL  %s\n' "$*"; bad=1; }
is() { if [ "$2" = "$3" ]; then ok "$1: $2"; else no "$1: $2, not $3"; fi; }

# Storage of its own, and limits that need no privilege. runc works with cgroups of both
# versions at once, too.
cat >"$work/containers.conf" <<-C
	[containers]
	default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
	[engine]
	cgroup_manager = "cgroupfs"
	runtime = "runc"
	[network]
	network_backend = "netavark"
	network_config_dir = "$work/networks"
C
export CONTAINERS_CONF=$work/containers.conf
printf '#!/bin/sh\nexec podman --root %s --runroot %s "$@"\n' "$work/storage" "$work/run" >"$work/podman"
chmod 755 "$work/podman"
podman() { "$work/podman" "$@"; }
cleanup() {
	podman pod rm -fa -t 5 >/dev/null 2>&1
	podman rm -fa -t 5 >/dev/null 2>&1
	podman rmi -fa >/dev/null 2>&1
	umount "$work/storage/overlay" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT

# The base images, under the names that the Containerfile has.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m1 /debian/)
echo "making the base images from $mirror"
debootstrap --variant=minbase bookworm "$work/base" "${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 ||
	{ tail -5 "$work/debootstrap.log"; exit 1; }
tar -C "$work/base" -c . | podman import -q - docker.io/library/debian:bookworm-slim >/dev/null || exit 1
mkdir -p "$work/base/usr/local/go"
cp -r "$(go env GOROOT)/." "$work/base/usr/local/go/" || exit 1
tar -C "$work/base" -c . | podman import -q --change 'ENV PATH=/usr/local/go/bin:/usr/bin:/bin:/usr/sbin:/sbin' \
	- docker.io/library/golang:1.26-bookworm >/dev/null || exit 1
rm -rf "$work/base"

echo "building the image"
podman build --network host -v "$(go env GOMODCACHE):/root/go/pkg/mod" -v "$(go env GOCACHE):/root/.cache/go-build" \
	-f scripts/container/Containerfile -t session-manager . >"$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }
CGO_ENABLED=0 go build -o "$work/simulator" ./scripts/simulator/cmd || exit 1

# A clone with compose.yaml in it, and docker as the page calls it. All is as it is but for the network: the
# simulator holds it, as it keeps the simulated account, and the page must have a loopback address for Chrome to trust it.
mkdir -p "$work/clone/scripts/container" "$work/path"
cp scripts/container/compose.yaml scripts/container/seccomp.json "$work/clone/scripts/container/"
echo 'services: {session-manager: {environment: {SESSION_MANAGER_URL: "http://127.0.0.1:3002/"}}}' >"$work/simulated.yaml"
cat >"$work/simulated-podman" <<-P
	#!/bin/bash
	args=()
	while [ \$# -gt 0 ]; do
		case \$1 in
		--net) args+=(--network container:simulator); shift ;;
		--network-alias | -p) shift ;;
		*) args+=("\$1") ;;
		esac
		shift
	done
	exec $work/podman "\${args[@]}"
P
cat >"$work/path/docker" <<-D
	#!/bin/bash
	[ "\$1" = compose ] || exit 64
	shift
	exec podman-compose --podman-path "$work/simulated-podman" -p test -f compose.yaml -f "$work/simulated.yaml" "\$@"
D
chmod 755 "$work/simulated-podman" "$work/path/docker"
compose() { (cd "$work/clone/scripts/container" && "$work/path/docker" compose "$@"); }
# documented PAGE: each command of this page works as it is written, one after the other in one shell, here as root.
documented() {
	awk '/^```console/{on=1; next} /^```/{on=0} on && sub(/^\$ /, "")' "scripts/package/docs/$1.md" | sed 's/\bsudo //g' >"$work/commands"
	if (cd "$work/clone" && PATH="$work/path:$PATH" timeout 120 bash -ex "$work/commands") >"$work/documented.log" 2>&1; then
		ok "docs/$1.md: $(wc -l <"$work/commands") commands"
	else
		no "docs/$1.md"; cat "$work/documented.log"
	fi
}
podman run -d --name simulator -p 127.0.0.1:3001:3001 -v "$work/simulator:/simulator:ro" --entrypoint /simulator session-manager --speed=5 >/dev/null || exit 1
service=test_session-manager_1
inside() { podman exec $service "$@"; }
api() { curl -s -m 40 -H "Authorization: Bearer $key" "http://127.0.0.1:3001$1"; }
# reaches WHAT STATE SECONDS: waits for the state; the states on the way are in $seen.
reaches() {
	local end=$((SECONDS + $3)) now=
	seen=
	while [ $SECONDS -lt $end ]; do
		now=$(api /status | jq -r .status 2>/dev/null)
		case $seen in *" $now") ;; *) seen="$seen $now" ;; esac
		[ "$now" = "$2" ] && { ok "$1: $2"; return; }
		sleep 0.5
	done
	no "$1:$seen within $3 s, not $2"; api /session; podman logs --tail 20 $service
}
yes() { local what=$1; shift; if "$@" >/dev/null 2>&1; then ok "$what"; else no "$what"; fi; }
not() { local what=$1; shift; if "$@" >/dev/null 2>&1; then no "$what"; else ok "$what"; fi; }

documented container
key=$(cat "$work/clone/scripts/container/api-key")
if grep -q '▀▀▀▀' "$work/documented.log"; then ok "the last of them draws the QR"; else no "no QR: $(tail -5 "$work/documented.log")"; fi
reaches "the page" QR_REQUIRED 120
is "without the key" "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:3001/qr)" 401
is "GET /qr" "$(api '/qr?wait=25s' | jq -r .status)" QR_AVAILABLE
yes "healthcheck" podman healthcheck run $service
inside curl -s -X POST http://127.0.0.1:3003/scan >/dev/null
reaches "after the scan" READY 120

is "Chrome's sandbox is on" "$(api /session | jq .browser.sandbox)" true
# A renderer has a namespace of its own, and a filter more than the container.
of() { inside sh -c 'for p in /proc/[0-9]*; do [ $p = /proc/$$ ] && continue; tr "\0" " " <$p/cmdline | grep -q "^$1" && cat $p/status && break; done' _ "$1"; }
filters() { of "$1" | awk '/^Seccomp_filters:/{print $2}'; }
if [ "$(of '.*--type=renderer' | awk '/^NSpid:/{print NF - 1}')" -gt 1 ]; then ok "namespaces of a renderer"; else no "namespaces of a renderer"; fi
if [ "$(filters '.*--type=renderer')" -gt "$(filters .*/supervisor)" ]; then ok "filters of a renderer"; else no "filters of a renderer"; fi
is "filter of the container" "$(of .*/supervisor | awk '/^Seccomp:/{print $2}')" 2
is "capabilities" "$(of .*/supervisor | awk '/^CapBnd:/{print $2}')" 0000000000000000
case $(inside mount -t tmpfs none /mnt 2>&1) in *"not implemented"*) ok "mount is not in the profile" ;; *) no "mount is in the profile" ;; esac
not "the root can't be written" inside touch /usr/x

# Chrome reads the file of a message from the volume.
head -c 100000 /dev/urandom >"$work/file.bin"
id=$(api /messages -F 'message={"to":"+15550101001","type":"document","caption":"a file"}' -F "media=@$work/file.bin" | jq -r .id)
is "a message with a file" "$(api "/messages/$id?wait=25s&not=queued&not=sending" | jq -r .status)" sent
is "what arrived" "$(inside curl -s http://127.0.0.1:3003/sent | jq -r '.[] | select(.text == "a file").media.size')" 100000

begun=$SECONDS
compose stop >"$work/stop.log" 2>&1
is "exit code after $((SECONDS - begun)) s" "$(podman inspect --format '{{.State.ExitCode}}' $service)" 0
logs=$(podman logs $service 2>&1)
has() { if grep -q "$2" <<<"$logs"; then ok "$1"; else no "$1"; tail -5 <<<"$logs"; fi; }
has "Chrome was closed cleanly" '"msg":"chrome_exited"'
has "the login was backed up" '"msg":"backup_created"'
compose start >"$work/start.log" 2>&1
reaches "the next start" READY 120
case $seen in *QR_REQUIRED*) no "it needed a scan:$seen" ;; *) ok "without a scan:$seen" ;; esac
exit $bad
