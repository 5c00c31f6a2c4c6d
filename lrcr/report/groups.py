"""A contact sheet of groups of images: the first image of each group, and beside it the others."""

from pathlib import Path

import pandas as pd

from lrcr.progress import SILENT, Progress
from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings

_SUBJECT = "groups"
_MOST_GROUPS, _MOST_IMAGES = 98, 30  # as many as fit into a picture


def draw_groups(picture: Path, groups: pd.DataFrame, progress: Progress = SILENT) -> None:
    """Draw the first images of the first groups into one picture, which is written atomically.

    At most 98 groups are drawn, and 31 images of each.

    Args:
        picture: file of the picture: .png, .jpg or .jpeg.
        groups: as `lrcr.retrieval.groups.find_groups` returns them.
        progress: one step for each group.

    Raises:
        ParamsError: the file has another suffix, or there are no groups.
    """
    rows = []
    for number, images in groups[groups["group"] <= _MOST_GROUPS].groupby("group"):
        shown = images[["path", "image", "score"]].head(_MOST_IMAGES + 1).to_numpy(object)
        (path, name, _), *others = shown
        first = QueryTile(Path(path), name, method=f"group {number}", note=f"{len(images)} images")
        rows.append((first, [ResultTile(Path(path), name, score) for path, name, score in others]))
    draw_rankings(picture, rows, subject=_SUBJECT, progress=progress)
