# Cutout as images of three kinds. The export stage installs torch; the serving images do not contain it.
#
#   docker build -t cutout:cuda .                       a GPU host (the default target)
#   docker build -t cutout:cpu --target cpu .           any host, without the CUDA libraries
#   docker build -t cutout:openvino --target openvino . an Intel CPU, with OpenVINO
#   … --build-arg MODELS="u2net u2netp"                 with more than one model; the first is the default
#   … --build-arg PYTHON_IMAGE=…                        on another base image, of a registry of your own
#
# A change of the code installs no package again: packages are layers of their own, in the build and in the images.
#
# Every package is pinned to a version and its sha256 (docker/locks, written by `make lock`); /opt/cutout/sbom.json in
# every image lists them (CycloneDX).

ARG PYTHON_IMAGE=python:3.12-slim

# --- export: published weights -> PyTorch -> verified ONNX -------------------------------------
FROM ${PYTHON_IMAGE} AS export
ARG MODELS=u2net
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY docker/locks/torch.txt docker/locks/export.txt locks/
# The CPU build from its own index, its dependencies from the default one.
RUN python -m venv /opt/export \
 && /opt/export/bin/pip install --require-hashes --no-deps --retries 1 --index-url "${TORCH_CPU_INDEX}" --requirement locks/torch.txt \
 && /opt/export/bin/pip install --require-hashes --requirement locks/export.txt
# Without the server and the commands, so that their changes do not repeat the export.
COPY app/*.py app/
COPY app/engine app/engine
COPY app/imaging app/imaging
COPY app/onnx_import app/onnx_import
COPY app/pipeline app/pipeline
COPY app/telemetry app/telemetry
COPY app/weights app/weights
COPY app/web/page/samples app/web/page/samples
COPY model_export model_export
# hadolint ignore=SC2086
RUN for model in ${MODELS}; do /opt/export/bin/python -m model_export export "${model}" --models-dir /build/models || exit 1; done \
 && rm -rf /build/models/weights \
 && printf '%s\n' ${MODELS} >/build/models/served.txt

# --- wheel: the service as one file --------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY docker/locks/build.txt locks/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement locks/build.txt

FROM tools AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /build/wheels .

# --- packages and service, for each kind of host: two folders, so that they are two layers of the image --------
# Of numpy and ONNX Runtime the service needs neither the tests nor the tools that make models.
FROM tools AS packages-cpu
COPY docker/locks/cpu.txt locks/
RUN python -m venv --without-pip /opt/cutout \
 && /opt/build/bin/pip --python /opt/cutout install --require-hashes --requirement locks/cpu.txt \
 && find /opt/cutout/lib -regextype posix-extended -type d \
      -regex ".*/(numpy(/.*)?/tests|onnxruntime/(datasets|quantization|tools|transformers))" -prune -exec rm -r {} +

FROM packages-cpu AS service-cpu
COPY --from=wheel /build/wheels wheels
RUN /opt/build/bin/pip --python /opt/cutout install --no-deps --no-index --prefix /opt/service wheels/*.whl \
 && cp --archive /opt/service/. /opt/cutout/ \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/service/sbom.json /opt/cutout/bin/python

FROM tools AS packages-openvino
COPY docker/locks/openvino.txt locks/
RUN python -m venv --without-pip /opt/cutout \
 && /opt/build/bin/pip --python /opt/cutout install --require-hashes --requirement locks/openvino.txt \
 && find /opt/cutout/lib -regextype posix-extended -type d \
      -regex ".*/(numpy(/.*)?/tests|onnxruntime/(datasets|quantization|tools|transformers))" -prune -exec rm -r {} +

FROM packages-openvino AS service-openvino
COPY --from=wheel /build/wheels wheels
RUN /opt/build/bin/pip --python /opt/cutout install --no-deps --no-index --prefix /opt/service wheels/*.whl \
 && cp --archive /opt/service/. /opt/cutout/ \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/service/sbom.json /opt/cutout/bin/python

FROM tools AS packages-cuda
COPY docker/locks/cuda.txt locks/
RUN python -m venv --without-pip /opt/cutout \
 && /opt/build/bin/pip --python /opt/cutout install --require-hashes --requirement locks/cuda.txt \
 && find /opt/cutout/lib -regextype posix-extended -type d \
      -regex ".*/(numpy(/.*)?/tests|onnxruntime/(datasets|quantization|tools|transformers))" -prune -exec rm -r {} +

FROM packages-cuda AS service-cuda
COPY --from=wheel /build/wheels wheels
RUN /opt/build/bin/pip --python /opt/cutout install --no-deps --no-index --prefix /opt/service wheels/*.whl \
 && cp --archive /opt/service/. /opt/cutout/ \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/service/sbom.json /opt/cutout/bin/python

# --- runtime: no torch, no compiler, no root -----------------------------------------------------
FROM ${PYTHON_IMAGE} AS runtime
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
COPY --from=packages-cpu /opt/cutout /opt/cutout
COPY --from=service-cpu /opt/service /opt/cutout
RUN cutout models verify

FROM runtime AS openvino
COPY --from=packages-openvino /opt/cutout /opt/cutout
COPY --from=service-openvino /opt/service /opt/cutout
RUN cutout models verify

FROM runtime AS cuda
COPY --from=packages-cuda /opt/cutout /opt/cutout
COPY --from=service-cuda /opt/service /opt/cutout
RUN cutout models verify
