#!/bin/sh
# Checks openapi.yaml with redocly and spectral, which must have nothing to warn of, and makes
# a client from it, which a test runs.
set -eu
cd "$(dirname "$0")/.cache"
description=../../../supervisor/internal/api/openapi.yaml
export REDOCLY_TELEMETRY=off
node node_modules/.bin/redocly lint --format=json "$description" 2>/dev/null >redocly.json ||
	{ cat redocly.json >&2; exit 1; }
grep -q '"errors": 0' redocly.json && grep -q '"warnings": 0' redocly.json || { cat redocly.json >&2; exit 1; }
echo 'extends: ["spectral:oas"]' >spectral.yaml
node node_modules/.bin/spectral lint --ruleset spectral.yaml --fail-severity=hint "$description"
cp ../client.mts .
sed 's|\.cache/||g' ../tsconfig.json >tsconfig.json
node node_modules/.bin/openapi-typescript "$description" -o schema.d.ts
node node_modules/.bin/tsc -p tsconfig.json
