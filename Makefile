PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup viewer oracles demo test check app bench

setup: $(BIN)/.installed-dev viewer

$(BIN)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt --group dev
	touch $@

viewer: $(BIN)/.installed-dev # the engine of the page's 3D view, checked by its sum; without npm the rest works and the tests that need it say so
	$(BIN)/python tools/fetch_viewer.py --optional

demo: $(BIN)/.installed
	$(BIN)/recon demo -o out

oracles: tools/oracles/node_modules/.package-lock.json # other programs that read our files in tests, checked by their sums; without npm those tests are skipped and say so

tools/oracles/node_modules/.package-lock.json: tools/oracles/package-lock.json
	npm ci --prefix tools/oracles --ignore-scripts --no-audit --no-fund --silent && touch $@ || echo "no npm or no registry: tests of its programs are skipped"

test: $(BIN)/.installed-dev viewer oracles
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

check: $(BIN)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

app: $(BIN)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[app]"
	$(BIN)/python tools/fetch_viewer.py --optional
	$(BIN)/python -m recon.app

bench: $(BIN)/.installed-dev
	$(BIN)/python tests/bench/gpu_render.py
	$(BIN)/python tests/bench/gpu_plain_call.py
