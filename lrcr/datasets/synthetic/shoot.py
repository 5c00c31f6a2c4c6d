"""All views of one building: rendered, graded against each other and stored. The unit of work of one process."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrcr.datasets.synthetic.grading import Sight, grade, surface_points
from lrcr.datasets.synthetic.landmark import build_landmark
from lrcr.datasets.synthetic.render import View, render_view
from lrcr.runtime.seeds import derive_seed, generator
from lrcr.storage.artifacts import hash_file

_DETAIL = 600  # pixels along a building's larger side in its finest textures
_SURE_VIEWS = 2  # of each landmark: they see each other well
_SAFE = 0.45  # share of safe views among the others


@dataclass(frozen=True)
class Assignment:
    """One building to photograph.

    Args:
        folder: of the dataset.
        stem: name of its folder of images, or of the one image of a distractor.
        label: of a landmark; None for a distractor, which gets no masks and no grades.
        views: how many.
        seed: decides building and views.
        clutter: seed of the neighbourhood's buildings.
    """

    folder: Path
    stem: str
    label: str | None
    views: int
    seed: int
    clutter: int


@dataclass(frozen=True)
class Photo:
    """One stored image: its path below the dataset, its size in pixels, and for landmarks the visible box and share.

    Args:
        mask: path of the landmark's visible pixels below the dataset; None for a distractor.
        digests: SHA-256 of the image and of its mask, by path.
        box: x0, y0, x1, y1 of the landmark's visible pixels; None where it shows nothing.
        shown: share of the landmark's surface points that it shows.
        clarity: how much detail weather and camera leave.
    """

    path: str
    width: int
    height: int
    mask: str | None
    digests: dict[str, str]
    box: tuple[float, float, float, float] | None
    shown: float
    clarity: float


@dataclass(frozen=True)
class Reel:
    """The photos of one building and `grades`, an array of shape (V, V): of column's view for the row's as query."""

    label: str | None
    photos: tuple[Photo, ...]
    grades: npt.NDArray[np.str_]


def shoot(assignment: Assignment) -> Reel:
    """Build one landmark or distractor, photograph it and store images and masks."""
    landmark = build_landmark(derive_seed(assignment.seed, "building"), _DETAIL)
    points = surface_points(landmark)
    photos, sights = [], []
    for number in range(assignment.views):
        seed = derive_seed(assignment.seed, "view", number)
        daring = generator(seed, "safe").random() >= _SAFE
        safe = not daring or (assignment.label is not None and number < _SURE_VIEWS)
        view = render_view(landmark, points, assignment.clutter, safe, seed)
        name = assignment.stem if assignment.label is None else f"{assignment.stem}/{number:02d}"
        photos.append(_store(view, assignment.folder, name, masked=assignment.label is not None))
        sights.append(view.sight)
    return Reel(assignment.label, tuple(photos), _grade_all(sights))


def _grade_all(sights: list[Sight]) -> npt.NDArray[np.str_]:
    return np.array([[grade(query, other) for other in sights] for query in sights])


def _store(view: View, folder: Path, name: str, masked: bool) -> Photo:
    path, mask = f"images/{name}.jpg", f"masks/{name}.png" if masked else None
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    view.image.save(folder / path, "JPEG", quality=view.quality)
    if mask is not None:
        (folder / mask).parent.mkdir(parents=True, exist_ok=True)
        view.mask.save(folder / mask)
    box = view.mask.getbbox()
    return Photo(
        path=path,
        width=view.image.width,
        height=view.image.height,
        mask=mask,
        digests={file: hash_file(folder / file) for file in (path, mask) if file is not None},
        box=None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        shown=float(view.sight.visible.mean()),
        clarity=view.sight.clarity,
    )
