# the longest first
SIXTHS := test-4 test-3 test-0 test-2 test-5 test-1
.PHONY: demo test $(SIXTHS) check test-slow bench clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

demo: $(VENV)/.ready
	$(BIN)/tacit demo

# every test uses one thread, so two processes share out the files, a sixth at a time; what each says comes when it is done
test: $(VENV)/.ready
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target $(SIXTHS)

$(SIXTHS):
	$(BIN)/python -m pytest $$(ls tests/test_*.py | awk 'NR % 6 == $(@:test-%=%)')

check: $(VENV)/.ready
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/part1.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/part2.py
	$(BIN)/python benchmarks/part3.py
	$(BIN)/python benchmarks/part4.py
	$(BIN)/python benchmarks/part5.py
	$(BIN)/python benchmarks/part6.py
	$(BIN)/python benchmarks/part7.py
	$(BIN)/python benchmarks/part8.py

# bytecode is compiled once: importing torch without it takes twice as long
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m compileall -q $(VENV)/lib src || true
	touch $@

clean:
	rm -rf $(VENV) runs build dist
