"""One split of the synthetic dataset: the work shared out over processes, and its results gathered into tables."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lrcr.config.datasets import SyntheticParams
from lrcr.data.dataset import hash_contents, write_dataset
from lrcr.datasets.synthetic.shoot import Assignment, Photo, Reel, shoot
from lrcr.errors import DatasetError
from lrcr.progress import SILENT, Progress
from lrcr.runtime.executor import end_with
from lrcr.runtime.seeds import derive_seed, generator

RENDERER_VERSION = 1  # to be raised with every change that alters an image or a grade
LICENCE = "rendered by lrcr; no rights reserved (CC0)"

_QUERY_SHOWN, _QUERY_CLARITY, _QUERY_SIDE = 0.12, 0.35, 48.0  # what makes a good query: surface, clarity, pixels


def make_synthetic(
    folder: Path,
    name: str,
    params: SyntheticParams,
    *,
    seed: int,
    progress: Progress = SILENT,
    workers: int | None = None,
) -> None:
    """Render a split into an existing, empty folder and store its tables there.

    Images go to `images/`, masks of the landmarks' visible pixels (1 bit) to `masks/` under the same names. The result
    depends on `params` and `seed` alone.

    Args:
        name: of the dataset.
        workers: processes; as many as there are processors by default, none of its own for 1.

    Raises:
        DatasetError: fewer images than `params.queries` have a positive.
    """
    split_seed = derive_seed(seed, "synthetic", params.split)
    assignments = _assignments(folder, params, split_seed)
    reels = list(progress.over(_shoot_all(assignments, workers), f"Rendering {name}", total=len(assignments)))
    photos = [photo for reel in reels for photo in reel.photos]
    tables = {"images": _images_table(reels)}
    if params.split == "train":
        tables["pairs"] = _pairs_table(reels)
    if params.queries:
        tables["queries"], tables["relevance"] = _query_tables(reels, params.queries, split_seed, name)
    write_dataset(
        folder,
        name=name,
        kind="synthetic",
        params={**params.model_dump(), "seed": seed, "version": RENDERER_VERSION},
        root=folder,
        orient=False,
        contents=hash_contents({path: digest for photo in photos for path, digest in photo.digests.items()}),
        licence=LICENCE,
        tables=tables,
    )


def _assignments(folder: Path, params: SyntheticParams, seed: int) -> list[Assignment]:
    """Landmarks with as equal numbers of views as possible, then distractors with one view each."""
    clutter = derive_seed(seed, "neighbourhood")
    views, more = divmod(params.images - params.distractors, params.landmarks)
    work = []
    for index in range(params.landmarks):
        label, count = f"{params.split}-{index:04d}", views + (index < more)
        work.append(Assignment(folder, label, label, count, derive_seed(seed, "landmark", index), clutter))
    for index in range(params.distractors):
        stem = f"distractors/{index:04d}"
        work.append(Assignment(folder, stem, None, 1, derive_seed(seed, "distractor", index), clutter))
    return work


def _shoot_all(assignments: list[Assignment], workers: int | None) -> Iterator[Reel]:
    if workers == 1:
        yield from map(shoot, assignments)
        return
    with ProcessPoolExecutor(workers, initializer=end_with, initargs=(os.getpid(),)) as pool:
        yield from pool.map(shoot, assignments, chunksize=4)


def _images_table(reels: list[Reel]) -> pd.DataFrame:
    rows = [(photo.path, photo.width, photo.height, reel.label, photo.mask) for reel in reels for photo in reel.photos]
    table = pd.DataFrame(rows, columns=["path", "width", "height", "label", "mask"])
    return table.rename_axis("image").reset_index()


def _first_ids(reels: list[Reel]) -> list[int]:
    return [0, *(int(end) for end in np.cumsum([len(reel.photos) for reel in reels]))][:-1]


def _pairs_table(reels: list[Reel]) -> pd.DataFrame:
    """Ordered pairs of images of which each is found with the other as query."""
    pairs = []
    for first, reel in zip(_first_ids(reels), reels, strict=True):
        positive = reel.grades != "junk"
        np.fill_diagonal(positive, False)
        pairs += [(first + query, first + other) for query, other in np.argwhere(positive & positive.T)]
    return pd.DataFrame(pairs, columns=["query", "positive"])


def _query_tables(reels: list[Reel], count: int, seed: int, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    first_ids = _first_ids(reels)
    queries: list[tuple[Any, ...]] = []
    relevance: list[tuple[int, int, str]] = []
    for reel_number, view in _choose_queries(reels, count, seed, name):
        reel, first = reels[reel_number], first_ids[reel_number]
        photo = reel.photos[view]
        queries.append((len(queries), photo.path, *(photo.box or ()), first + view))
        for other, grade in enumerate(reel.grades[view]):
            relevance.append((len(queries) - 1, first + other, "junk" if other == view else str(grade)))
    return (
        pd.DataFrame(queries, columns=["query", "path", "x0", "y0", "x1", "y1", "image"]),
        pd.DataFrame(relevance, columns=["query", "image", "grade"]),
    )


def _choose_queries(reels: list[Reel], count: int, seed: int, name: str) -> list[tuple[int, int]]:
    """Landmarks' best candidates in turn: one of each landmark, then a second one, and so on; (reel, view)."""
    turns: list[tuple[Any, ...]] = []
    for number, reel in enumerate(reels):
        rng = generator(seed, "queries", number)
        candidates = [
            view for view in rng.permutation(len(reel.photos)) if reel.label and _has_positive(reel, int(view))
        ]
        candidates.sort(key=lambda view: not _is_good(reel.photos[view]))
        for turn, view in enumerate(candidates):
            turns.append((not _is_good(reel.photos[view]), turn, number, int(view)))
    if len(turns) < count:
        raise DatasetError(f"{name}: queries = {count}, but only {len(turns)} images have a positive; ask for fewer")
    return [(number, view) for _, _, number, view in sorted(turns)[:count]]


def _has_positive(reel: Reel, view: int) -> bool:
    others = np.delete(reel.grades[view], view)
    return reel.photos[view].box is not None and bool((others != "junk").any())


def _is_good(photo: Photo) -> bool:
    if photo.box is None:
        return False
    side = min(photo.box[2] - photo.box[0], photo.box[3] - photo.box[1])
    return photo.shown >= _QUERY_SHOWN and photo.clarity >= _QUERY_CLARITY and side >= _QUERY_SIDE
