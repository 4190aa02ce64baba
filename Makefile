# Each target makes its own virtual environment; `make run PYTHON=python3.12` chooses another Python.
PYTHON ?= python3

.PHONY: run gallery test test-slow test-training test-oldest torture sanitize bench bench-gpu lint clean

run: .venv/examples
	.venv/bin/python examples/lenet5.py

gallery: .venv/examples
	.venv/bin/python examples/gallery.py

test: .venv/test
	.venv/bin/python -m pytest -m "not slow and not training"

test-slow: .venv/test
	.venv/bin/python -m pytest -m slow

test-training: .venv/test
	.venv/bin/python -m pytest -m training

# With the oldest versions that setup.py allows, in an environment of their own. Python 3.11, the
# oldest too, has wheels of all of them.
test-oldest: .venv/test
	$(PYTHON) -m venv build/oldest
	.venv/bin/python -m tests.oldest > build/oldest/constraints.txt
	build/oldest/bin/python -m pip install --quiet --constraint build/oldest/constraints.txt --editable ".[test,data]"
	build/oldest/bin/python -m pytest -m "not slow and not training"

# With PyTorch, which numbers are compared with.
torture: .venv/test .venv/bench
	.venv/bin/python -m pytest tests/reliability --torture

sanitize: .venv/test
	.venv/bin/python -m tests.emulator.sanitize

bench: .venv/bench
	.venv/bin/python -m benchmarks

# CuPy and a PyTorch with CUDA must be there: which ones, only the machine's driver can tell.
bench-gpu:
	$(PYTHON) benchmarks/gpu.py

lint: .venv/lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# One stamp per extra: installed again when setup.py changes, and only then.
.venv/%: setup.py | .venv/bin/python
	.venv/bin/python -m pip install --quiet --editable ".[$*]"
	touch $@

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'minicnn needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv || (rm -rf .venv; false)

clean:
	rm -rf .venv build dist *.egg-info
