"""Extraction of real photos compared with a simple loop: one image at a time through the network as it was trained.

Needs `LRCR_TEST_DATA`: a folder with `photos/`, `weights/` and `parity/`.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.photos import recipe, test_data
from benchmarks.timing import ratio, seconds
from benchmarks.values import Value
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.data.dataset import Photo, open_dataset
from lrcr.data.images import load_image, prepare
from lrcr.datasets.make import make_dataset
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.models.model import Model
from lrcr.runtime.device import resolve_device
from lrcr.storage.artifacts import Manifest

_PHOTOS, _ROUNDS = 24, 5
_LRCR = ("smoothing.kind=learnable", "graph.kind=gcn")


def run() -> Iterator[Value]:
    """HOW and GeM compared with the simple loop, then LRCR compared with HOW."""
    data = test_data()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_dataset("photos", FolderParams(kind="folder", path=str(data / "photos")), work / "data", seed=0)
        available = open_dataset(work / "data").photos()
        photos = available[:: len(available) // _PHOTOS][:_PHOTOS]
        whitening = f"whitening.file={data / 'parity/how_photos.npz'}"
        how, simple = _extractor(recipe(data, whitening), work / "how.pt")
        lrcr, _ = _extractor(recipe(data, whitening, *_LRCR), work / "lrcr.pt")
        gem, simple_gem = _extractor(recipe(data, "model.name=gem"), work / "gem.pt")
    device = resolve_device("auto")
    yield from _compare("HOW", simple, how, photos, device, target=5.0 if device.type == "cuda" else 1.4)
    yield from _compare("GeM", simple_gem, gem, photos, device, target=1.3)
    cost = ratio(lambda: lrcr.describe(photos), lambda: how.describe(photos), rounds=_ROUNDS, fast_repeats=1)
    yield Value("time of LRCR (learnable smoothing, one graph layer) relative to HOW", cost, at_most=1.15)


def _compare(
    name: str, simple: Model, extractor: Extractor, photos: Sequence[Photo], device: torch.device, *, target: float
) -> Iterator[Value]:
    """Compare one model's extraction with the simple loop: speed, and whether the descriptors are the same."""
    simple.to(device)
    taken = ratio(
        lambda: _simple_loop(simple, extractor.settings, photos, device),
        lambda: extractor.describe(photos),
        rounds=_ROUNDS,
        fast_repeats=1,
    )
    yield Value(f"{name}: speed relative to the simple loop, {device.type}", taken, at_least=target)
    yield Value(f"{name}: images/s", _PHOTOS / seconds(lambda: extractor.describe(photos), 3))
    agreement = _agreement(simple, extractor, photos, device)
    yield Value(f"{name}: smallest cosine with the descriptors of the simple loop", agreement, at_least=0.9999)


def _extractor(params: Params, model_file: Path) -> tuple[Extractor, Model]:
    """An extractor, and the same model as it was trained."""
    model = build_model(params).eval()
    save_model(model_file, model, Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    return Extractor(model_file, ExtractSettings.of_database(params)), model


@torch.inference_mode()
def _simple_loop(
    model: Model, settings: ExtractSettings, photos: Sequence[Photo], device: torch.device
) -> list[ImageDescriptors]:
    found = []
    for photo in photos:
        image = prepare(load_image(photo.path, orient=photo.orient), settings.image_size)[None].to(device)
        found += model.describe(image, settings.scales, settings.max_descriptors)
    return found


def _agreement(model: Model, extractor: Extractor, photos: Sequence[Photo], device: torch.device) -> float:
    """The smallest cosine between descriptors of the same location and scale.

    0 where more than one in 100 of the expected locations is missing; ties in strength may select other locations.
    """
    least = 1.0
    for photo, expected in zip(photos, _simple_loop(model, extractor.settings, photos, device), strict=True):
        found = extractor.describe([photo])
        size = np.array(load_image(photo.path, orient=photo.orient).pixels.size)
        own = {_place(xy, scale): row for row, (xy, scale) in enumerate(zip(found.xy, found.scale, strict=True))}
        places = zip((expected.position.cpu().numpy() * size), expected.scale.cpu().numpy(), strict=True)
        pairs = [(own.get(_place(xy, scale)), row) for row, (xy, scale) in enumerate(places)]
        both = np.array([(a, b) for a, b in pairs if a is not None])
        if len(both) < 0.99 * len(pairs):
            return 0.0
        a, b = found.descriptors[both[:, 0]], expected.descriptors.cpu().numpy()[both[:, 1]]
        cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        least = min(least, float(cosine.min()))
    return least


def _place(xy: np.ndarray, scale: float) -> tuple[float, float, float]:
    x, y = (round(float(value) + 0.0137, 1) for value in xy)  # regular grids lie on ties of rounding; leave them
    return x, y, round(float(scale), 3)
