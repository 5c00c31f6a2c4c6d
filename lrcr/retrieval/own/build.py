"""From a features file to an index: the steps of `lrcr.pipeline` without a model.

The images keep their names in the file; the `root` of the index is the file itself. As in `lrcr.pipeline`, a command
that was killed continues where it stopped.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.data.images import Box
from lrcr.datasets.folder import write_folder
from lrcr.datasets.photos import Photos, StoredImage
from lrcr.datasets.walking import photos_root
from lrcr.errors import DatasetError
from lrcr.features.hloc import hash_features, list_images, read_images
from lrcr.features.store import Descriptors, join, shard_facts, write_shard
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import hash_codebook_file, make_codebook
from lrcr.retrieval.layout import require_place
from lrcr.retrieval.lock import replaced_index
from lrcr.runtime.executor import make_shards
from lrcr.runtime.shares import refuse_share
from lrcr.storage.artifacts import MANIFEST, Manifest, fingerprint, hash_file, write_manifest
from lrcr.storage.state import state_folder

_DECISIVE = ("seed", "codebook", "index")
"""The params that decide such an index."""

Item = tuple[str, Box | None]
"""An image of the file, and the part of it that is taken."""


def index_features(
    params: Params,
    file: Path,
    folder: Path,
    *,
    photos: Path | None = None,
    fit: Path | None = None,
    progress: Progress = SILENT,
) -> None:
    """Build an index of the images of a features file. An index that is already there is replaced.

    Args:
        file: it is only read.
        folder: of the index.
        photos: see `prepare_features`.
        fit: see `prepare_features`.

    Raises:
        LrcrError: as `prepare_features`, or `folder` is something else than an index or is being changed.
    """
    require_place(folder)
    with (
        prepare_features(params, file, photos=photos, fit=fit, progress=progress) as work,
        replaced_index(folder) as temporary,
    ):
        shutil.copytree(work / "index", temporary, dirs_exist_ok=True)


@contextmanager
def prepare_features(
    params: Params,
    file: Path,
    *,
    photos: Path | None = None,
    fit: Path | None = None,
    check: Callable[[Dataset], None] | None = None,
    progress: Progress = SILENT,
) -> Iterator[Path]:
    """Index the images of a features file; the artifacts exist until the `with` block ends.

    Args:
        photos: a user's folder (`lrcr.datasets.folder`), of which only labels and ground truth are read.
        fit: another features file, from which the codebook is learned; None: the images of the database.
        check: called with the dataset before any long work; it raises an error to refuse the dataset.

    Yields:
        A folder with `dataset`, `descriptors` and `index`.

    Raises:
        ArtifactError: a features file is refused; see `lrcr.features.hloc`.
        DatasetError: the folder does not exist, or labels or ground truth do not fit the images.
        ParamsError: this process makes a share of an array job.
    """
    refuse_share("an index of a features file")
    with ExitStack() as finished:
        with tempfile.TemporaryDirectory() as temporary:
            dataset, dim = _make_dataset(Path(temporary, "dataset"), file, photos, progress)
            if check is not None:
                check(dataset)
            sources = [dataset.fingerprint, None if fit is None else hash_file(fit), hash_codebook_file(params)]
            work = finished.enter_context(state_folder(__name__, params.sections(*_DECISIVE), sources))
            shutil.copytree(temporary, work, dirs_exist_ok=True)
        _make_index(params, file, fit, dim, work, progress)
        yield work


def _make_index(params: Params, file: Path, fit: Path | None, dim: int, work: Path, progress: Progress) -> None:
    """Run the steps whose artifacts do not exist yet."""
    dataset = open_dataset(work / "dataset")
    inputs = {"model": fingerprint("own", dim), "dataset": dataset.fingerprint}
    make = _Import(file, dim)
    size, stores = params.extract.shard_size, {"database": _database(dataset), "queries": _queries(dataset)}
    for part, items in stores.items():
        _import(
            make, items, size, work / "descriptors" / part, Manifest("descriptors", {"part": part}, inputs), progress
        )
    learned_from = work / "descriptors/database"
    if fit is not None and params.learns_codebook:
        learned_from = work / "fit"
        manifest = Manifest("descriptors", {"part": "fit"}, {**inputs, "dataset": hash_file(fit)})
        _import(_Import(fit, dim), [(name, None) for name in list_images(fit)], size, learned_from, manifest, progress)
    if not (work / "codebook").exists():
        make_codebook(params, learned_from, work / "codebook", progress)
    if not (work / "index").exists():
        descriptors, codebook = work / "descriptors", work / "codebook"
        index_dataset(params, None, work / "dataset", descriptors, codebook, work / "index", progress)


def _make_dataset(folder: Path, file: Path, photos: Path | None, progress: Progress) -> tuple[Dataset, int]:
    """The dataset of the images of a features file, and the dimension of their descriptors."""
    folder.mkdir()
    if photos is not None:
        photos_root(photos)
    found, names = {}, list_images(file)
    for name, image in zip(
        names, progress.over(read_images(file, names), f"reading {file.name}", len(names)), strict=True
    ):
        found[name] = StoredImage(*image.size, hash_features(image.local), image.size, truncated=False)
    accepted = Photos(file.resolve(), found, {}, frozenset())
    name = file.stem if photos is None else photos.resolve().name
    write_folder(folder, name, accepted, photos or folder, str(file))
    return open_dataset(folder), image.local.descriptors.shape[1]


def _database(dataset: Dataset) -> list[Item]:
    return [(name, None) for name in dataset.images["path"]]


def _queries(dataset: Dataset) -> list[Item]:
    rows = dataset.queries[["path", "x0", "y0", "x1", "y1"]].itertuples(index=False, name=None)
    return [(name, None if pd.isna(x0) else (x0, y0, x1, y1)) for name, x0, y0, x1, y1 in rows]


@dataclass(frozen=True)
class _Import:
    """Writes the descriptors of images of a features file into a shard; see `lrcr.runtime.jobs.Make`."""

    file: Path
    dim: int

    def __call__(self, items: Sequence[Item], shard: Path, progress: Progress) -> None:
        images = read_images(self.file, [name for name, _ in items], self.dim)
        write_shard(shard, join([self._cut(image.local, *item) for image, item in zip(images, items, strict=True)]))
        progress.advance(len(items))

    def _cut(self, local: Descriptors, name: str, box: Box | None) -> Descriptors:
        """The descriptors of an image whose keypoints are in a box."""
        if box is None:
            return local
        rows = np.flatnonzero(((local.xy >= box[:2]) & (local.xy < box[2:])).all(axis=1))
        if not len(rows):
            raise DatasetError(f"{self.file}: {name!r}: no keypoint is in the box {list(box)} of a query; enlarge it")
        ends = np.array([0, len(rows)], np.int64)
        return Descriptors(local.descriptors[rows], local.strength[rows], local.xy[rows], local.scale[rows], ends)


def _import(
    make: _Import, items: Sequence[Item], size: int, folder: Path, manifest: Manifest, progress: Progress
) -> None:
    """Write a store of descriptors (`lrcr.features.store`), if it is not there yet."""
    if (folder / MANIFEST).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    files = make_shards(make, items, size, folder, ".h5", progress, f"import {manifest.params['part']}")
    manifest.facts.update(shard_facts(files, len(items), size))
    write_manifest(folder, manifest)
