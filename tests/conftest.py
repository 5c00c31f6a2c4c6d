"""What all tests share: one thread a process, reference data, drawn photos, and a place for unfinished work."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

os.environ.setdefault("LRCR_THREADS", "1")  # pytest-xdist uses the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of numpy too, before it is imported
os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # at most: for tests that compare numbers of threads

import numba  # noqa: F401  reads its number of threads here
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lrcr.data.dataset import leave_one_out, write_dataset
from lrcr.runtime.threads import use_threads

use_threads(None)


_LONGEST_FIRST = ("stages", "training", "kills", "test_package.py", "retrieval", "cli", "datasets", "models")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest modules: pytest-xdist gives whole modules to its processes, in this order."""
    folders = {name: place for place, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: min(folders.get(part, len(folders)) for part in item.path.parts))


@pytest.fixture(scope="session", autouse=True)
def float32() -> Iterator[None]:
    """`compute: auto` takes float32 on every processor, so that tests find the same numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lrcr.features.compute.processor_flags", set)
        yield


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


@pytest.fixture(scope="session")
def threads() -> Callable[[int], AbstractContextManager[None]]:
    """`with threads(2):` lets numba, faiss and torch use as many threads; elsewhere they have one."""

    import faiss  # noqa: F401  `use_threads` sets the threads of what is imported
    import torch

    @contextmanager
    def inside(count: int) -> Iterator[None]:
        before = torch.get_num_threads()
        use_threads(count)
        try:
            yield
        finally:
            use_threads(before)

    return inside


@pytest.fixture(scope="session", autouse=True)
def _state_of_the_session(tmp_path_factory) -> None:
    """Keep what fixtures of modules leave unfinished out of the user's cache."""
    os.environ["LRCR_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path_factory) -> Path:
    """Keep unfinished work out of the user's cache, and out of other tests."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("LRCR_STATE", str(folder))
    return folder


def _draw_photo(path: Path, size: tuple[int, int], seed: int, noise: int) -> None:
    """A PNG of coloured blocks that the seed decides, the same but for a little noise."""
    width, height = size
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3))
    pixels = np.kron(blocks, np.ones((-(-height // 6), -(-width // 8), 1)))[:height, :width]
    pixels = pixels + np.random.default_rng((seed, noise)).normal(0, 25, pixels.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def _draw_dataset(folder: Path, sizes: list[tuple[int, int]], labels: list[str | None], **tables: pd.DataFrame) -> Path:
    """A dataset of drawn photos `0.png`, `1.png`, …: those of one label look alike and are queries for each other."""
    names = sorted({label for label in labels if label})
    (folder / "images").mkdir(parents=True)
    for image, (size, label) in enumerate(zip(sizes, labels, strict=True)):
        seed = names.index(label) if label else 1000 + image
        _draw_photo(folder / "images" / f"{image}.png", size, seed, noise=image)
    images = pd.DataFrame(
        {
            "image": range(len(sizes)),
            "path": [f"images/{image}.png" for image in range(len(sizes))],
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
            "label": pd.Series(labels, dtype="string"),
        }
    )
    queries, relevance = leave_one_out(images)
    write_dataset(
        folder,
        name=folder.name,
        kind="drawn",
        params={},
        root=folder,
        orient=False,
        contents=f"{sizes} {labels}",
        licence="drawn by the tests",
        tables={"images": images, "queries": queries, "relevance": relevance, **tables},
    )
    return folder


@pytest.fixture(scope="session")
def draw_dataset() -> Callable[..., Path]:
    """`draw_dataset(folder, sizes, labels, **tables)` makes a small dataset of drawn photos."""
    return _draw_dataset


@pytest.fixture(scope="session")
def landmarks(tmp_path_factory) -> Path:
    """A dataset of five landmarks with three photos each and one photo without a label."""
    labels = [f"landmark {i % 5}" for i in range(15)]
    return _draw_dataset(tmp_path_factory.mktemp("data") / "landmarks", [(48, 36)] * 16, [*labels, None])


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """A folder with `photos/`: rendered photos of three buildings, four of each, and labels.csv; only to be read."""
    from lrcr.config.datasets import SyntheticParams
    from lrcr.datasets.synthetic import make_synthetic

    base = tmp_path_factory.mktemp("rendered")
    params = SyntheticParams(kind="synthetic", split="eval", landmarks=3, images=12)
    (base / "dataset").mkdir()
    make_synthetic(base / "dataset", "dataset", params, seed=0, workers=1)
    (base / "photos").mkdir()
    lines = ["image,label"]
    for folder, label in zip(sorted((base / "dataset/images").iterdir()), ("church", "castle", "library"), strict=True):
        folder.rename(base / "photos" / label)
        lines += [f"{label}/{file.name},{label}" for file in sorted((base / "photos" / label).iterdir())]
    (base / "photos/labels.csv").write_text("\n".join(lines))
    return base


def pytest_sessionfinish() -> None:
    """Undo the `gc.freeze` of stages and commands that ran in this process: triton reports what was never collected."""
    gc.unfreeze()
