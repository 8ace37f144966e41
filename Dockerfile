# syntax=docker/dockerfile:1
# Cutout as images of three kinds. The export stage installs torch; the serving images do not contain it.
#
#   docker build -t cutout:cuda .                       a GPU host (the default target)
#   docker build -t cutout:cpu --target cpu .           any host, without the CUDA libraries
#   docker build -t cutout:openvino --target openvino . an Intel CPU, with OpenVINO
#   … --build-arg MODELS="u2net u2netp"                 with more than one model
#
# Every package is pinned to a version and its sha256 (docker/locks, written by `make lock`); /opt/cutout/sbom.json in
# every image lists them (CycloneDX).

ARG PYTHON_VERSION=3.12

# --- export: published weights -> PyTorch -> verified ONNX -------------------------------------
FROM python:${PYTHON_VERSION}-slim AS export
ARG MODELS=u2net
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY docker/locks/torch.txt docker/locks/export.txt locks/
# The CPU build from its own index, its dependencies from the default one.
RUN python -m venv /opt/export \
 && /opt/export/bin/pip install --require-hashes --no-deps --retries 1 --index-url "${TORCH_CPU_INDEX}" --requirement locks/torch.txt \
 && /opt/export/bin/pip install --require-hashes --requirement locks/export.txt
COPY app app
COPY model_export model_export
# hadolint ignore=SC2086
RUN for model in ${MODELS}; do /opt/export/bin/python -m model_export export "${model}" --models-dir /build/models || exit 1; done \
 && rm -rf /build/models/weights

# --- wheel: the service as one file --------------------------------------------------------------
FROM python:${PYTHON_VERSION}-slim AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY docker/locks/build.txt locks/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /build/wheels .

# --- install: the service and its dependencies in one folder, for each kind of host --------------
FROM wheel AS install-cpu
COPY docker/locks/cpu.txt locks/
RUN python -m venv --without-pip /opt/cutout \
 && /opt/build/bin/pip --python /opt/cutout install --require-hashes --requirement locks/cpu.txt \
 && /opt/build/bin/pip --python /opt/cutout install --no-deps --no-index /build/wheels/*.whl \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/cutout/sbom.json /opt/cutout/bin/python

FROM wheel AS install-openvino
COPY docker/locks/openvino.txt locks/
RUN python -m venv --without-pip /opt/cutout \
 && /opt/build/bin/pip --python /opt/cutout install --require-hashes --requirement locks/openvino.txt \
 && /opt/build/bin/pip --python /opt/cutout install --no-deps --no-index /build/wheels/*.whl \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/cutout/sbom.json /opt/cutout/bin/python

FROM wheel AS install-cuda
COPY docker/locks/cuda.txt locks/
RUN python -m venv --without-pip /opt/cutout \
 && /opt/build/bin/pip --python /opt/cutout install --require-hashes --requirement locks/cuda.txt \
 && /opt/build/bin/pip --python /opt/cutout install --no-deps --no-index /build/wheels/*.whl \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/cutout/sbom.json /opt/cutout/bin/python

# --- runtime: no torch, no compiler, no root -----------------------------------------------------
FROM python:${PYTHON_VERSION}-slim AS runtime
LABEL org.opencontainers.image.title="Cutout" \
      org.opencontainers.image.description="Self-hosted background removal over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home cutout
COPY --from=export /build/models /srv/cutout/models
COPY docker/healthcheck.py /srv/cutout/healthcheck.py
ENV PATH=/opt/cutout/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CUTOUT_MODELS_DIR=/srv/cutout/models \
    CUTOUT_WEB__HOST=0.0.0.0 \
    CUTOUT_WEB__METRICS_HOST=0.0.0.0
WORKDIR /srv/cutout
USER 10001
EXPOSE 8000 9000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["python", "/srv/cutout/healthcheck.py"]
ENTRYPOINT ["cutout", "serve"]

# --- the images: one target for each kind of host; the last is the default -------------------------
FROM runtime AS cpu
COPY --from=install-cpu /opt/cutout /opt/cutout
RUN cutout models verify

FROM runtime AS openvino
COPY --from=install-openvino /opt/cutout /opt/cutout
RUN cutout models verify

FROM runtime AS cuda
COPY --from=install-cuda /opt/cutout /opt/cutout
RUN cutout models verify
