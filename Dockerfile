# syntax=docker/dockerfile:1
# Cutout in two stages: the export needs torch, the service never sees it.
#
#   docker build -t cutout .                                       GPU host (runs on a CPU as well)
#   docker build -t cutout:cpu --build-arg EXTRAS= .               without the CUDA libraries
#   docker build -t cutout --build-arg MODELS="u2net u2netp" .     with more than one model

ARG PYTHON_VERSION=3.12

# --- export: published weights -> PyTorch -> verified ONNX -------------------------------------
FROM python:${PYTHON_VERSION}-slim AS export
ARG MODELS=u2net
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
# The CPU build from its own index, its dependencies from the default one.
RUN python -m venv /opt/export \
 && { /opt/export/bin/pip install --no-deps --retries 1 --index-url ${TORCH_CPU_INDEX} torch==2.13.0 \
      || echo "the index of CPU builds is out of reach; taking the default build"; } \
 && /opt/export/bin/pip install torch==2.13.0
WORKDIR /build
COPY model_export/requirements.txt model_export/requirements.txt
RUN /opt/export/bin/pip install --requirement model_export/requirements.txt
COPY app app
COPY model_export model_export
RUN for model in ${MODELS}; do /opt/export/bin/python -m model_export export $model --models-dir /build/models || exit 1; done \
 && rm -rf /build/models/weights

# --- install: the service and what it needs, in one folder -------------------------------------
FROM python:${PYTHON_VERSION}-slim AS install
ARG EXTRAS=cuda
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN python -m venv /opt/cutout \
 && /opt/cutout/bin/pip install ".${EXTRAS:+[${EXTRAS}]}"

# --- runtime: no torch, no compiler, no root ---------------------------------------------------
FROM python:${PYTHON_VERSION}-slim AS runtime
LABEL org.opencontainers.image.title="Cutout" \
      org.opencontainers.image.description="Self-hosted background removal over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home cutout
COPY --from=install /opt/cutout /opt/cutout
COPY --from=export /build/models /srv/cutout/models
COPY docker/healthcheck.py /srv/cutout/healthcheck.py
ENV PATH=/opt/cutout/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CUTOUT_MODELS_DIR=/srv/cutout/models \
    CUTOUT_WEB__HOST=0.0.0.0 \
    CUTOUT_WEB__METRICS_HOST=0.0.0.0
WORKDIR /srv/cutout
RUN cutout models verify
USER cutout
EXPOSE 8000 9000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["python", "/srv/cutout/healthcheck.py"]
ENTRYPOINT ["cutout", "serve"]
