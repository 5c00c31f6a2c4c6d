"""The pipeline's steps on a user's own folders, without DVC: what the commands of `lrcr` run.

Every step leaves its artifact in a folder of the cache, named by what goes in, and finds it there when the same
command runs again after it was killed. A finished command removes that folder.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.datasets.make import make_dataset
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.models.factory import adopt_model, weight_files
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.storage.artifacts import hash_file
from lrcr.storage.state import state_folder
from lrcr.training.phases import Log
from lrcr.training.train import train


@dataclass(frozen=True)
class Prepared:
    """A folder of photos, ready to be asked.

    Args:
        params: as used: a given model's own sections have replaced theirs.
        dataset, descriptors, index: folders of artifacts.
        cost: images described a second, where any had to be.
    """

    params: Params
    dataset: Path
    descriptors: Path
    index: Path
    cost: dict[str, float]


@contextmanager
def prepare(
    params: Params,
    photos: Path,
    *,
    model: Path | None = None,
    fit: Path | None = None,
    check: Callable[[Dataset], None] | None = None,
    progress: Progress = SILENT,
) -> Iterator[Prepared]:
    """Index a folder of photos for the length of the block.

    Args:
        photos: in the layout of `lrcr.datasets.folder`.
        model: a trained model; None takes the backbone off the shelf and learns the whitening on the fit photos.
        fit: photos for learning whitening and codebook; None takes `photos`.
        check: looks at the dataset before any long work.

    Raises:
        LrcrError: of any step.
    """
    if model is None:
        params = _off_the_shelf(params)
        sources = weight_files(params)
    else:
        params = adopt_model(params, model)
        sources = {"model": hash_file(model)}
    with tempfile.TemporaryDirectory() as temporary:
        dataset = _make_folder_dataset(Path(temporary, "dataset"), photos, progress)
        if check is not None:
            check(dataset)
        learned_on = dataset if fit is None else _make_folder_dataset(Path(temporary, "fit"), fit, progress)
        decided = {key: value for key, value in params.model_dump(mode="json").items() if key not in _UNUSED}
        work = state_folder(__name__, decided, sources, dataset.fingerprint, learned_on.fingerprint)
        shutil.copytree(temporary, work, dirs_exist_ok=True)
    fit_folder = work / ("dataset" if fit is None else "fit")
    cost = _make_index(params, model, fit_folder, work, progress)
    yield Prepared(params, work / "dataset", work / "descriptors", work / "index", cost)
    shutil.rmtree(work)


_UNUSED = ("datasets", "data", "device")


def _off_the_shelf(params: Params) -> Params:
    """No training, and a whitening learned at the size at which the photos are described."""
    settings = params.train.model_copy(update={"epochs": 0, "image_size": params.extract.image_size})
    return params.model_copy(update={"train": settings})


def _make_folder_dataset(folder: Path, photos: Path, progress: Progress) -> Dataset:
    path = FolderParams(kind="folder", path=str(photos.resolve()))
    make_dataset(photos.resolve().name, path, folder, seed=0, progress=progress)
    return open_dataset(folder)


def _make_index(params: Params, model: Path | None, fit: Path, work: Path, progress: Progress) -> dict[str, float]:
    """Run the steps whose artifacts are not there yet."""
    model_file, cost = work / "model.pt", {}
    if not model_file.exists():
        if model is None:
            train(params, fit, None, model_file, progress=progress)
        else:
            shutil.copy(model, work / "model.tmp")
            (work / "model.tmp").replace(model_file)
    if not (work / "descriptors").exists():
        cost = extract_dataset(params, model_file, work / "dataset", work / "descriptors", progress)
    if params.learns_codebook and not (work / "fit_descriptors").exists():
        extract_fit(params, model_file, fit, work / "fit_descriptors", progress)
    if not (work / "codebook").exists():
        make_codebook(params, work / "fit_descriptors", work / "codebook", progress)
    if not (work / "index").exists():
        index_dataset(
            params, model_file, work / "dataset", work / "descriptors", work / "codebook", work / "index", progress
        )
    return cost


def train_on_folder(
    params: Params, photos: Path, model_file: Path, *, val: Path | None = None, log: Log, progress: Progress = SILENT
) -> None:
    """Train a model on a labelled folder; without validation photos 20 % of the landmarks are held out.

    Raises:
        LrcrError: the photos carry no labels, or the weights do not fit.
    """
    with tempfile.TemporaryDirectory() as temporary:
        _make_folder_dataset(Path(temporary, "train"), photos, progress)
        if val is not None:
            _make_folder_dataset(Path(temporary, "val"), val, progress)
        validation = None if val is None else Path(temporary, "val")
        train(params, Path(temporary, "train"), validation, model_file, log=log, progress=progress)
