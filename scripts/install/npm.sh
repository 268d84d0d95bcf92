#!/bin/sh
# Installs the programs that the package-lock.json of a folder pins into its .cache, unmodified
# and without running their install scripts. None of them is committed or shipped.
set -eu
cd "$1"
command -v npm >/dev/null || { echo "$1: node and npm are needed (apt-get install nodejs npm)" >&2; exit 1; }
if [ -e .cache/package-lock.json ] && cmp -s package-lock.json .cache/package-lock.json; then
	exit 0
fi
mkdir -p .cache
cp package.json package-lock.json .cache/
(cd .cache && npm ci --ignore-scripts --no-audit --no-fund) || { rm -f .cache/package-lock.json; exit 1; }
