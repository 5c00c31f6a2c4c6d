"""Indexes of drawn descriptors, built at once, for tests that change indexes."""

from pathlib import Path

import numpy as np
import pandas as pd

from lrcr.config.params import Params
from lrcr.features.store import Descriptors, join
from lrcr.retrieval.asmk.codebook import Codebook, save_codebook
from lrcr.retrieval.backend import backend_of
from lrcr.retrieval.build import complete_index
from lrcr.retrieval.flat.vectors import RowWhitening
from lrcr.retrieval.flat.whitening import save_whitening
from lrcr.retrieval.images import typed
from lrcr.storage.artifacts import Manifest

from .steps import small, small_global

WORDS, DIM = 10, 6
KINDS = {
    "binary": small(),
    "local descriptors": small("index.local_descriptors=float16"),
    "codes": small("index.local_descriptors=codes"),
    "packed residuals": small("index.binary=false", "index.pack_ids=true", "index.multiple_assignment=2"),
    "vectors": small_global("gem"),
    "halves": small_global("gem", "index.dtype=float16"),
}
"""The params of each kind of index."""


def draw(seed: int) -> Descriptors:
    """The descriptors of one image, none to six; some images have the same, so that they tie."""
    rng = np.random.default_rng(seed // 2)
    rows = int(rng.integers(0, 7))
    ones = np.ones(rows, np.float32)
    descriptors = rng.normal(size=(rows, DIM)).astype(np.float32)
    return Descriptors(descriptors, ones, rng.random((rows, 2), np.float32), ones, np.array([0, rows]))


def draw_all(seeds: list[int]) -> Descriptors:
    return join([draw(seed) for seed in (0, *seeds)]).take(range(1, len(seeds) + 1))


def make_source(folder: Path, kind: str) -> Path:
    """A codebook, and a file in the place of the model."""
    (folder / "codebook").mkdir(parents=True)
    rng, manifest = np.random.default_rng(1), Manifest("codebook", {}, {})
    if kind in ("vectors", "halves"):
        weight, bias = rng.normal(size=(4, DIM)).astype(np.float32), np.zeros(4, np.float32)
        save_whitening(folder / "codebook", RowWhitening(weight, bias), manifest)
    else:
        save_codebook(folder / "codebook", Codebook(rng.normal(size=(WORDS, DIM)).astype(np.float32)), manifest)
    (folder / "model").write_bytes(b"weights")
    return folder


def tabulate(images: dict[str, int]) -> pd.DataFrame:
    """The rows of some images, name → seed, in the order of their names."""
    names = sorted(images)
    rows = {"name": names, "path": names, "width": 4, "height": 3, "root": 0, "label": [name[-1] for name in names]}
    return typed(pd.DataFrame({"image": range(len(names)), **rows, "sha256": [f"{images[name]}" for name in names]}))


def build_at_once(folder: Path, source: Path, params: Params, images: dict[str, int], parts: int = 1) -> Path:
    """An index of some images, name → seed, in the order of their names, given to the engine in several parts."""
    folder.mkdir()
    backend, table = backend_of(params, source / "codebook"), tabulate(images)
    names = [part.tolist() for part in np.array_split(table["name"], parts)]
    encoded = [backend.encode(draw_all([images[name] for name in part]), part) for part in names]
    inputs = {"model": "m", "codebook": "c", "dataset": "d", "descriptors": "e"}
    backend.build(encoded, len(images), lambda most, rng: np.empty((0, DIM)), folder, inputs)
    described = [draw_all([images[name] for name in table["name"]])]
    complete_index(folder, params, source / "model", source / "codebook", table, Path("/photos"), described)
    return folder
