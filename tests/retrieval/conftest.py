from pathlib import Path

import pytest

from lrcr.config.params import Params

from .steps import make_all, small, small_global


def _make(factory: pytest.TempPathFactory, name: str, params: Params, dataset: Path) -> Path:
    folder = factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(factory.mktemp("state")))
        make_all(folder, params, dataset)
    return folder


@pytest.fixture(scope="session")
def words(tmp_path_factory, landmarks) -> Path:
    """All artifacts of a local model on the five landmarks; tests do not change them."""
    return _make(tmp_path_factory, "words", small(), landmarks)


@pytest.fixture(scope="session")
def gem(tmp_path_factory, landmarks) -> Path:
    """All artifacts of a global model on the five landmarks; tests do not change them."""
    return _make(tmp_path_factory, "gem", small_global("gem"), landmarks)
