"""A small folder of drawn photos, and what the commands make of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .command import GLOBAL, SMALL, TRUNK, lrcr, sets

LANDMARKS, VIEWS = 4, 3


def draw(path: Path, landmark: int, view: int) -> None:
    """Coloured blocks that the landmark decides, with the noise of a view."""
    blocks = np.random.default_rng(landmark).integers(0, 256, (5, 6, 3)).repeat(16, axis=0).repeat(16, axis=1)
    noise = np.random.default_rng((landmark, view)).normal(0, 25, blocks.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((blocks + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def draw_photo() -> Callable[[Path, int, int], None]:
    """`draw_photo(path, landmark, view)` draws a photo of 96 × 80 pixels."""
    return draw


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Four landmarks, three photos each, and their labels."""
    folder = tmp_path_factory.mktemp("cli") / "photos"
    table = ["image,label"]
    for landmark in range(LANDMARKS):
        for view in range(VIEWS):
            draw(folder / "images" / f"{landmark}" / f"{view}.png", landmark, view)
            table.append(f"{landmark}/{view}.png,landmark-{landmark}")
    (folder / "labels.csv").write_text("\n".join(table))
    return folder


@pytest.fixture(scope="session")
def index(photos, tmp_path_factory) -> Path:
    """An index of the photos by local descriptors."""
    folder = tmp_path_factory.mktemp("cli") / "my.index"
    lrcr("index", photos, "-o", folder, *SMALL)
    return folder


@pytest.fixture(scope="session")
def global_index(photos, tmp_path_factory) -> Path:
    """An index of the photos by global vectors."""
    folder = tmp_path_factory.mktemp("cli") / "global.index"
    lrcr("index", photos, "-o", folder, *GLOBAL)
    return folder


@pytest.fixture(scope="session")
def model(photos, tmp_path_factory) -> Path:
    """A model that was trained on the photos for an epoch."""
    file = tmp_path_factory.mktemp("cli") / "model.pt"
    tuples = sets("train.tuples.queries_per_epoch=4", "train.tuples.negatives=2")
    settings = sets("whitening.dim=16", "whitening.images=8", "train.epochs=1", "train.image_size=64")
    settings += sets("train.pretrain.epochs=0")
    lrcr("train", photos, "-o", file, *TRUNK, *settings, *tuples)
    return file
