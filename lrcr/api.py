"""The functions that `import lrcr` shows. The commands of `lrcr` call them; each imports what it needs.

Params are given as to the commands: by the name of a recipe, by a file, and singly; each counts more than those before.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lrcr.config.given import (
    check_descriptors,
    params_of_descriptors,
    params_of_search,
    params_of_training,
    params_without_training,
)
from lrcr.errors import ParamsError
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.layout import require_place

if TYPE_CHECKING:
    from lrcr.evaluation.evaluate import Result
    from lrcr.models.model import Model
    from lrcr.retrieval.photos import PhotoIndex


def build_index(
    photos: Path | str | None,
    folder: Path | str,
    *,
    model: Path | str | None = None,
    codebook_photos: Path | str | None = None,
    descriptors: Path | str | None = None,
    codebook_descriptors: Path | str | None = None,
    recipe: str | None = None,
    params: Path | str | None = None,
    overrides: Sequence[str] = (),
    tolerate_truncated: bool = False,
    progress: Progress = SILENT,
) -> "PhotoIndex":
    """Build an index of photos, or of local descriptors of your own, and open it. One that is there is replaced.

    Args:
        photos: folder of photos, with its subfolders; it is only read.
        folder: of the index.
        model: model file of `train`; None: the backbone as it is, not trained.
        codebook_photos: folder of photos to learn whitening and codebook from; None: `photos`.
        descriptors: HDF5 file of local descriptors, a group for each image, as hloc writes it: `descriptors` (D, N),
            float16 or float32, and `keypoints` (N, 2), in pixels of the original image (`docs/own-descriptors.md`). Of
            `photos`, which may then be None, only `labels.csv` is read.
        codebook_descriptors: another such file to learn the codebook from; None: `descriptors`.
        recipe: name of a recipe of params.
        params: YAML file of params.
        overrides: single params, for example `["extract.image_size=512"]`.
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.
        progress: is told what is done.

    Raises:
        ParamsError: a param or an argument is refused, or has no effect, or `folder` is something else than an index.
        LrcrError: a photo, `descriptors`, the model or the weights cannot be read, or another process changes it.

    Example:
        >>> import lrcr
        >>> index = lrcr.build_index("photos", "my.index")
        >>> len(index)
        12
        >>> import h5py, numpy as np
        >>> with h5py.File("features.h5", "w") as file:
        ...     for name in ("a.jpg", "b.jpg"):
        ...         file[f"{name}/descriptors"] = np.random.default_rng(0).random((32, 60), np.float32)
        ...         file[f"{name}/keypoints"] = np.zeros((60, 2), np.float32)
        >>> len(lrcr.build_index(None, "own.index", descriptors="features.h5", overrides=["codebook.words=3"]))
        2
    """
    target, model_file, own = Path(folder), _path(model), _path(descriptors)
    of_photos = {"model": model, "codebook-photos": codebook_photos, "tolerate-truncated": tolerate_truncated}
    check_descriptors(own, codebook_descriptors, of_photos)
    if own is not None:
        from lrcr.retrieval.own.build import index_features

        chosen = params_of_descriptors(_path(params), overrides, recipe, searches=False)
        index_features(chosen, own, target, photos=_path(photos), fit=_path(codebook_descriptors), progress=progress)
        return open_index(target)
    if photos is None:
        raise ParamsError("PHOTOS: missing; name a folder of photos, or a file with --descriptors")
    require_place(target)
    chosen = params_without_training(_path(params), overrides, recipe, model_file, searches=False)
    from lrcr.pipeline import prepare  # imports torch, which takes seconds
    from lrcr.retrieval.lock import replaced_index

    with (
        prepare(
            chosen,
            Path(photos),
            model=model_file,
            fit=_path(codebook_photos),
            tolerate_truncated=tolerate_truncated,
            progress=progress,
        ) as ready,
        replaced_index(target) as temporary,
    ):
        shutil.copytree(ready.index, temporary, dirs_exist_ok=True)
    return open_index(target)


def open_index(
    folder: Path | str,
    *,
    photos: Sequence[Path | str] = (),
    recipe: str | None = None,
    params: Path | str | None = None,
    overrides: Sequence[str] = (),
    shards: int = 1,
    allow_partial: bool = False,
) -> "PhotoIndex":
    """Open an index for search; the network is read with the first query.

    It answers from the state that it opened, also while the index is changed.

    Args:
        folder: of the index.
        photos: where the photos are now, if they were moved: one folder for each folder of the index.
        recipe: name of a recipe of params, of which the sections `search` and `rerank` are read.
        params: YAML file of params, of which these sections are read.
        overrides: single params of a search, for example `["search.tau=0.25"]`.
        shards: number of processes that search, each in some segments of the index; 1: this process alone.
        allow_partial: whether hits of the other processes are returned when one has ended; `Hit.unsearched` tells.

    Raises:
        ParamsError: a param is refused, or is decided by the index, or `photos` are not as many folders as its own.
        ArtifactError: a file of the index is missing or damaged.

    Example:
        >>> import lrcr
        >>> index = lrcr.open_index("my.index", overrides=["search.multiple_assignment=1"])
        >>> hits = index.search("photos/church/00.jpg", top=2)
        >>> [(hit.rank, hit.label, round(hit.score, 2)) for hit in hits[:1]]
        [(1, 'church', 1.0)]
    """
    search, rerank = params_of_search(_path(params), overrides, recipe)
    from lrcr.retrieval.photos import PhotoIndex

    roots = [Path(root) for root in photos]
    return PhotoIndex(Path(folder), search, roots, rerank, shards=shards, allow_partial=allow_partial)


def train(
    photos: Path | str,
    file: Path | str,
    *,
    val: Path | str | None = None,
    recipe: str | None = None,
    params: Path | str | None = None,
    overrides: Sequence[str] = (),
    tolerate_truncated: bool = False,
    log: Callable[[dict[str, float]], None] | None = None,
    progress: Progress = SILENT,
) -> list[dict[str, float]]:
    """Train a model on a folder of labelled photos.

    Args:
        photos: folder of photos with `labels.csv` (image,label).
        file: model file to write, for example `model.safetensors`.
        val: folder of validation photos; None: 20 % of the landmarks are held out.
        recipe: name of a recipe of params.
        params: YAML file of params.
        overrides: single params, for example `["train.image_size=512"]`.
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.
        log: called with the values of each epoch when it ends.
        progress: is told what is done.

    Returns:
        The values of each epoch: `epoch`, `loss`, `rate`, `validation_map`, with `train.tuples.validation_pairs` also
        `validation_loss`, and those of the method. First come those of the start.

    Raises:
        LrcrError: the photos have no labels, a param is refused, or the weights do not fit.

    Example:
        >>> import lrcr
        >>> quick = ["train.epochs=1", "train.image_size=96", "train.tuples.negatives=1"]
        >>> epochs = lrcr.train("photos", "model.safetensors", overrides=quick)
        >>> [values["epoch"] for values in epochs]
        [0, 1]
    """
    chosen = params_of_training(_path(params), overrides, recipe)
    from lrcr.pipeline import train_on_folder  # imports torch, which takes seconds

    epochs: list[dict[str, float]] = []

    def note(values: dict[str, float]) -> None:
        epochs.append(values)
        if log is not None:
            log(values)

    train_on_folder(
        chosen,
        Path(photos),
        Path(file),
        val=_path(val),
        tolerate_truncated=tolerate_truncated,
        log=note,
        progress=progress,
    )
    return epochs


def load_model(file: Path | str) -> "Model":
    """Read a trained model, on the CPU and in evaluation mode.

    Called with images of shape (B, 3, H, W), normalised as for ImageNet, it gives unit vectors of shape (B, D).

    Raises:
        LrcrError: the file is missing, damaged, or is not a model of this version of lrcr.

    Example:
        >>> import lrcr, torch
        >>> model = lrcr.load_model("model.safetensors")
        >>> model(torch.zeros(2, 3, 96, 128)).shape == (2, model.dim)
        True
    """
    from lrcr.models.factory import open_model

    return open_model(Path(file))[0]


def evaluate(
    photos: Path | str,
    *,
    model: Path | str | None = None,
    codebook_photos: Path | str | None = None,
    descriptors: Path | str | None = None,
    codebook_descriptors: Path | str | None = None,
    recipe: str | None = None,
    params: Path | str | None = None,
    overrides: Sequence[str] = (),
    tolerate_truncated: bool = False,
    progress: Progress = SILENT,
) -> "Result":
    """Measure mAP on a folder of photos with ground truth: extract, codebook, index, evaluate.

    Args:
        photos: folder of photos with `ground_truth.json` or `labels.csv`; with `descriptors` only these are read.
        model: as in `build_index`.
        codebook_photos: as in `build_index`.
        descriptors: as in `build_index`; the file has the database and the queries.
        codebook_descriptors: as in `build_index`.
        recipe: name of a recipe of params.
        params: YAML file of params.
        overrides: single params, for example `["extract.image_size=512"]`.
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.
        progress: is told what is done.

    Returns:
        `metrics`, `per_query` (a table of the AP of each query), `cost`, and the `ranking` itself.

    Raises:
        LrcrError: a param or an argument is refused, a file cannot be read, or there is no ground truth.

    Example:
        >>> import lrcr
        >>> result = lrcr.evaluate("photos", overrides=["extract.image_size=160"])
        >>> sorted(result.metrics["map"])
        ['easy', 'hard', 'medium']
        >>> len(result.per_query)
        12
    """
    model_file, own = _path(model), _path(descriptors)
    of_photos = {"model": model, "codebook-photos": codebook_photos, "tolerate-truncated": tolerate_truncated}
    check_descriptors(own, codebook_descriptors, of_photos)
    if own is not None:
        from lrcr.evaluation.own import evaluate_features

        chosen = params_of_descriptors(_path(params), overrides, recipe, searches=True)
        return evaluate_features(chosen, own, Path(photos), fit=_path(codebook_descriptors), progress=progress)
    chosen = params_without_training(_path(params), overrides, recipe, model_file, searches=True)
    from lrcr.config.steps import require_steps
    from lrcr.evaluation.evaluate import evaluate_dataset, require_queries
    from lrcr.models.factory import adopt_model  # imports torch, which takes seconds
    from lrcr.pipeline import prepare

    require_steps(chosen if model_file is None else adopt_model(chosen, model_file))

    with prepare(
        chosen,
        Path(photos),
        model=model_file,
        fit=_path(codebook_photos),
        tolerate_truncated=tolerate_truncated,
        check=require_queries,
        progress=progress,
    ) as ready:
        result = evaluate_dataset(ready.params, ready.dataset, ready.descriptors, ready.index)
    return replace(result, cost={**ready.cost, **result.cost})


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)
