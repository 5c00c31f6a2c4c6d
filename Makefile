.PHONY: repro test faults lint format clean
UV = .venv/bin/python -m uv

repro: .venv/installed  ## everything, from images to mAP, on the embedded default
	. .venv/bin/activate && dvc repro

test: lint  ## lint, types, tests
	.venv/bin/python -m pytest

faults: .venv/installed  ## kill -9 at random moments of every stage and of whole runs, and say what was survived
	LRCR_KILLS=10 LRCR_PIPELINE_KILLS=10 .venv/bin/python -m pytest -m faults tests/kills tests/test_pipeline.py

lint: .venv/installed  ## what pre-commit checks
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy lrcr

format: .venv/installed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:  ## remove artifacts, not the environment
	rm -rf data .pytest_cache .mypy_cache .ruff_cache

.venv/installed: pyproject.toml requirements.lock
	test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade uv
	$(UV) pip sync --quiet --compile-bytecode --python .venv/bin/python requirements.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps --editable .
	touch $@
