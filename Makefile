# Every task. `make` alone lists them, from the text after each ##.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PORT ?= 8000
URL := http://127.0.0.1:$(PORT)
# The first interpreter that this package supports.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
INSTALLED := .venv/.installed
BIN := .venv/bin

# The containers run as the caller, so that the files they write belong to the caller.
export TRIVET_UID ?= $(shell id -u)
export TRIVET_GID ?= $(shell id -g)
export VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/trivet/__init__.py)
export REVISION = $(shell git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)

.PHONY: help setup demo train batch-predict serve test test-slow test-docker lint docs pictures lock clean \
	images docker-train docker-batch-predict docker-serve docker-stop push pull

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## make .venv with the locked packages

demo: setup ## train, predict in a batch, serve, ask, stop
	$(BIN)/trivet train
	$(BIN)/trivet batch-predict
	head -3 data/predictions/flights_november.csv
	$(BIN)/trivet serve --port $(PORT) & server=$$!; \
	trap 'kill $$server && wait $$server' EXIT; \
	curl -sf --retry 30 --retry-delay 1 --retry-connrefused -o /dev/null $(URL)/health/ready; \
	kill -0 $$server; \
	set -x; curl -sS $(URL)/predict -H 'Content-Type: application/json' -d @data/flight.json; \
	{ set +x; } 2>/dev/null; echo

train: setup ## publish a model of the flights to models/
	$(BIN)/trivet train

batch-predict: setup ## predict the November flights into data/predictions/
	$(BIN)/trivet batch-predict

serve: setup ## answer on http://127.0.0.1:8000, PORT=... for another port
	$(BIN)/trivet serve --port $(PORT)

# Two processes fill two processors with one thread each.
test: setup ## run the fast tests, minutes less than all
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow and not docker and not browser and not cluster"

test-slow: setup ## run the tests that take longer: needs chromium, haproxy and nginx
	$(BIN)/pytest -m "not docker and (slow or browser or cluster)"

test-docker: setup ## run the tests with containers: needs Docker
	$(BIN)/pytest -m docker

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile.train Dockerfile.batch Dockerfile.online

docs: setup ## write docs/reference.md from the commands
	$(BIN)/python docs/reference.py > docs/reference.md

pictures: train ## write docs/docs-page.png from the service: needs chromium
	$(BIN)/python docs/pictures.py

images: ## build the three images, tagged latest, with the version and with the git revision
	for tag in latest $(VERSION) $(REVISION); do TAG=$$tag docker compose build --quiet; done

docker-train: ## train, in a container
	docker compose run --rm train

docker-batch-predict: ## batch-predict, in a container
	docker compose run --rm batch

docker-serve: ## serve, in a container; trains first if need be
	docker compose up --detach --wait online

docker-stop: ## stop and remove all containers
	docker compose down --remove-orphans

push: ## push the images, tagged TAG (default: the version) and git revision: REGISTRY=host:port
	@test -n "$(REGISTRY)" || { echo "which registry? make $@ REGISTRY=host:port"; exit 1; }
	for tag in $(or $(TAG),$(VERSION)) $(REVISION); do TAG=$$tag docker compose build --quiet; TAG=$$tag docker compose push --quiet; done

pull: ## pull the images tagged TAG (default: the version): REGISTRY=host:port
	@test -n "$(REGISTRY)" || { echo "which registry? make $@ REGISTRY=host:port"; exit 1; }
	TAG=$(or $(TAG),$(VERSION)) PULL_POLICY=missing docker compose pull --quiet

# Two files: a new version of a tool must not build the images again.
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --no-header --upgrade -q
lock: setup ## renew requirements.txt, the lock of all legs, and requirements-dev.txt, that and the tools
	$(LOCK) --extra train --extra batch --extra cluster --extra online --extra sign --extra build -o requirements.txt
	$(LOCK) --all-extras --constraint requirements.txt -o requirements-dev.txt

clean: ## remove what was generated: models, predictions, .venv, .bench
	rm -rf .venv .bench models data/predictions .mypy_cache .pytest_cache .ruff_cache

$(INSTALLED): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; install one, or say make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# These folders can be deleted; their targets go with them.
-include deploy/*.mk bench/*.mk tools/*.mk
