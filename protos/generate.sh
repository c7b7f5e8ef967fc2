#!/bin/sh
# Writes the committed stubs from protos/. Run by `make protos`; a test fails when they are stale.
# Only files named *_service.proto hold a service, and have gRPC stubs.
# usage: protos/generate.sh PYTHON OUTPUT_DIRECTORY
set -eu
# Not resolved further: an interpreter of an environment is a link out of it.
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
output=$(cd "$2" && pwd)
cd "$(dirname "$0")"
"$python" -m grpc_tools.protoc -I . \
  --plugin=protoc-gen-mypy="$(dirname "$python")/protoc-gen-mypy" \
  --python_out="$output" --mypy_out="$output" \
  brainmets/v1/*.proto brainmets/internal/v1/*.proto
"$python" -m grpc_tools.protoc -I . \
  --plugin=protoc-gen-mypy_grpc="$(dirname "$python")/protoc-gen-mypy_grpc" \
  --grpc_python_out="$output" --mypy_grpc_out="$output" \
  brainmets/v1/*_service.proto brainmets/internal/v1/*_service.proto
