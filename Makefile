# Cutout: all tasks that developers and CI run. `make serve` and `make test` do the set-up they need.

PYTHON ?= python3
HOST   ?= 127.0.0.1
PORT   ?= 8000
MODEL  ?= u2net
# What `make export` and `make serve` export: float32 always, int8 and fp16 if named.
PRECISION ?= float32,int8
# Lets `make ray` serve without keys; by default only on 127.0.0.1, which other machines cannot reach.
OPEN   ?= $(if $(filter 127.0.0.1,$(HOST)),true,false)

MODELS_DIR := models
VENV       := .venv
EXPORT     := .venv-export
PEERS      := .venv-peers
RAY        := .venv-ray
DOCS       := .venv-docs
# A CPU build of torch is enough to convert a file and saves gigabytes of CUDA libraries. It is
# installed from the index below if that can be reached, else from the default index.
TORCH           := torch==2.13.0
UPGRADE         ?= --upgrade
# The number of parallel test processes, in addition to the one that starts servers.
JOBS    ?= 2
# Options of `make bench-peers`, for example: --peers rembg,plain --models u2netp --sizes 1,12 --minutes 10
PEERS_ARGS ?=
# Options of every test run.
PYTEST_ARGS ?= --durations=20
SERVED := tests/cli tests/journeys
UNSERVED = tests $(addprefix --ignore=,$(SERVED) tests/images)
TESTED = $(VENV)/.dev $(EXPORT)/.evaluate $(MODELS_DIR)/u2netp/manifest.json $(MODELS_DIR)/u2net/manifest.json
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# ONNX Runtime sends telemetry by default. app/engine/models/onnxruntime_loader.py disables it; this does so for the peers.
export ORT_DISABLE_TELEMETRY = 1
# Hundreds of tests start processes, which would else compile this project again each time.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help docs setup serve unit test test-all together unserved test-ray image-test check format lock bench bench-load bench-peers peers export ray clean

help: ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev $(EXPORT)/.evaluate ## Make both environments: serving (with tools) and export

serve: $(VENV)/.ready $(MODELS_DIR)/$(MODEL)/manifest.json ## Serve on HOST:PORT (MODEL=u2net|u2netp|lite)
	@exec $(VENV)/bin/cutout serve --host $(HOST) --port $(PORT) --model $(MODEL)

