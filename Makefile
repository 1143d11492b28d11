# The one door to everything: `make help` prints the targets and what is said beside them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
READY := .venv/.ready
JAR := operator/torchserve_operator/agent/graceful.jar
JAVA := $(shell find operator/torchserve_operator/agent/java -name '*.java')
TESTBED := PYTHONPATH=tests $(BIN)/python -m testbed
PYTEST := $(BIN)/python -m pytest

# With SIDE_BY_SIDE each line says whose it is.
labelled = $(if $(SIDE_BY_SIDE), 2>&1 | sed -u 's/^/$(1) | /')

##@ The two commands

.PHONY: demo
demo: $(READY) ## The main job: cluster, operator, a TorchServeModel, real predictions
	PYTHONPATH=tests $(BIN)/python -m testbed.demo up

.PHONY: test
test: lint test-unit ## Every test there is, with all set-up (.ci/run calls this)
	@# The rest waits more than it works, for pods, drains and downloads: side by side it takes little more than half.
	$(MAKE) --no-print-directory --jobs=3 --keep-going SIDE_BY_SIDE=1 test-cluster test-server test-builder test-api

##@ Tests by part

.PHONY: test-unit
test-unit: $(READY) $(JAR) ## Pure logic and the agent: no cluster, no API server
	$(PYTEST) tests/unit $(ARGS)

.PHONY: test-builder
test-builder: $(READY) $(JAR) ## Image builds against real servers on the loopback: registries, S3, a package index
	$(TESTBED) tools registry >/dev/null
	$(PYTEST) tests/builder $(ARGS)$(call labelled,builder)

.PHONY: test-api
test-api: $(READY) $(JAR) ## Against a real kube-apiserver and etcd, started on the loopback
	$(TESTBED) tools kube-apiserver etcd kubectl kube-controller-manager >/dev/null
	$(PYTEST) tests/api $(ARGS)$(call labelled,api)

.PHONY: test-server
test-server: $(READY) $(JAR) ## Against a real TorchServe in containers: the images, the agent, every golden configuration
	$(PYTEST) tests/images tests/server $(ARGS)$(call labelled,server)

.PHONY: test-cluster
test-cluster: cluster ## On the kind cluster, with real TorchServe: causes, rollouts, drains, the demo
	$(PYTEST) tests/cluster $(ARGS)$(call labelled,cluster)

.PHONY: lint
lint: $(READY) ## Formatting, lint rules, types, import layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=operator $(BIN)/lint-imports

.PHONY: bench
bench: cluster ## Measure: a table and FIGURE lines, raw data in bench/results/
	PYTHONPATH=tests:tests/cluster $(BIN)/python -m bench $(ARGS)

.PHONY: bench-build
bench-build: $(READY) $(JAR) ## Measure an image build beside buildah and olot (10 GB of scratch disk; no cluster)
	$(TESTBED) tools registry >/dev/null
	PYTHONPATH=tests $(BIN)/python -m bench append $(ARGS)

##@ What they stand on

.PHONY: venv
venv: $(READY) ## .venv with every locked package (installs Python's venv and a JDK where it may)

$(READY): requirements/dev.txt pyproject.toml hatch_build.py tests/testbed/venv
	tests/testbed/venv
	touch $@

$(JAR): $(JAVA) hatch_build.py | $(READY)
	$(BIN)/python hatch_build.py

.PHONY: tools
tools: $(READY) ## Build the pinned Kubernetes programs (once; ten minutes on two cores)
	$(TESTBED) tools

.PHONY: cluster
cluster: $(READY) $(JAR) ## Bring up the kind cluster with its registry, or find it healthy
	$(TESTBED) cluster up

.PHONY: cluster-status
cluster-status: $(READY) ## What runs in the cluster, and where its files are
	$(TESTBED) cluster status

.PHONY: cluster-down
cluster-down: $(READY) ## Delete the cluster and the registry's container; caches stay
	$(TESTBED) cluster down

.PHONY: images
images: $(READY) ## Build and push the project's images to the local registry
	PYTHONPATH=tests $(BIN)/python -m testbed.project_images

##@ Housekeeping

.PHONY: generate
generate: $(READY) ## Write what is generated from the models: CRD, reference pages
	PYTHONPATH=operator $(BIN)/python -m torchserve_operator.app.generate

.PHONY: lock
lock: $(READY) ## Write requirements/*.txt anew from pyproject.toml (ARGS=--upgrade for the newest)
	$(TESTBED) lock $(ARGS)

.PHONY: clean-demo
clean-demo: $(READY) ## Remove what the demo left running, the cluster included
	PYTHONPATH=tests $(BIN)/python -m testbed.demo down

.PHONY: clean
clean: ## Remove build results of this tree (not .venv, not the cache)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist $(JAR)

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
