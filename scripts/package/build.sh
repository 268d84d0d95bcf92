#!/bin/sh
# Builds the Debian package from the binaries in bin/, and prints its path.
# VERSION is the package's version, by default derived from the time of the last commit.
set -eu
cd "$(dirname "$0")/../.."
VERSION=${VERSION:-0~$(TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format=%cd.%h)}
ARCH=$(go env GOARCH)
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
export VERSION ARCH STAGE
install -m 755 bin/supervisor bin/worker "$STAGE/"
scripts/package/template.sh <scripts/package/session-manager.service >"$STAGE/session-manager@.service"
gzip -9n <scripts/package/session-manager.8 >"$STAGE/session-manager.8.gz"
scripts/tools/bin/nfpm package --config scripts/package/nfpm.yaml --packager deb --target "bin/session-manager_${VERSION}_${ARCH}.deb" >&2
echo "bin/session-manager_${VERSION}_${ARCH}.deb"
