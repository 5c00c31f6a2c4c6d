.PHONY: install repro test pytest slow faults app cluster container onnx lint format docs clean
UV = .venv/bin/python -m uv

install: .venv/installed  ## make .venv with the pinned dependencies

repro: .venv/installed  ## run the whole pipeline, from images to mAP, on the embedded dataset
	. .venv/bin/activate && dvc repro

test: .venv/installed  ## run linter, type checker and tests at the same time
	$(MAKE) --no-print-directory --jobs 2 lint pytest

pytest: .venv/installed  ## run the tests, in two processes
	.venv/bin/python -m pytest

slow: .venv/installed  ## run the tests of whole pipelines and trainings, in two processes, and a sample of the kills
	.venv/bin/python -m pytest -m slow

faults: .venv/installed  ## kill stages, changes of an index and whole runs at random moments; change indexes at random
	LRCR_KILLS=10 LRCR_PIPELINE_KILLS=10 LRCR_SEQUENCES=300 .venv/bin/python -m pytest -n 0 -m faults tests/kills tests/stages tests/retrieval/test_writer.py

cluster: .venv/installed  ## test what runs on a Ray cluster, on this machine; needs the extra lrcr[ray]
	.venv/bin/python -m pytest -n 0 -m cluster tests

app: .venv/installed  ## test the page in a browser, and the server under load
	.venv/bin/python -m pytest -n 0 -m app tests/app

container: .venv/installed  ## build the image, or run the steps of its Dockerfile in a folder, and try its commands
	.venv/bin/python -m pytest -n 0 -m container tests/container

onnx: .venv/installed  ## export models to ONNX and compare them with torch
	.venv/bin/python -m pytest -n 0 -m onnx tests/models/test_onnx.py

lint: .venv/installed  ## run what pre-commit checks
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy lrcr

format: .venv/installed  ## format the code and apply the linter's fixes
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: .venv/installed  ## build the documentation's site into site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

clean:  ## remove artifacts and caches, but not .venv
	rm -rf data site .pytest_cache .mypy_cache .ruff_cache

.venv/installed: pyproject.toml requirements.lock
	test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade uv
	$(UV) pip sync --quiet --compile-bytecode --python .venv/bin/python requirements.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps --editable .
	.venv/bin/lrcr compile
	touch $@
