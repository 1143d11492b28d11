# What the examples' models are made with: the container that makes them has no network.
ARG RUNTIME_IMAGE=torchserve-operator/torchserve:cpu
FROM ${RUNTIME_IMAGE}
USER 0
COPY make-*.txt /tmp/make/
RUN for file in /tmp/make/*.txt; do \
      pip install --no-cache-dir --disable-pip-version-check -r "$file" || exit 1; \
    done
