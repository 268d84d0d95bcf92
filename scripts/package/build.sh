#!/bin/sh
# Builds the Debian packages into bin/, or $OUT, and prints their paths. VERSION is their version,
# by default derived from the time of the last commit; ARCHS are the architectures, whose
# names are the same for Go and Debian; MAINTAINER is who answers for them.
set -eu
cd "$(dirname "$0")/../.."
OUT=${OUT:-bin}
VERSION=${VERSION:-0~$(TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format=%cd.%h)}
MAINTAINER=${MAINTAINER:-session-manager maintainers <maintainers@session-manager.example>}
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
export VERSION MAINTAINER STAGE
scripts/package/template.sh <scripts/package/session-manager.service >"$STAGE/session-manager@.service"
scripts/package/documents.sh "$STAGE/documents"
gzip -9n <scripts/package/session-manager.8 >"$STAGE/session-manager.8.gz"
gzip -9n >"$STAGE/changelog.gz" <<-CHANGELOG
	session-manager ($VERSION) unstable; urgency=medium

	  * Built from commit $(git log -1 --format=%h).

	 -- $MAINTAINER  $(git log -1 --format=%cD)
CHANGELOG
bin/supervisor completion bash >"$STAGE/completion"
for ARCH in ${ARCHS:-amd64 arm64}; do
	export ARCH
	GOOS=linux GOARCH=$ARCH CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$STAGE/" ./supervisor ./worker
	scripts/tools/bin/nfpm package --config scripts/package/nfpm.yaml --packager deb --target "$OUT/session-manager_${VERSION}_$ARCH.deb" >&2
	echo "$OUT/session-manager_${VERSION}_$ARCH.deb"
done
