#!/bin/sh
# documents.sh FOLDER: writes the documents as the package installs them. What they link to in the repository is
# installed next to them; the map of the code stays in the clone, where the code is.
set -eu
to=$1
cd "$(dirname "$0")/../.."
mkdir -p "$to/docs" "$to/examples/container"
cp scripts/container/compose.yaml scripts/container/kubernetes.yaml scripts/container/seccomp.json "$to/examples/container/"
cp scripts/package/config.example.json "$to/examples/config.json"
cp worker/internal/browser/ENGINES.md "$to/docs/engines.md"
cp scripts/package/docs/*.png "$to/docs/"
for page in scripts/package/docs/*.md; do
	sed -e 's|](../../container/|](../examples/container/|g' -e 's|](../../../worker/internal/browser/ENGINES.md)|](engines.md)|g' \
		"$page" >"$to/docs/$(basename "$page")"
done
sed -e 's|](scripts/package/docs/|](docs/|g' -e '/](ARCHITECTURE.md)/d' README.md >"$to/README.md"
find "$to" -type f -exec chmod 644 {} +
