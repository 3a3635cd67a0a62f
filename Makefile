# Everything runs in a virtual environment of its own, made on first use: `make test` and `make demo` need Python and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SOURCE ?=
MODEL  ?=
ARGS   ?=
# Files of tests at a time; a file's tests stay together, since they share what they start.
PARALLEL ?= 2
# Compiled modules are kept: without them each of the tests' many processes compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-long test-boot check bench test-gpu constraints clean system

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[cpu,fleet,sinks,dev,engines]'
	touch $@

# Programs of the system that some tests use; a test whose program is missing is skipped and says so.
system:
	@bash .ci/system-programs

demo: $(STAMP)
	@$(BIN)/outrider demo $(if $(SOURCE),--source '$(SOURCE)') $(if $(MODEL),--model '$(MODEL)') $(ARGS)

test: $(STAMP) system
	$(BIN)/python -m pytest -n $(PARALLEL) --dist loadfile -m 'not long and not gpu and not boot' $(ARGS)

test-long: $(STAMP) system
	$(BIN)/python -m pytest -m long --timeout 1800 $(ARGS)
	$(BIN)/python -m pytest tests/unit --hypothesis-profile thorough --timeout 600 $(ARGS)

test-gpu: $(STAMP)
	$(BIN)/python -m pytest tests/gpu -m gpu -rs $(ARGS)

# An image with the agent, booted by systemd in a container; as root.
test-boot: $(STAMP) system
	apt-get install -y -qq debootstrap systemd-container >/dev/null || true
	$(BIN)/python -m pytest tests/boot -m boot -rs --timeout 1800 $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_layers.py

bench: $(STAMP)
	@for name in pipeline_efficiency swap footprint workflow_overhead slot_roundtrip engines cameras; do $(BIN)/python -m benchmarks.$$name --json; done

# Names, versions and markers of everything the tests resolve; no address of any registry.
constraints: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --extra cpu --extra gpu --extra openvino --extra eval --extra fleet --extra otel --extra sinks --extra dev --extra engines --universal \
	  --python-version 3.10 --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o constraints.txt

clean:
	rm -rf $(VENV)
