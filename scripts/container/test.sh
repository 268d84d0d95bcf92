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
scripts/install/packages.sh podman crun debootstrap curl jq || exit 1

work=$(mktemp -d)
bad=0
ok() { printf 'ok    %s\n' "$*"; }
no() { printf 'FAIL  %s\n' "$*"; bad=1; }
is() { if [ "$2" = "$3" ]; then ok "$1: $2"; else no "$1: $2, not $3"; fi; }

podman() { command podman --root "$work/storage" --runroot "$work/run" --cgroup-manager cgroupfs "$@"; }
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

# compose.yaml as it is, with the simulator in the same network, where its address is a
# loopback one, as it must be for Chrome to trust it.
mkdir "$work/compose"
cp scripts/container/compose.yaml scripts/container/seccomp.json "$work/compose/"
key=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
echo "$key" >"$work/compose/api-key"
chmod 644 "$work/compose/api-key"
cat >"$work/compose/simulated.yaml" <<-Y
	services:
	  session-manager:
	    environment: {SESSION_MANAGER_URL: "http://127.0.0.1:3002/"}
	  simulator:
	    image: session-manager
	    network_mode: service:session-manager
	    entrypoint: ["/simulator", "--speed=5"]
	    volumes: ["$work/simulator:/simulator:ro"]
Y
printf '#!/bin/sh\nexec podman --root %s --runroot %s --cgroup-manager cgroupfs "$@"\n' "$work/storage" "$work/run" >"$work/podman"
chmod 755 "$work/podman"
compose() { (cd "$work/compose" && podman-compose --podman-path "$work/podman" -p test -f compose.yaml -f simulated.yaml "$@"); }
