"""Extraction of real photos: the engine compared with the earlier one and with a simple loop; cost of LRCR; bfloat16.

The earlier engine computed the maps of eight images at once, and smoothed all locations before it selected some.
Decoding is excluded, except where it says otherwise, and everything runs on one thread. Needs `LRCR_TEST_DATA`: a
folder with `photos/`, `weights/` and `parity/`.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.photos import recipe, test_data
from benchmarks.timing import ratio, seconds
from benchmarks.values import Value
from lrcr.config.base import Compute
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import Photo, open_dataset
from lrcr.data.images import load_image, prepare
from lrcr.data.loading import load_batches
from lrcr.datasets.make import make_dataset
from lrcr.features.compute import FAST_HALVES, processor_flags
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.models.local import LocalModel
from lrcr.models.model import Model
from lrcr.runtime.device import resolve_device
from lrcr.runtime.threads import use_threads
from lrcr.storage.artifacts import Manifest

_PHOTOS, _ROUNDS, _BATCH = 16, 3, 8
_LRCR = ("smoothing.kind=learnable", "smoothing.kernel=7", "graph.kind=gcn")


def run() -> Iterator[Value]:
    """HOW, GeM and LRCR."""
    data, device = test_data(), resolve_device("auto")
    use_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_dataset("photos", FolderParams(kind="folder", path=str(data / "photos")), work / "data", seed=0)
        available = open_dataset(work / "data").photos()
        photos = available[:: len(available) // _PHOTOS][:_PHOTOS]
        whitening = f"whitening.file={data / 'parity/how_photos.npz'}"
        how, simple = _extractor(recipe(data, whitening), work / "how.safetensors", device)
        lrcr, _ = _extractor(recipe(data, whitening, *_LRCR), work / "lrcr.safetensors", device)
        gem, simple_gem = _extractor(
            recipe(data, "model.name=gem", "train.validation.by=global"), work / "gem.safetensors", device
        )
        half, _ = _extractor(recipe(data, whitening), work / "how.safetensors", device, "bfloat16")
        default, _ = _extractor(load_params(None, ["extract.image_size=512"]), work / "default.safetensors", device)
    batches = [
        batch.images.to(device, memory_format=torch.channels_last)
        for batch in load_batches(photos, how.settings.image_size, _BATCH)
    ]
    images = [image[None].contiguous(memory_format=torch.channels_last) for batch in batches for image in batch]
    earlier = _each(lambda x: _earlier_engine(how.model, x, how.settings), batches)
    yield from _compare("HOW, float32, earlier engine", earlier, _engine(how, batches), at_least=1.15)
    before = _each(lambda x: _earlier_engine(default.model, x, default.settings), batches)
    yield from _compare("default settings, float32, earlier engine", before, _engine(default, batches), at_least=1.15)
    yield from _compare_halves(earlier, half, batches)
    yield Value("HOW, bfloat16: smallest cosine of maps", _map_agreement(how, half, images))
    target = 5.0 if device.type == "cuda" else 1.4
    plain = _each(lambda x: simple.describe(x, how.settings.scales, how.settings.max_descriptors), images)
    yield from _compare(f"HOW, simple loop, {device.type}", plain, _engine(how, batches), at_least=target)
    plain = _each(lambda x: simple_gem.describe(x, gem.settings.scales, 1), images)
    yield from _compare(f"GeM, simple loop, {device.type}", plain, _engine(gem, batches), at_least=1.3)
    cost = ratio(_engine(lrcr, batches), _engine(how, batches), rounds=_ROUNDS, fast_repeats=1)
    yield Value("time of LRCR (kernel 7, one graph layer) relative to HOW, float32", cost, at_most=1.15)
    yield Value("HOW, float32: images/s", _PHOTOS / seconds(_engine(how, batches), 3))
    yield Value("HOW, bfloat16: images/s", _PHOTOS / seconds(_engine(half, batches), 3))
    yield Value("HOW, float32, with decoding: images/s", _PHOTOS / seconds(lambda: how.describe(photos), 3))
    for name, extractor, model in (("HOW", how, simple), ("GeM", gem, simple_gem)):
        agreement = _agreement(model, extractor, photos, device)
        yield Value(f"{name}: smallest cosine with the descriptors of the simple loop", agreement, at_least=0.9999)


def _compare(name: str, slow: Callable[[], object], fast: Callable[[], object], *, at_least: float) -> Iterator[Value]:
    taken = ratio(slow, fast, rounds=_ROUNDS, fast_repeats=1)
    yield Value(f"speed relative to {name}", taken, at_least=at_least)


def _compare_halves(earlier: Callable[[], object], half: Extractor, batches: Sequence[Tensor]) -> Iterator[Value]:
    """The speed of bfloat16; the target is for CPUs with AMX."""
    flags = processor_flags()
    taken = ratio(earlier, _engine(half, batches), rounds=_ROUNDS, fast_repeats=1)
    if "amx_bf16" in flags:
        yield Value("speed of bfloat16 relative to HOW, float32, earlier engine (AMX)", taken, at_least=2.5)
    else:
        which = ", ".join(sorted(FAST_HALVES & flags)) or "no instructions for it"
        yield Value(f"speed of bfloat16 relative to HOW, float32, earlier engine (no AMX here: {which})", taken)


def _each(describe: Callable[[Tensor], object], batches: Sequence[Tensor]) -> Callable[[], None]:
    """A function that describes all batches."""

    def run_all() -> None:
        with torch.inference_mode():
            for images in batches:
                describe(images)

    return run_all


def _engine(extractor: Extractor, batches: Sequence[Tensor]) -> Callable[[], None]:
    settings = extractor.settings
    return _each(lambda images: extractor.model.describe(images, settings.scales, settings.max_descriptors), batches)


def _earlier_engine(model: Model, images: Tensor, settings: ExtractSettings) -> list[Tensor]:
    """Compute the maps of a batch at once, smooth every location, concatenate, sort, whiten what is selected."""
    assert isinstance(model, LocalModel)
    contexts = [
        model.context(model.backbone.end(model.backbone.start(_resized(images, scale)))) for scale in settings.scales
    ]
    smoothed = torch.cat([model.smoothed(context).flatten(2) for context in contexts], dim=2)
    attention = torch.cat([context.attention.flatten(1) for context in contexts], dim=1)
    found = []
    for image in range(len(images)):
        order = attention[image].sort(descending=True, stable=True).indices[: settings.max_descriptors]
        found.append(model.whitening(smoothed[image, :, order].T))
    return found


def _resized(images: Tensor, scale: float) -> Tensor:
    return torch.nn.functional.interpolate(images, scale_factor=scale, mode="bilinear", recompute_scale_factor=True)


def _extractor(
    params: Params, model_file: Path, device: torch.device, compute: Compute = "float32"
) -> tuple[Extractor, Model]:
    """An extractor, and the same model as it was trained."""
    model = build_model(params).eval()
    save_model(model_file, model, Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    settings = replace(ExtractSettings.of_database(params), compute=compute)
    return Extractor(model_file, settings, device.type), model.to(device)


@torch.inference_mode()
def _map_agreement(exact: Extractor, half: Extractor, images: Sequence[Tensor]) -> float:
    pairs = ((exact.model.backbone(image), half.model.backbone(image)) for image in images)
    return min(torch.cosine_similarity(a, b, dim=1).min().item() for a, b in pairs)


@torch.inference_mode()
def _agreement(model: Model, extractor: Extractor, photos: Sequence[Photo], device: torch.device) -> float:
    """The smallest cosine between descriptors of the same location and scale.

    0 where more than one in 100 of the expected locations is missing; ties in strength may select other locations.
    """
    least, settings = 1.0, extractor.settings
    for photo in photos:
        loaded = load_image(photo.path, orient=photo.orient)
        image = prepare(loaded, settings.image_size)[None].to(device)
        [expected] = model.describe(image, settings.scales, settings.max_descriptors)
        least = min(least, _smallest_cosine(expected, extractor, photo, np.array(loaded.pixels.size)))
    return least


def _smallest_cosine(expected: ImageDescriptors, extractor: Extractor, photo: Photo, size: np.ndarray) -> float:
    found = extractor.describe([photo])
    own = {_place(xy, scale): row for row, (xy, scale) in enumerate(zip(found.xy, found.scale, strict=True))}
    places = zip((expected.position.cpu().numpy() * size), expected.scale.cpu().numpy(), strict=True)
    pairs = [(own.get(_place(xy, scale)), row) for row, (xy, scale) in enumerate(places)]
    both = np.array([(a, b) for a, b in pairs if a is not None])
    if len(both) < 0.99 * len(pairs):
        return 0.0
    a, b = found.descriptors[both[:, 0]], expected.descriptors.cpu().numpy()[both[:, 1]]
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def _place(xy: np.ndarray, scale: float) -> tuple[float, float, float]:
    x, y = (round(float(value) + 0.0137, 1) for value in xy)  # regular grids lie on ties of rounding; leave them
    return x, y, round(float(scale), 3)
