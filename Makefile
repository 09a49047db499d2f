# `make demo` and `make test` do all set-up themselves, in .venv in this folder.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
HOST ?= 127.0.0.1
PORT ?= 7860
BIN := .venv/bin
# pip would compile with one process. What cannot be compiled is not used here.
PIP := $(BIN)/python -m pip install -q --no-compile
COMPILE := $(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true

.PHONY: demo test test-webkit check bench screenshots browser clean

demo: .venv/app-installed
	$(BIN)/python app.py --host $(HOST) --port $(PORT)

test: .venv/dev-installed browser check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/browser
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/browser

# The page in WebKitGTK, on a screen of its own.
test-webkit: .venv/webkit-installed
	sh scripts/install_webkit.sh
	xvfb-run --auto-servernum --server-args "-screen 0 1600x1200x24" $(BIN)/python -m pytest tests/browser/webkit.py

check: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/bench-installed browser
	$(BIN)/python -m bench

screenshots: .venv/dev-installed browser
	$(BIN)/python scripts/screenshots.py

browser: .venv/dev-installed
	sh scripts/install_browser.sh $(BIN)/python

.venv/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed: install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/app-installed: requirements.txt constraints.txt | .venv/python
	$(PIP) -r requirements.txt -c constraints.txt
	$(COMPILE)
	touch $@

.venv/dev-installed: requirements-dev.txt .venv/app-installed
	$(PIP) -r requirements-dev.txt -c constraints.txt
	$(COMPILE)
	touch $@

.venv/webkit-installed: requirements-webkit.txt .venv/dev-installed
	$(PIP) -r requirements-webkit.txt -c constraints.txt
	$(COMPILE)
	touch $@

# Without torchcodec the benchmarks say so and go on.
.venv/bench-installed: requirements-bench.txt .venv/dev-installed
	-$(PIP) -r requirements-bench.txt
	$(COMPILE)
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
