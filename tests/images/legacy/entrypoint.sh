#!/bin/bash
# Behaves like the entry point of the upstream images: TorchServe goes to the background and a process
# that ignores SIGTERM stays in front.
set -e

if [ "$1" = "serve" ]; then
    torchserve --start --ts-config /home/model-server/config.properties --disable-token-auth
else
    exec "$@"
fi

tail -f /dev/null
