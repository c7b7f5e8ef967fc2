#!/bin/sh
# Publishes what plans there are, so that Triton starts in any case: a network without one is served from its ONNX file.
# publish-plans REPOSITORY CACHE
set -u
python -m brainmets.engine --repository "$1" --precision fp16 --cache "$2" ||
  echo "not every plan was published (exit code $?); see docs/operations.md" >&2
for model in "$1"/*/; do
  [ -f "$model/configs/tensorrt.pbtxt" ] || cp "$model/configs/gpu.pbtxt" "$model/configs/tensorrt.pbtxt" || exit 1
done
