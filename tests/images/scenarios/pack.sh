#!/bin/sh
# pack.sh SOURCES STORE: every directory of SOURCES with a handler becomes an exploded archive in STORE;
# those that bring a model-config.yaml become NAME-packed.mar as well.
set -eu
for source in "$1"/*/; do
  name=$(basename "$source")
  set -- "$1" "$2" --version 1.0 --handler "$source/handler.py" --export-path "$2"
  if [ -f "$source/model-config.yaml" ]; then
    (shift 2; torch-model-archiver --model-name "$name-packed" --config-file "$source/model-config.yaml" "$@")
    set -- "$@" --config-file "$source/model-config.yaml"
  fi
  (shift 2; torch-model-archiver --model-name "$name" --archive-format no-archive "$@")
  set -- "$1" "$2"
done
chmod -R a+rX "$2"
