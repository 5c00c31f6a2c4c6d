"""Pictures of matches: query and result side by side, with a line for each visual word in common, or each inlier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection

from lrcr.data.decoding import ImageFile
from lrcr.data.images import load_image
from lrcr.errors import ParamsError
from lrcr.report.picture import blank_figure, picture_format, save_figure
from lrcr.retrieval.asmk.explain import Match
from lrcr.retrieval.rerank.geometric import Inlier

_SUBJECT = "matches"
_WIDTH, _ROW = 11.0, 4.0  # inches
_MAX_LINES = 60
_COLOURS = matplotlib.colormaps["plasma"]


@dataclass(frozen=True)
class PhotoKeypoints:
    """A photo and the positions of its descriptors.

    Args:
        photo: the image file.
        xy: x and y of each descriptor, of shape (N, 2), in pixels of the photo as it is shown.
    """

    photo: ImageFile
    xy: npt.NDArray[np.float32]


@dataclass(frozen=True)
class ResultMatches:
    """A result and its matches with the query.

    Args:
        keypoints: of the result.
        title: written above the photos.
        matches: with the query, the largest contribution first.
        unit: what they are; it follows their number in the title.
    """

    keypoints: PhotoKeypoints
    title: str
    matches: Sequence[Match | Inlier]
    unit: str = "words in common"


def draw_matches(path: Path, query: PhotoKeypoints, results: Sequence[ResultMatches], *, orient: bool = True) -> None:
    """Draw a row for each result into one picture, which is written atomically.

    A match is a line between the mean positions of its descriptors; brighter lines have larger contributions. Only the
    60 matches with the largest contributions are drawn.

    Args:
        path: file of the picture: .png, .jpg or .jpeg.
        results: best first; at least one.
        orient: whether the EXIF orientation of the photos is applied, as in their dataset.

    Raises:
        ParamsError: the file has another suffix, or there is no result.
        ImageError: a photo cannot be read.
    """
    picture_format(path, _SUBJECT)
    if not results:
        raise ParamsError(f"{path}: no result to draw")
    figure = blank_figure(_WIDTH, _ROW * len(results))
    axes = figure.subplots(len(results), squeeze=False)[:, 0]
    for axis, result in zip(axes, results, strict=True):
        offset = _show_photos(axis, query.photo, result.keypoints.photo, orient)
        drawn = result.matches[:_MAX_LINES]
        title = f"{result.title}: {len(result.matches)} {result.unit}"
        axis.set_title(title, fontsize=11, loc="left", parse_math=False)
        if drawn:
            xy = result.keypoints.xy
            ends = [(query.xy[m.query].mean(axis=0), xy[m.image].mean(axis=0) + offset) for m in drawn]
            contributions = np.array([match.contribution for match in drawn])
            colours = _COLOURS(0.1 + 0.85 * contributions / contributions.max())
            # The order is reversed so that the line of the largest contribution is on top.
            axis.add_collection(LineCollection(ends[::-1], colors=colours[::-1], linewidths=1.3, alpha=0.9))
            for points in zip(*ends, strict=True):
                x, y = np.transpose(points)
                axis.scatter(x, y, s=14, c=colours, edgecolors="white", linewidths=0.5, zorder=3)
    save_figure(path, figure, _SUBJECT)


def _show_photos(
    axis: matplotlib.axes.Axes, query: ImageFile, result: ImageFile, orient: bool
) -> npt.NDArray[np.float64]:
    """Show both photos side by side, one unit for each pixel; returns the left upper corner of the second, (x, y)."""
    left, right = (load_image(path, orient=orient, tolerate_truncated=True).pixels for path in (query, result))
    gap = 0.02 * left.width
    start = np.array([left.width + gap, 0.0])
    axis.imshow(left, extent=(0, left.width, left.height, 0))
    axis.imshow(right, extent=(start[0], start[0] + right.width, right.height, 0))
    axis.set_xlim(0, start[0] + right.width)
    axis.set_ylim(max(left.height, right.height), 0)
    axis.set_axis_off()
    return start