unit: export HYPOTHESIS_PROFILE ?= quick
unit: $(VENV)/.dev ## Run the tests that need no process, socket, torch or weights; takes a minute
	$(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile -m unit tests --ignore=tests/journeys $(PYTEST_ARGS)

test: $(TESTED) ## Run the tests with real weights; torch, page and Ray if their files have changed
	@$(MAKE) --no-print-directory together UNSERVED_WHICH="not torch and not whole" \
	  EXPORTED="$$($(VENV)/bin/python -m tests.passed torch >&2 || echo torch and not whole)" \
	  SERVED_WHICH="not ray and not whole $$($(VENV)/bin/python -m tests.passed page >&2 && echo and not page)"
	@$(VENV)/bin/python -m tests.passed ray || $(MAKE) --no-print-directory test-ray

test-all: export HYPOTHESIS_PROFILE ?= thorough
test-all: $(TESTED) ## Run all tests, with more generated examples
	@$(MAKE) --no-print-directory together UNSERVED_WHICH="not torch" EXPORTED=torch SERVED_WHICH="not ray"
	@$(MAKE) --no-print-directory test-ray
	@$(MAKE) --no-print-directory image-test

# Tests that start servers measure time, so they run one by one. They mostly wait, so all others run in the
# background meanwhile, with the lowest priority; their output follows.
together:
	nice -n 19 $(MAKE) --no-print-directory unserved >.background-tests.log 2>&1 & others=$$!; \
	  trap "kill $$others" INT TERM; \
	  $(VENV)/bin/python -m pytest -m "$(SERVED_WHICH)" $(SERVED) $(PYTEST_ARGS); served=$$?; \
	  wait $$others; others=$$?; cat .background-tests.log; exit $$((served + others))

unserved:
	$(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile -m "$(UNSERVED_WHICH)" $(UNSERVED) $(PYTEST_ARGS)
	$(if $(EXPORTED),$(EXPORT)/bin/python -m pytest -m "$(EXPORTED)" tests/model_export $(PYTEST_ARGS))

test-ray: $(RAY)/.ready
	$(RAY)/bin/python -m pytest -m ray tests/journeys/test_ray.py $(PYTEST_ARGS)

image-test: $(VENV)/.dev ## Build the images and bring up the compose file; skips where no Docker engine can run
	$(VENV)/bin/python -m pytest -m images tests/images $(PYTEST_ARGS)

check: $(VENV)/.dev ## Lint, types, import contracts, security checks, retired words
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/bandit --quiet --recursive --configfile pyproject.toml app model_export
	$(VENV)/bin/python -m tests.retired_words

format: $(VENV)/.dev ## Format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

LOCK = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: $(VENV)/.dev ## Pin the packages of the images, with hashes, to the newest that fit (UPGRADE= keeps current pins)
	$(LOCK) $(UPGRADE) pyproject.toml docker/locks/cpu.in --no-emit-package onnxruntime-gpu --output-file docker/locks/cpu.txt
	$(LOCK) $(UPGRADE) pyproject.toml --extra cuda --output-file docker/locks/cuda.txt
	$(LOCK) $(UPGRADE) pyproject.toml --extra openvino --no-emit-package onnxruntime --no-emit-package onnxruntime-gpu --output-file docker/locks/openvino.txt
	$(LOCK) $(UPGRADE) model_export/requirements.txt docker/locks/torch.in --no-emit-package torch --output-file docker/locks/export.txt
	$(LOCK) $(UPGRADE) docker/locks/build.in --output-file docker/locks/build.txt

bench: $(VENV)/.dev $(MODELS_DIR)/$(MODEL)/manifest.json ## Measure encoding, matting, batching and whole requests
	$(VENV)/bin/python -m benchmarks.encode
	$(VENV)/bin/python -m benchmarks.matte
	$(VENV)/bin/python -m benchmarks.decode
	$(VENV)/bin/python -m benchmarks.options
	$(VENV)/bin/python -m benchmarks.edges --megapixels 2
	$(VENV)/bin/python -m benchmarks.engine --model $(MODEL)
	$(VENV)/bin/python -m benchmarks.remove --model $(MODEL)
	$(VENV)/bin/python -m benchmarks.departures --model $(MODEL)
	$(VENV)/bin/python -m benchmarks.hang

bench-load: $(VENV)/.dev $(MODELS_DIR)/$(MODEL)/manifest.json ## Measure overload, restarts and memory; takes long
	$(VENV)/bin/python -m benchmarks.overload --model $(MODEL)
	$(VENV)/bin/python -m benchmarks.drain --model $(MODEL)
	$(VENV)/bin/python -m benchmarks.memory --model $(MODEL)
	$(VENV)/bin/python -m benchmarks.footprint
	$(VENV)/bin/python -m benchmarks.search --model $(MODEL)
	$(VENV)/bin/python -m benchmarks.refused --model $(MODEL)
	$(VENV)/bin/python -m benchmarks.batch --model $(MODEL)

bench-peers: $(VENV)/.dev $(EXPORT)/.evaluate $(MODELS_DIR)/u2netp/manifest.json $(MODELS_DIR)/u2net/manifest.json ## Install other servers and compare them with this one (PEERS_ARGS=...); takes long
	$(VENV)/bin/python -m benchmarks.peers --out bench-peers $(PEERS_ARGS)
	$(EXPORT)/bin/python -m benchmarks.peers.plots bench-peers/peers.json

docs: $(DOCS)/.ready ## Build the documentation's site in site/; a dead link fails
	$(DOCS)/bin/zensical build --strict --clean

ray: $(RAY)/.ready $(MODELS_DIR)/$(MODEL)/manifest.json ## Serve on Ray Serve, on a cluster of this machine only
	@RAY_USAGE_STATS_ENABLED=0 CUTOUT_ACCESS__OPEN=$(OPEN) CUTOUT_WEB__HOST=$(HOST) CUTOUT_WEB__PORT=$(PORT) CUTOUT_MODELS=$(MODEL) exec $(RAY)/bin/python -m app.cli.cluster

peers: $(PEERS)/.ready ## Install the peers for benchmarks: rembg and PyMatting

export: $(EXPORT)/.ready ## Fetch the weights of MODEL, export and verify the served graphs (PRECISION=float32,int8)
	$(EXPORT)/bin/python -m model_export export $(MODEL) --models-dir $(MODELS_DIR) --precision $(PRECISION)

clean: ## Remove environments and caches, but not the models
	rm -rf $(VENV) $(EXPORT) $(PEERS) $(RAY) $(DOCS) .venv-bench site .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(MODELS_DIR)/%/manifest.json: | $(EXPORT)/.ready
	$(EXPORT)/bin/python -m model_export export $* --models-dir $(MODELS_DIR) --precision $(PRECISION)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.ready

# Pinned as in the images, so that the same weights are exported to the same file.
$(EXPORT)/.ready: docker/locks/export.txt
	$(PYTHON) -m venv $(EXPORT)
	$(EXPORT)/bin/python -m pip install --quiet --no-deps --retries 1 --index-url $(TORCH_CPU_INDEX) $(TORCH) \
	  || echo "The index of CPU builds cannot be reached; installing the default build of $(TORCH)."
	$(EXPORT)/bin/python -m pip install --quiet $(TORCH)
	$(EXPORT)/bin/python -m pip install --quiet --require-hashes --requirement docker/locks/export.txt
	@touch $@

$(RAY)/.ready: pyproject.toml
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --editable '.[ray]' 'pytest>=8.4'
	@touch $@

$(DOCS)/.ready: docs/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --requirement docs/requirements.txt
	@touch $@

$(PEERS)/.ready:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet 'rembg[cpu,cli]==2.0.86' 'pymatting==1.1.16'
	@touch $@

# For evaluation, in addition to the export; `make serve` does not need it.
$(EXPORT)/.evaluate: model_export/requirements-evaluate.txt $(EXPORT)/.ready
	$(EXPORT)/bin/python -m pip install --quiet --requirement model_export/requirements-evaluate.txt
	@touch $@
