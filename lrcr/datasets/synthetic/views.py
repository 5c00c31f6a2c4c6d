"""All views of one building: rendered, graded against each other and stored; the unit of work of one process."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrcr.datasets.synthetic.grading import Visibility, grade, surface_points
from lrcr.datasets.synthetic.landmark import build_landmark
from lrcr.datasets.synthetic.render import View, render_view
from lrcr.runtime.seeds import derive_seed, generator
from lrcr.storage.artifacts import hash_file

_DETAIL = 600  # pixels along a building's larger side in its finest textures
_FAVOURABLE_VIEWS = 2  # first views of each landmark, which are always favourable
_FAVOURABLE_SHARE = 0.45  # probability that another view is favourable


@dataclass(frozen=True)
class RenderJob:
    """One building to render.

    Args:
        folder: folder of the dataset.
        stem: name of the landmark's folder of images, or of the single image of a distractor.
        label: of a landmark; None for a distractor, which has no mask.
        views: number of views.
        seed: determines the building and its views.
        neighbourhood: seed of the neighbouring buildings.
    """

    folder: Path
    stem: str
    label: str | None
    views: int
    seed: int
    neighbourhood: int


@dataclass(frozen=True)
class StoredView:
    """One stored image.

    Args:
        path: below the folder of the dataset.
        width, height: in pixels.
        mask: path of the mask of the landmark's visible pixels, below the folder of the dataset; None for a distractor.
        hashes: path → SHA-256, of the image and of its mask.
        box: x0, y0, x1, y1 of the building's visible pixels; None if none is visible.
        visible_share: share of the building's surface points that are visible.
        clarity: share of image detail that remains, in [0, 1].
    """

    path: str
    width: int
    height: int
    mask: str | None
    hashes: dict[str, str]
    box: tuple[float, float, float, float] | None
    visible_share: float
    clarity: float


@dataclass(frozen=True)
class BuildingViews:
    """The V views of one building, and `grades` of shape (V, V): of the column's view for the row's view as query."""

    label: str | None
    views: tuple[StoredView, ...]
    grades: npt.NDArray[np.str_]


def render_building(job: RenderJob) -> BuildingViews:
    """Build one landmark or distractor, render its views and store images and masks."""
    landmark = build_landmark(derive_seed(job.seed, "building"), _DETAIL)
    points = surface_points(landmark)
    is_landmark = job.label is not None
    stored, visibilities = [], []
    for number in range(job.views):
        seed = derive_seed(job.seed, "view", number)
        drawn = bool(generator(seed, "safe").random() < _FAVOURABLE_SHARE)  # "safe" is part of the seed: do not rename
        favourable = drawn or (is_landmark and number < _FAVOURABLE_VIEWS)
        view = render_view(landmark, points, job.neighbourhood, favourable, seed)
        name = f"{job.stem}/{number:02d}" if is_landmark else job.stem
        stored.append(_store(view, job.folder, name, masked=is_landmark))
        visibilities.append(view.visibility)
    return BuildingViews(job.label, tuple(stored), _grade_all(visibilities))


def _grade_all(views: list[Visibility]) -> npt.NDArray[np.str_]:
    return np.array([[grade(query, other) for other in views] for query in views])


def _store(view: View, folder: Path, name: str, masked: bool) -> StoredView:
    path, mask = f"images/{name}.jpg", f"masks/{name}.png" if masked else None
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    view.image.save(folder / path, "JPEG", quality=view.quality)
    if mask is not None:
        (folder / mask).parent.mkdir(parents=True, exist_ok=True)
        view.mask.save(folder / mask)
    box = view.mask.getbbox()
    return StoredView(
        path=path,
        width=view.image.width,
        height=view.image.height,
        mask=mask,
        hashes={file: hash_file(folder / file) for file in (path, mask) if file is not None},
        box=None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        visible_share=float(view.visibility.visible.mean()),
        clarity=view.visibility.clarity,
    )
