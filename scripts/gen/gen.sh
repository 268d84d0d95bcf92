#!/bin/sh
# Regenerates the gRPC code. The generators are tools in go.mod, so that their
# versions match the runtime; protoc is Debian's protobuf-compiler.
set -eu
cd "$(dirname "$0")/../.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
go build -o "$tools" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH="$tools:$PATH" protoc -I shared/rpc/workerpb \
	--go_out=shared/rpc/workerpb --go_opt=paths=source_relative \
	--go-grpc_out=shared/rpc/workerpb --go-grpc_opt=paths=source_relative worker.proto
