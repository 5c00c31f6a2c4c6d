"""Pairs of images that are worth matching, for structure from motion and localisation: a text of two names a line."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lrcr.errors import ParamsError
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.neighbours import find_neighbours
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import staged_file

FORMATS = ("hloc", "colmap")


def find_pairs(searcher: Searcher, top: int, progress: Progress = SILENT) -> pd.DataFrame:
    """Pair each image of an index with its most similar other images.

    Args:
        searcher: the open index.
        top: number of images for each, at least 1.

    Returns:
        A row for each pair, with the columns `query`, `image` (their names) and `score`: in the order of the queries,
        the best image first.

    Raises:
        ParamsError: `top` is below 1.
        ArtifactError: a file of the index is missing or damaged.
    """
    if top < 1:
        raise ParamsError(f"top: {top} is below 1; ask for at least one image")
    found = find_neighbours(searcher.index, top, progress)
    names = searcher.images["name"].to_numpy(object)
    return pd.DataFrame({"query": names[found.query], "image": names[found.image], "score": found.score})


def find_query_pairs(
    index: PhotoIndex, queries: Mapping[str, Path], top: int, progress: Progress = SILENT
) -> pd.DataFrame:
    """Pair photos with the most similar images of an index.

    Args:
        index: the open index.
        queries: the photos, by name; an image of the index with the same name is not paired with it.
        top: number of images for each, at least 1.
        progress: one step for each photo.

    Returns:
        As `find_pairs`, in the order of the photos.

    Raises:
        ParamsError: `top` is below 1.
        ImageError: a photo cannot be decoded.
        ArtifactError: a file of the index is missing or damaged.
    """
    if top < 1:
        raise ParamsError(f"top: {top} is below 1; ask for at least one image")
    rows = []
    for name, photo in progress.over(queries.items(), "search", len(queries)):
        hits = [hit for hit in index.search(photo, top + 1) if hit.image != name]
        rows += [(name, hit.image, np.float32(hit.score)) for hit in hits[:top]]
    return pd.DataFrame(rows, columns=["query", "image", "score"])


def require_format(form: str) -> None:
    """Refuse a format that there is not.

    Raises:
        ParamsError: it is none of `FORMATS`.
    """
    if form not in FORMATS:
        raise ParamsError(f"--format {form}: unknown; choose from {', '.join(FORMATS)}")


def require_names(names: Iterable[str], place: str) -> None:
    """Refuse names that a list of pairs cannot hold.

    Args:
        place: where the list is to be written, for the error.

    Raises:
        ParamsError: a name holds white space or starts with #, which neither program can read in such a list.
    """
    for name in names:
        if name.split() != [name] or name.startswith("#"):
            raise ParamsError(f"{place}: cannot hold the name {name!r} (white space or a first #); rename the photo")


def write_pairs(file: Path, pairs: pd.DataFrame, form: str) -> int:
    """Write pairs as text, atomically: two names a line, with a blank between them.

    Args:
        pairs: as of `find_pairs`.
        form: hloc: `query image` for each pair, so that a pair may occur in both orders. colmap: each pair once, in the
            order in which it is found first.

    Returns:
        The number of lines.

    Raises:
        ParamsError: it cannot hold a name.
    """
    require_names(pd.unique(pairs[["query", "image"]].to_numpy().ravel()), str(file))
    ends = pairs[["query", "image"]]
    if form == "colmap":
        unordered = ends.min(axis=1) + " " + ends.max(axis=1)
        ends = ends[~unordered.duplicated()]
    text = "".join(f"{query} {image}\n" for query, image in ends.itertuples(index=False))
    with staged_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text.count("\n")
