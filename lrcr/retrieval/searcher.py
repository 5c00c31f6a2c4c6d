"""Search in an index folder: the open index and the table of its images."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lrcr.config.params import Params
from lrcr.config.reading import check_params
from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import ArchivedImage, image_files
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.retrieval.backend import OpenIndex, backend_of
from lrcr.retrieval.contents import open_steadily, require_beside
from lrcr.retrieval.layout import CODEBOOK, IMAGES, PARAMS
from lrcr.storage.artifacts import open_manifest, read_json


@dataclass(frozen=True)
class Result:
    """One image of a ranking.

    Args:
        rank: from 1.
        score: larger is more similar.
        image: its name.
        label: its landmark or cluster; None if it has no label.
        path: the file, or the place in an archive, from which the image is read.
    """

    rank: int
    score: float
    image: str
    label: str | None
    path: Path | ArchivedImage


class Searcher:
    """Searches the index in a folder that `lrcr.retrieval.build.index_dataset` wrote.

    It keeps answering from the state that it opened, whatever is written into the folder afterwards.

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
        self.params, self.index, self._table = open_steadily(folder, lambda: _open(folder, search or SearchParams()))

    @cached_property
    def images(self) -> pd.DataFrame:
        """The table of images: the columns of a dataset's, with absolute `path` and `archive`, and `name`.

        See `lrcr.data.dataset.image_files`.

        Raises:
            ArtifactError: the table is damaged, or belongs to another index.
        """
        file = self.folder / IMAGES
        if (
            hashlib.sha256(self._table.data).hexdigest()
            != self.index.manifest.facts["beside"]["files"][IMAGES]["sha256"]
        ):
            raise ArtifactError(f"{file}: altered since the index was made; index again")
        table = pd.read_parquet(pa.BufferReader(self._table))
        if len(table) != self.index.images:
            raise ArtifactError(f"{file}: {len(table)} images for an index of {self.index.images}; index again")
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
        rows = zip(scores, found["name"], found["label"], image_files(Path(), found), strict=True)
        return [
            Result(rank, float(score), name, None if pd.isna(label) else str(label), path)
            for rank, (score, name, label, path) in enumerate(rows, 1)
        ]


def _open(folder: Path, search: SearchParams) -> tuple[Params, OpenIndex, npt.NDArray[Any]]:
    """The params and the index in a folder, and the bytes of its table of images, mapped into memory."""
    require_beside(folder, open_manifest(folder, "index").facts)
    params = check_params(read_json(folder / PARAMS), str(folder / PARAMS))
    index = backend_of(params, folder / CODEBOOK).open(folder, search)
    return params, index, np.memmap(folder / IMAGES, mode="r")
