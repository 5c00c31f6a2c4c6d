"""The pipeline's steps on a user's own folders, without DVC: what the commands of `lrcr` run.

Every step writes its artifact into a folder of the user's cache (`lrcr.storage.state`). The folder's name is a hash of
the command's inputs. If a command was killed, the same command reuses the artifacts that it finds there. A command that
has finished removes the folder.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
from lrcr.retrieval.codebook import hash_codebook_file, make_codebook
from lrcr.runtime.shares import refuse_share
from lrcr.storage.artifacts import hash_file
from lrcr.storage.state import state_folder
from lrcr.training.phases import Log
from lrcr.training.train import train


@dataclass(frozen=True)
class IndexedPhotos:
    """The artifacts of a folder of photos that has been indexed.

    Args:
        params: those in use; the sections of a given model have replaced the user's.
        dataset: folder of the tables.
        descriptors: their folder.
        index: its folder.
        cost: images described per second; empty if the descriptors existed already.
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
    tolerate_truncated: bool = False,
    check: Callable[[Dataset], None] | None = None,
    progress: Progress = SILENT,
) -> Iterator[IndexedPhotos]:
    """Index a folder of photos; the artifacts exist until the `with` block ends.

    Args:
        photos: in the layout of `lrcr.datasets.folder`.
        model: a trained model; None: the backbone is not trained, and the whitening is learned on the fit photos.
        fit: photos from which whitening and codebook are learned; None: `photos`.
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.
        check: called with the dataset before any long work; it raises an error to refuse the dataset.

    Raises:
        LrcrError: a step fails.
    """
    refuse_share("what the command lrcr makes")
    if model is None:
        params = _off_the_shelf(params)
        sources = weight_files(params)
    else:
        params = adopt_model(params, model)
        sources = {"model": hash_file(model)}
    with ExitStack() as finished:
        with tempfile.TemporaryDirectory() as temporary:
            dataset = _make_folder_dataset(Path(temporary, "dataset"), photos, tolerate_truncated, progress)
            if check is not None:
                check(dataset)
            fit_dataset = dataset
            if fit is not None:
                fit_dataset = _make_folder_dataset(Path(temporary, "fit"), fit, tolerate_truncated, progress)
            used = {key: value for key, value in params.model_dump(mode="json").items() if key not in _UNUSED}
            identity = (used, sources, hash_codebook_file(params), dataset.fingerprint, fit_dataset.fingerprint)
            work = finished.enter_context(state_folder(__name__, *identity))
            shutil.copytree(temporary, work, dirs_exist_ok=True)
        cost = _make_index(params, model, work / ("dataset" if fit is None else "fit"), work, progress)
        yield IndexedPhotos(params, work / "dataset", work / "descriptors", work / "index", cost)


_UNUSED = ("datasets", "data", "device", "threads", "executor")


def _off_the_shelf(params: Params) -> Params:
    """The params without training; the whitening is learned with the image size and arithmetic of extraction."""
    extract = params.extract
    settings = {"epochs": 0, "image_size": extract.image_size, "compute": extract.compute}
    return params.model_copy(update={"train": params.train.model_copy(update=settings)})


def _make_folder_dataset(folder: Path, photos: Path, tolerate_truncated: bool, progress: Progress) -> Dataset:
    source = FolderParams(kind="folder", path=str(photos.resolve()), tolerate_truncated=tolerate_truncated)
    make_dataset(photos.resolve().name, source, folder, seed=0, progress=progress)
    return open_dataset(folder)


def _make_index(params: Params, model: Path | None, fit: Path, work: Path, progress: Progress) -> dict[str, float]:
    """Run the steps whose artifacts do not exist yet."""
    model_file, cost = work / "model.safetensors", {}
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
    params: Params,
    photos: Path,
    model_file: Path,
    *,
    val: Path | None = None,
    tolerate_truncated: bool = False,
    log: Log,
    progress: Progress = SILENT,
) -> None:
    """Train a model on a labelled folder; without `val`, 20 % of the landmarks are held out for validation.

    Raises:
        LrcrError: the photos have no labels, or the weights do not fit.
    """
    with tempfile.TemporaryDirectory() as temporary:
        _make_folder_dataset(Path(temporary, "train"), photos, tolerate_truncated, progress)
        if val is not None:
            _make_folder_dataset(Path(temporary, "val"), val, tolerate_truncated, progress)
        validation = None if val is None else Path(temporary, "val")
        train(params, Path(temporary, "train"), validation, model_file, log=log, progress=progress)
