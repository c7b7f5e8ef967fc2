#!/bin/sh
# Prints the rules of deploy/monitoring as the Prometheus operator takes them: rules.sh | kubectl -n brainmets apply -f -
set -eu
cd "$(dirname "$0")/../monitoring/prometheus"
for name in recording objectives alerts; do
  cat <<HEAD
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: brainmets-$name
  labels: {app.kubernetes.io/name: brainmets}
spec:
HEAD
  sed 's/^/  /' "$name.yaml"
done
