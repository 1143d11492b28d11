# The wheels that the examples are served with: the cluster has no network, a test serves them to the builder's pip.
ARG RUNTIME_IMAGE=torchserve-operator/torchserve:cpu
FROM ${RUNTIME_IMAGE}
USER 0
WORKDIR /work
COPY serve.txt ./
# Only what the image lacks, as the operator's builder does it: else a second torch would come in.
RUN pip install --no-cache-dir --disable-pip-version-check --dry-run --quiet --report report.json -r serve.txt \
 && python -c "import json; print('\n'.join('{name}=={version}'.format(**found['metadata']) for found in json.load(open('report.json'))['install']))" \
      > missing.txt \
 && pip wheel --no-cache-dir --disable-pip-version-check --no-deps --wheel-dir /wheels -r missing.txt
