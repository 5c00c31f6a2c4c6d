"""Where the tests find their truth."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Small numbers computed with the reference implementations."""
    return Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Photos, weights and ground truth, where this machine has them."""
    folder = os.environ.get("LRCR_TEST_DATA")
    if not folder:
        pytest.skip("LRCR_TEST_DATA is not set: it names the folder of photos and weights")
    return Path(folder)
