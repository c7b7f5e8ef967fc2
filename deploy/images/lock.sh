#!/bin/sh
# Writes the images' lock files from pyproject.toml and constraints.txt; needs uv. Run it after a change of either.
set -eu
cd "$(dirname "$0")/../.."
# extra, Python of the image
lock() {
  uv pip compile pyproject.toml --extra "$1" --constraint constraints.txt --python-version "$2" \
    --python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes --no-annotate --no-header --quiet \
    --no-config --output-file "deploy/images/$1.lock"
}
lock gateway 3.11.14
lock preprocessing 3.11.14
lock engine 3.12.3
