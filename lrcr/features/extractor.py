"""Multi-scale extraction of the descriptors of photos, in batches, into memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrcr.config.base import Compute
from lrcr.config.params import Params
from lrcr.data.dataset import Photo
from lrcr.data.loading import Batch, load_batches
from lrcr.features.compute import choose_compute
from lrcr.features.regions import join_regions, regions_as_photos
from lrcr.features.store import Descriptors, join
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.factory import open_model
from lrcr.models.inference import ready_for_inference
from lrcr.models.model import Model
from lrcr.progress import SILENT, Progress
from lrcr.runtime.device import computed_on, explain_out_of_memory, resolve_device

_BATCH = 8


@dataclass(frozen=True)
class ExtractSettings:
    """Settings of an extraction.

    Args:
        image_size: longest side in pixels; smaller images are not enlarged.
        scales: of the image pyramid.
        max_descriptors: number of local descriptors of an image, the strongest of all scales.
        dtype: of the descriptors, float32 or float16.
        compute: arithmetic of the trunk; see `lrcr.features.compute`.
        decoded_images: most decoded images held at one time; see `load_batches`.
        min_strength: of local descriptors, as a share of that of the strongest; weaker ones are left out.
        vector_scales: of the vector of models that have local descriptors and a vector.
    """

    image_size: int
    scales: Sequence[float]
    max_descriptors: int
    dtype: str = "float32"
    compute: Compute = "float32"
    decoded_images: int = 80
    min_strength: float = 0.0
    vector_scales: Sequence[float] = ()

    @classmethod
    def of_database(cls, params: Params) -> "ExtractSettings":
        """The settings for database and queries."""
        extract = params.extract
        return cls(
            extract.image_size,
            params.scales,
            extract.max_descriptors,
            extract.dtype,
            extract.compute,
            extract.decoded_images,
            extract.min_strength,
            params.vector_scales,
        )

    @classmethod
    def of_fit(cls, params: Params) -> "ExtractSettings":
        """The settings for the images that the codebook is learned from."""
        count = params.codebook.max_descriptors
        own = cls.of_database(params)
        return replace(own, scales=params.fit_scales, max_descriptors=count, dtype="float32", min_strength=0.0)


@explain_out_of_memory("lower extract.image_size, or the largest of the scales")
@torch.inference_mode()
def extract_photos(
    model: Model, photos: Sequence[Photo], settings: ExtractSettings, device: torch.device, progress: Progress = SILENT
) -> Descriptors:
    """Extract the descriptors of photos, at least one.

    On a CPU each thread describes images of its own: operations on the small maps of one image gain little from several
    threads. A batch has at least as many images as there are threads.

    Args:
        model: in evaluation mode, on `device`.
        progress: one step for each photo.

    Raises:
        ImageError: a photo cannot be decoded.
        OutOfMemoryError: there is not enough memory.
    """
    by_position: dict[int, Descriptors] = {}
    threads = torch.get_num_threads() if device.type == "cpu" and len(photos) > 1 else 1
    with _threads(threads) as map_parts:
        for batch in load_batches(photos, settings.image_size, max(_BATCH, threads), settings.decoded_images):
            images = batch.images.to(device, memory_format=torch.channels_last)
            parts = torch.split(images, -(-len(images) // threads))
            described = chain.from_iterable(map_parts(partial(_describe, model, settings), parts))
            for i, image in enumerate(described):
                by_position[batch.positions[i]] = _to_original_pixels(image, batch, i, settings)
            progress.advance(len(images))
    return join([by_position[position] for position in range(len(photos))])


@contextmanager
def _threads(number: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield a `map` whose calls run in threads of their own, each of which computes with one thread."""
    if number == 1:
        yield map
        return
    with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield pool.map
        finally:
            torch.set_num_threads(number)


@torch.inference_mode()
def _describe(model: Model, settings: ExtractSettings, images: Tensor) -> list[ImageDescriptors]:
    return model.describe(images, settings.scales, settings.max_descriptors, settings.vector_scales)


def _to_original_pixels(image: ImageDescriptors, batch: Batch, i: int, settings: ExtractSettings) -> Descriptors:
    """The strong descriptors of image i of a batch, with positions in pixels of the original image."""
    kept = int((image.strength >= settings.min_strength).sum())
    xy = image.position[:kept].cpu().numpy() * np.array(batch.sizes[i], np.float32)
    xy += np.array(batch.origins[i], np.float32)
    return Descriptors(
        descriptors=image.descriptors[:kept].cpu().numpy().astype(settings.dtype),
        strength=image.strength[:kept].cpu().numpy(),
        xy=xy,
        scale=image.scale[:kept].cpu().numpy(),
        offsets=np.array([0, kept], np.int64),
        vectors=None if image.vector is None else image.vector[None].cpu().numpy().astype(settings.dtype),
    )


class Extractor:
    """A model with the settings of an extraction, on a device.

    Args:
        model_file: written by `lrcr.models.factory.save_model`.
        settings: of the extraction.
        device: auto, cpu or cuda.

    Attributes:
        model: in evaluation mode, on the device.
        settings: those given, with the arithmetic that was chosen.
        manifest: of the model.

    Raises:
        ArtifactError: the model is missing or damaged.
    """

    def __init__(self, model_file: Path, settings: ExtractSettings, device: str = "auto") -> None:
        self.model_file = model_file
        self.device = device
        self._device = resolve_device(device)
        model, self.manifest = open_model(model_file)
        self.model = ready_for_inference(model, self._device)
        # A worker process gets the settings with what was chosen here.
        self.settings = replace(settings, compute=choose_compute(settings.compute, model.backbone, self._device))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the arguments: a worker process opens the model file itself."""
        return Extractor, (self.model_file, self.settings, self.device)

    @property
    def computed_on(self) -> dict[str, Any]:
        """Facts for the manifest of the descriptors."""
        return {**computed_on(self._device.type), "compute": self.settings.compute}

    def describe(self, photos: Sequence[Photo], progress: Progress = SILENT) -> Descriptors:
        """Extract the descriptors of photos, at least one, and of their regions; see `extract_photos`."""
        given = (self.settings, self._device)
        if all(photo.regions is None for photo in photos):
            return extract_photos(self.model, photos, *given, progress)
        described = extract_photos(self.model, regions_as_photos(photos), *given)
        progress.advance(len(photos))
        return join_regions(described, photos)
