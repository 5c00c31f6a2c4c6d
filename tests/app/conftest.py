"""A small folder of drawn photos, an index of it, and a client of its server; a browser, where there is one."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from lrcr.api import build_index
from lrcr.app.limits import Limits
from lrcr.app.served import ServedIndex
from lrcr.app.server import make_app

SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("whitening.dim=16", "extract.image_size=64", "extract.scales=[1.0]", "extract.max_descriptors=60"),
    *("codebook.words=16",),
)
BASE = "http://127.0.0.1:8000"


def pixels(landmark: int, view: int) -> np.ndarray:
    """Coloured blocks that the landmark decides, with the noise of a view."""
    blocks = np.random.default_rng(landmark).integers(0, 256, (5, 6, 3)).repeat(16, axis=0).repeat(16, axis=1)
    return (blocks + np.random.default_rng((landmark, view)).normal(0, 25, blocks.shape)).clip(0, 255).astype(np.uint8)


def encoded(landmark: int, view: int, kind: str = "PNG") -> bytes:
    """The bytes of a photo of 96 × 80 pixels."""
    stream = io.BytesIO()
    Image.fromarray(pixels(landmark, view)).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="package")
def indexed(tmp_path_factory) -> Path:
    """A folder with `photos/` (four landmarks, three views each) and `my.index`; only to be read."""
    base = tmp_path_factory.mktemp("app")
    for landmark in range(4):
        (base / "photos" / str(landmark)).mkdir(parents=True)
        for view in range(3):
            (base / "photos" / str(landmark) / f"{view}.png").write_bytes(encoded(landmark, view))
    build_index(base / "photos", base / "my.index", overrides=SMALL)
    return base


@pytest.fixture(scope="package")
def served(indexed) -> ServedIndex:
    """The index, as the server holds it."""
    return ServedIndex(indexed / "my.index", overrides=["search.multiple_assignment=1"])


@pytest.fixture(scope="package")
def client(served, tmp_path_factory) -> Iterator[TestClient]:
    """A client of the server, whose uploads may have 10 million pixels and a megabyte."""
    limits = Limits(upload_bytes=1 << 20, pixels=10_000_000, waiting=2)
    app = make_app([served], tmp_path_factory.mktemp("judged") / "judged", limits=limits)
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def growing(indexed, tmp_path) -> Path:
    """A copy of the folder, to be changed."""
    shutil.copytree(indexed, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="package")
def find() -> Callable[..., dict]:
    """`find(client, contents, **form)`: the answer to a search with an uploaded photo."""

    def search(client: TestClient, contents: bytes, **form: object) -> dict:
        answer = client.post("/api/search", files={"photo": ("query.png", contents)}, data=form)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return search
