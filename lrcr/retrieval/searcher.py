"""Search in an index folder: the open index and the table of its images."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.config.reading import check_params
from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import ArchivedImage, image_files
from lrcr.data.images import Box
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.retrieval.backend import backend_of
from lrcr.retrieval.layout import CODEBOOK, IMAGES, PARAMS
from lrcr.storage.artifacts import read_json


@dataclass(frozen=True)
class Result:
    """One image of a ranking.

    Args:
        rank: from 1.
        score: larger is more similar.
        image: its name.
        label: its landmark or cluster; None if it has no label.
        path: the file, or the place in an archive, from which the image is read.
        regions: boxes that are described beside the whole image; None: it has no regions.
    """

    rank: int
    score: float
    image: str
    label: str | None
    path: Path | ArchivedImage
    regions: tuple[Box, ...] | None = None


class Searcher:
    """Searches the index in a folder that `lrcr.retrieval.build.index_dataset` wrote.

    Args:
        folder: of the index.
        search: settings of the search; None takes the defaults.

    Attributes:
        params: with which the index was built; the search section holds defaults.
        index: the inverted file or the flat index, open for search (`lrcr.retrieval.backend.OpenIndex`).

    Raises:
        ArtifactError: a file of the index is missing or damaged.
    """

    def __init__(self, folder: Path, search: SearchParams | None = None) -> None:
        self.folder = folder
        self.params = check_params(read_json(folder / PARAMS), str(folder / PARAMS))
        self.index = backend_of(self.params, folder / CODEBOOK).open(folder, search or SearchParams())

    @cached_property
    def images(self) -> pd.DataFrame:
        """The table of images: the columns of a dataset's, with absolute `path` and `archive`, `name` and `regions`.

        See `lrcr.data.dataset.image_files`.

        Raises:
            ArtifactError: the table is missing or damaged, or belongs to another index.
        """
        try:
            table = pd.read_parquet(self.folder / IMAGES)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{self.folder / IMAGES}: not a table of images ({error}); index again") from None
        if len(table) != self.index.images:
            raise ArtifactError(f"{self.folder / IMAGES}: {len(table)} images for an index of {self.index.images}")
        return table

    def search(self, queries: Descriptors, top: int | None = None) -> Ranking:
        """Rank the images of the index for each query.

        Args:
            queries: the descriptors of each query, extracted by the index's model
                (`lrcr.retrieval.queries.open_extractor`).
            top: images returned for each query; None returns all.

        Raises:
            ArtifactError: the descriptors do not fit the index.
        """
        return self.index.rank(self.index.prepare(queries), top)

    def results(self, ranking: Ranking, query: int = 0) -> list[Result]:
        """The ranked images of one query, best first."""
        images, scores = ranking.of_query(query)
        found = self.images.iloc[images]
        regions = map(_boxes, found["regions"]) if "regions" in found else [None] * len(found)
        rows = zip(scores, found["name"], found["label"], image_files(Path(), found), regions, strict=True)
        return [
            Result(rank, float(score), name, None if pd.isna(label) else str(label), path, boxes)
            for rank, (score, name, label, path, boxes) in enumerate(rows, 1)
        ]


def _boxes(numbers: npt.NDArray[np.float64]) -> tuple[Box, ...]:
    """The boxes that the numbers of a row of the table are."""
    return tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in np.reshape(numbers, (-1, 4)))
