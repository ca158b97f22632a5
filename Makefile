# Every target is documented by the `##` after it; `make` alone prints them.

SHELL := /usr/bin/env bash -o pipefail
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/
UV_VERSION := 0.13.8
PYTEST_ARGS ?=
# One of those in [tool.mutmut]; `*` is all of them.
MODULE ?= *
MUTANTS_AT_ONCE ?= 1
# Two workers: the control plane that they share takes a core of its own.
INTEGRATION_ARGS ?= -n 2 --dist worksteal
CRDS_OF_WEBSITE := -m controller_runtime.schema website --output crds --docs docs
PEER_LOCK := $(RUN)uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url
# Smaller is quicker: make bench ROUNDS=1 OBJECTS=1000,10000 BENCH_ARGS=--peers=pilothouse
ROUNDS ?= 5
OBJECTS ?= 1000,10000,50000,100000
BENCH_ARGS ?=
RELOAD_BENCH_ARGS ?=

VERSION := $(shell cat VERSION)
IMG ?= ghcr.io/pilothouse/pilothouse:v$(VERSION)
CONTAINER_TOOL ?= docker
# More than one takes buildx and a registry: PLATFORMS=linux/amd64,linux/arm64
PLATFORMS ?=
# Such as --build-arg PIP_INDEX_URL=…
BUILD_ARGS ?=
KUBECTL ?= kubectl
KUSTOMIZE ?= $(if $(shell command -v kustomize),kustomize build,$(KUBECTL) kustomize)
ignore-not-found ?= false

##@ General

.PHONY: help
help: ## Display this help.
	@awk 'BEGIN {FS = ":.*##"; printf "\nUsage:\n  make \033[36m<target>\033[0m\n"} /^[a-zA-Z_0-9-]+:.*?##/ { printf "  \033[36m%-17s\033[0m %s\n", $$1, $$2 } /^##@/ { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) }' $(MAKEFILE_LIST)

.PHONY: run
run: sync ## Show it all at work on a local control plane (ONCE=1: and end; CLUSTER=existing: run the manager against the current context).
	@$(RUN)python -m controllers $(if $(filter existing,$(CLUSTER)),run --ask --log-format console --metrics-bind-address 127.0.0.1:8080 --no-metrics-secure,up $(if $(filter 1,$(ONCE)),--once))

.PHONY: test
test: lint test-unit test-integration ## Set up, then run every gate and test: what CI runs.

##@ Development

# pip and uv are quiet; this says what the wait is for.
$(VENV)/.synced: requirements-dev.lock pyproject.toml VERSION
	@hack/check-python $(PYTHON)
	@echo "setting up $(VENV) (about a minute the first time)"
	@test -x $(RUN)python || $(PYTHON) -m venv $(VENV)
	@$(RUN)python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(RUN)uv pip sync --quiet --python $(RUN)python --require-hashes requirements-dev.lock
	@$(RUN)uv pip install --quiet --python $(RUN)python --no-deps --editable .
	@touch $@

.PHONY: sync
sync: $(VENV)/.synced ## Install everything the other targets need, at the pinned versions.

.PHONY: lock
lock: sync ## Pin the dependencies: requirements.lock to run, requirements-dev.lock to develop.
	$(RUN)uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra manager pyproject.toml -o requirements.lock
	$(RUN)uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra manager --extra testing --group lint pyproject.toml -o requirements-dev.lock
	$(PEER_LOCK) benchmarks/peers/kopf/requirements.in -o benchmarks/peers/kopf/requirements.lock
	$(PEER_LOCK) pyproject.toml benchmarks/peers/pilothouse/requirements.in -o benchmarks/peers/pilothouse/requirements.lock

.PHONY: manifests
manifests: sync ## Write what is made from code: roles, CRDs and reference pages, ours and the example's.
	$(RUN)python -m hack.gen_rbac
	$(RUN)python -m hack.gen_crds
	$(RUN)python -m hack.gen_chart
	cd examples/website && $(abspath $(RUN))/python $(CRDS_OF_WEBSITE)
	cd examples/website && $(abspath $(RUN))/python manifests.py > config/operator.yaml

.PHONY: fmt
fmt: sync ## Format, and fix what can be fixed.
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

.PHONY: lint
lint: sync ## Check format, style, types, imports and dependencies.
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)lint-imports --no-logo
	$(RUN)deptry .
	$(RUN)python -m hack.gen_crds --check
	$(RUN)python -m hack.gen_chart --check
	cd examples/website && $(abspath $(RUN))/python $(CRDS_OF_WEBSITE) --check

.PHONY: test-unit
test-unit: sync ## Run the unit and property tests, on a virtual clock.
	$(RUN)pytest test/unit test/property $(PYTEST_ARGS)

.PHONY: setup-envtest
setup-envtest: sync ## Find, fetch or build the control plane's binaries, promtool and kustomize (the first time 9 to 20 minutes).
	$(RUN)python -m controller_runtime.testing.envtest setup
	$(RUN)python -m controller_runtime.testing.envtest setup --only promtool --only kustomize

