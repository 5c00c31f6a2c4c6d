"""Fixtures of the tests of datasets."""

import pytest

from lrcr.datasets.sources import BENCHMARKS

from . import lookalikes
from .server import serve
from .user_folder import draw


@pytest.fixture
def photos(tmp_path):
    """A folder of a user: five photos of 8 × 6 pixels in `images/`."""
    path = tmp_path / "photos"
    for name in ("a.png", "b.png", "c.png", "sub/d.png", "sub/e.png"):
        draw(path / "images" / name)
    return path


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


@pytest.fixture
def published(server, monkeypatch, tmp_path):
    """Look-alikes in place of the benchmarks; downloads go to `tmp_path / "downloads"`."""
    monkeypatch.setenv("LRCR_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.delenv("LRCR_ARCHIVES", raising=False)
    server.pages.clear()
    server.requests.clear()
    small = {
        "roxford5k": lookalikes.revisited(server, "roxford5k"),
        "rparis6k": lookalikes.revisited(server, "rparis6k"),
        "revisitop1m": lookalikes.distractors(server),
        **lookalikes.sfm120k(server),
        **lookalikes.gldv2(server),
    }
    for name, benchmark in small.items():
        monkeypatch.setitem(BENCHMARKS, name, benchmark)
    return small
