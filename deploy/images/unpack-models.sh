#!/bin/sh
# Copies a model repository and checks each network against the SHA-256 in its configuration.
# unpack-models SOURCE TARGET
set -eu
cp -R "$1/." "$2/"
for config in "$2"/*/config.pbtxt; do
  folder=${config%/config.pbtxt}
  expected=$(sed -n 's/.*key: "onnx_sha256" .*string_value: "\([0-9a-f]\{64\}\)".*/\1/p' "$config")
  # Its name is a number; of two Triton would serve the higher.
  set -- "$folder"/[0-9]*/
  if [ "$#" -ne 1 ] || [ ! -f "$1model.onnx" ]; then
    echo "$folder: expected one version with model.onnx, got $*; export the network again" >&2
    exit 1
  fi
  found=$(sha256sum "$1model.onnx" | cut -d ' ' -f 1)
  if [ "$found" != "$expected" ]; then
    echo "$folder: expected a network of SHA-256 $expected, got $found; build the models image again" >&2
    exit 1
  fi
  echo "$folder: SHA-256 $found"
done