.PHONY: test-integration
test-integration: setup-envtest ## Run the tests that need a real control plane.
	$(RUN)pytest test/integration $(INTEGRATION_ARGS) $(PYTEST_ARGS)

.PHONY: test-e2e
test-e2e: $(if $(filter existing,$(CLUSTER)),sync,setup-envtest) ## Run the first scenarios of reload on a local control plane (CLUSTER=existing: on the current context's cluster; asks).
	$(RUN)$(if $(filter existing,$(CLUSTER)),python -m hack.e2e,pytest -m e2e test/integration) $(INTEGRATION_ARGS) $(PYTEST_ARGS)

.PHONY: soak
soak: setup-envtest ## Torment two managers with faults for MINUTES=10, and judge them (SEED=n: the same faults again).
	PYTHONPATH=test $(RUN)python -m soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) --folder .soak

.PHONY: soak-reload
soak-reload: setup-envtest ## Change data under managers that die, CHANGES=200 times (SEED=n: the same again), and look for doubles.
	PYTHONPATH=test $(RUN)python -m soak.reload --changes $(or $(CHANGES),200) $(if $(SEED),--seed $(SEED)) --folder .soak

.PHONY: cover
cover: sync ## Run the unit tests under coverage and show what they miss.
	$(RUN)coverage run -m pytest test/unit test/property
	$(RUN)coverage report

# mutmut is in no lock: it is installed when it is wanted, and a new lock removes it.
.PHONY: mutants
mutants: sync ## Change a module (MODULE=watch) in every small way; list the changes that no test notices.
	@test -x $(RUN)mutmut || $(RUN)uv pip install --quiet --python $(RUN)python --group mutation
	$(RUN)mutmut run --max-children $(MUTANTS_AT_ONCE) 'controller_runtime.$(MODULE).*'
	@$(RUN)mutmut results | grep 'controller_runtime\.$(MODULE)\.' || echo "all were noticed"

.PHONY: behaviours
behaviours: sync ## List the framework's behaviours with their tests; fail on a gap.
	$(RUN)python hack/behaviours.py

.PHONY: scenarios
scenarios: sync ## List the acceptance scenarios with their tests; fail on a gap.
	$(RUN)python hack/scenarios.py

.PHONY: bench
bench: setup-envtest ## Run the benchmarks, ours and its peers', and save the results under .benchmarks/ (half an hour).
	$(RUN)pytest benchmarks --benchmark-autosave
	$(RUN)python -m benchmarks.compare --rounds $(ROUNDS) --objects $(OBJECTS) $(BENCH_ARGS)
	$(RUN)python -m benchmarks.reload $(RELOAD_BENCH_ARGS)

.PHONY: verify
verify: manifests fmt lint test ## The tree is clean after generating and formatting.
	test -z "$$(git status --porcelain)"

##@ Build

.PHONY: build
build: sync ## Build the wheel of controller_runtime.
	$(RUN)uv build --wheel

.PHONY: docker-build
docker-build: ## Build the image IMG (PLATFORMS=linux/amd64,linux/arm64: for these, and push it).
	@$(call needs,$(CONTAINER_TOOL),an image is built by it: CONTAINER_TOOL=podman is another)
	$(CONTAINER_TOOL) $(if $(PLATFORMS),buildx build --push --platform $(PLATFORMS),build) -t $(IMG) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(BUILD_ARGS) .

.PHONY: docker-push
docker-push: ## Push the image IMG.
	@$(call needs,$(CONTAINER_TOOL),an image is pushed by it)
	$(CONTAINER_TOOL) push $(IMG)

.PHONY: clean
clean: ## Remove what make made: environment, local cluster's state, caches of the tools.
	rm -rf $(VENV) .pilothouse .soak dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

##@ Deployment

needs = command -v $(1) >/dev/null || { echo "make: there is no $(1); $(2)" >&2; exit 1; }
needs-kubectl = $(call needs,$(KUBECTL),install it (https://kubernetes.io/docs/tasks/tools) or name it: KUBECTL=/path/to/kubectl)
APPLY = $(KUBECTL) apply --server-side -f -
DELETE = $(KUBECTL) delete --ignore-not-found=$(ignore-not-found) -f -
WITH_IMG = sed 's|image: ghcr.io/pilothouse/pilothouse:.*|image: $(IMG)|'

.PHONY: install
install: ## Install the CRDs on the current context's cluster.
	@$(needs-kubectl)
	$(KUSTOMIZE) config/crd | $(APPLY)

.PHONY: uninstall
uninstall: ## Remove the CRDs, and every object of their kinds (ignore-not-found=true: whether there or not).
	@$(needs-kubectl)
	$(KUSTOMIZE) config/crd | $(DELETE)

.PHONY: deploy
deploy: ## Install CRDs, roles and the manager IMG on the current context's cluster.
	@$(needs-kubectl)
	$(KUSTOMIZE) config/default | $(WITH_IMG) | $(APPLY)

.PHONY: undeploy
undeploy: ## Remove what deploy installed, with the CRDs (ignore-not-found=true: whether there or not).
	@$(needs-kubectl)
	$(KUSTOMIZE) config/default | $(DELETE)
