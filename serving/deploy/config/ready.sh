#!/usr/bin/env bash
# Health check of TensorFlow Serving's image, which has no /readyz and no curl:
# every model of the config has a version that answers.
#   bash ready.sh /pointers/stock.config
set -eu
models=$(sed -n 's/^ *name: "\(.*\)"$/\1/p' "$1")
[ -n "$models" ]
for model in $models; do
    exec 3<> /dev/tcp/127.0.0.1/8501
    printf 'GET /v1/models/%s HTTP/1.0\r\n\r\n' "$model" >&3
    grep -q '"state": *"AVAILABLE"' <&3
done
