"""One split of the synthetic dataset: buildings rendered by several processes, and the tables of the dataset."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lrcr.config.datasets import SyntheticParams
from lrcr.data.dataset import write_dataset
from lrcr.data.hashes import hash_contents
from lrcr.data.regions import BOX
from lrcr.datasets.synthetic.views import BuildingViews, RenderJob, StoredView, render_building
from lrcr.errors import DatasetError
from lrcr.progress import SILENT, Progress
from lrcr.runtime.processes import end_with
from lrcr.runtime.seeds import derive_seed, generator

RENDERER_VERSION = 1  # increase it with every change that alters an image or a grade
LICENCE = "rendered by lrcr; no rights reserved (CC0)"

# A good query has at least this visible share of the surface, this clarity, and this shorter side of its box (pixels).
_MIN_VISIBLE_SHARE, _MIN_CLARITY, _MIN_BOX_SIDE = 0.12, 0.35, 48.0


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

    Images are written to `images/`, masks of the landmarks' visible pixels (1 bit) to `masks/` under the same names.
    The result depends on `params` and `seed` alone.

    Args:
        name: of the dataset.
        workers: number of processes, by default one per processor; 1 renders in the calling process.

    Raises:
        DatasetError: fewer images than `params.queries` have a positive.
    """
    split_seed = derive_seed(seed, "synthetic", params.split)
    jobs = _render_jobs(folder, params, split_seed)
    buildings = list(progress.over(_render_all(jobs, workers), f"Rendering {name}", total=len(jobs)))
    tables = {"images": _images_table(buildings), "regions": _regions_table(buildings)}
    if params.split == "train":
        tables["pairs"] = _pairs_table(buildings)
    if params.queries:
        tables["queries"], tables["relevance"] = _query_tables(buildings, params.queries, split_seed, name)
    hashes = {path: sha256 for building in buildings for view in building.views for path, sha256 in view.hashes.items()}
    write_dataset(
        folder,
        name=name,
        kind="synthetic",
        params={**params.model_dump(), "seed": seed, "version": RENDERER_VERSION},
        root=folder,
        orient=False,
        contents=hash_contents(hashes),
        licence=LICENCE,
        tables=tables,
    )


def _render_jobs(folder: Path, params: SyntheticParams, seed: int) -> list[RenderJob]:
    """Landmarks, whose numbers of views differ by one at most, then distractors with one view each."""
    neighbourhood = derive_seed(seed, "neighbourhood")
    views, remainder = divmod(params.images - params.distractors, params.landmarks)
    jobs = []
    for index in range(params.landmarks):
        label, count = f"{params.split}-{index:04d}", views + (index < remainder)
        jobs.append(RenderJob(folder, label, label, count, derive_seed(seed, "landmark", index), neighbourhood))
    for index in range(params.distractors):
        stem = f"distractors/{index:04d}"
        jobs.append(RenderJob(folder, stem, None, 1, derive_seed(seed, "distractor", index), neighbourhood))
    return jobs


def _render_all(jobs: list[RenderJob], workers: int | None) -> Iterator[BuildingViews]:
    if workers == 1:
        yield from map(render_building, jobs)
        return
    with ProcessPoolExecutor(workers, initializer=end_with, initargs=(os.getpid(),)) as pool:
        yield from pool.map(render_building, jobs, chunksize=4)


def _images_table(buildings: list[BuildingViews]) -> pd.DataFrame:
    rows = [
        (view.path, view.width, view.height, building.label, view.mask)
        for building in buildings
        for view in building.views
    ]
    table = pd.DataFrame(rows, columns=["path", "width", "height", "label", "mask"])
    return table.rename_axis("image").reset_index()


def _regions_table(buildings: list[BuildingViews]) -> pd.DataFrame:
    """The box of the visible pixels of each landmark, with score 1."""
    views = [(view, building.label) for building in buildings for view in building.views]
    rows = [(image, *view.box, 1.0) for image, (view, label) in enumerate(views) if label and view.box]
    return pd.DataFrame(rows, columns=["image", *BOX, "score"])


def _first_ids(buildings: list[BuildingViews]) -> list[int]:
    """The image id of the first view of each building."""
    return [0, *(int(end) for end in np.cumsum([len(building.views) for building in buildings]))][:-1]


def _pairs_table(buildings: list[BuildingViews]) -> pd.DataFrame:
    """Ordered pairs of images that are positives of each other."""
    pairs = []
    for first, building in zip(_first_ids(buildings), buildings, strict=True):
        positive = building.grades != "junk"
        np.fill_diagonal(positive, False)
        pairs += [(first + query, first + other) for query, other in np.argwhere(positive & positive.T)]
    return pd.DataFrame(pairs, columns=["query", "positive"])


def _query_tables(
    buildings: list[BuildingViews], count: int, seed: int, name: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    first_ids = _first_ids(buildings)
    queries: list[tuple[Any, ...]] = []
    relevance: list[tuple[int, int, str]] = []
    for number, index in _choose_queries(buildings, count, seed, name):
        building, first = buildings[number], first_ids[number]
        view = building.views[index]
        queries.append((len(queries), view.path, *(view.box or ()), first + index))
        for other, grade in enumerate(building.grades[index]):
            relevance.append((len(queries) - 1, first + other, "junk" if other == index else str(grade)))
    return (
        pd.DataFrame(queries, columns=["query", "path", "x0", "y0", "x1", "y1", "image"]),
        pd.DataFrame(relevance, columns=["query", "image", "grade"]),
    )


def _choose_queries(buildings: list[BuildingViews], count: int, seed: int, name: str) -> list[tuple[int, int]]:
    """Pairs (building, view): good views before others; among these a first view of each landmark, then a second, …."""
    ranked: list[tuple[bool, int, int, int]] = []
    for number, building in enumerate(buildings):
        rng = generator(seed, "queries", number)
        candidates = [
            int(view)
            for view in rng.permutation(len(building.views))
            if building.label and _has_positive(building, int(view))
        ]
        candidates.sort(key=lambda view: not _is_good(building.views[view]))
        for turn, view in enumerate(candidates):
            ranked.append((not _is_good(building.views[view]), turn, number, view))
    if len(ranked) < count:
        raise DatasetError(
            f"{name}: queries = {count}, but only {len(ranked)} images have a positive; set it to at most {len(ranked)}"
        )
    return [(number, view) for _, _, number, view in sorted(ranked)[:count]]


def _has_positive(building: BuildingViews, view: int) -> bool:
    others = np.delete(building.grades[view], view)
    return building.views[view].box is not None and bool((others != "junk").any())


def _is_good(view: StoredView) -> bool:
    if view.box is None:
        return False
    side = min(view.box[2] - view.box[0], view.box[3] - view.box[1])
    return view.visible_share >= _MIN_VISIBLE_SHARE and view.clarity >= _MIN_CLARITY and side >= _MIN_BOX_SIDE
