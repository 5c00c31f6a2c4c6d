"""Search in an index folder: the open index and the table of its images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lrcr.config.reading import check_params
from lrcr.config.rerank import RerankParams
from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import ArchivedImage, image_files
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.backend import backend_of
from lrcr.retrieval.layout import CODEBOOK, IMAGES, LOCAL, PARAMS
from lrcr.retrieval.local import LocalDescriptors, open_local
from lrcr.retrieval.rerank.steps import open_steps
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
    """

    rank: int
    score: float
    image: str
    label: str | None
    path: Path | ArchivedImage


class Searcher:
    """Searches the index in a folder that `lrcr.retrieval.build.index_dataset` wrote.

    Args:
        folder: of the index.
        search: settings of the search; None takes the defaults.
        rerank: steps that rank the results again.

    Attributes:
        params: with which the index was built; the search section holds defaults.
        index: the inverted file or the flat index, open for search (`lrcr.retrieval.backend.OpenIndex`).
        local: the local descriptors that the index owns; None if it owns none.
        steps: of the re-ranking (`lrcr.retrieval.rerank.reranker.Reranker`); `search` does not take them.

    Raises:
        ArtifactError: a file of the index is missing or damaged.
        ParamsError: a step of re-ranking needs what the index does not hold.
    """

    def __init__(self, folder: Path, search: SearchParams | None = None, rerank: Sequence[RerankParams] = ()) -> None:
        self.folder = folder
        self.params = check_params(read_json(folder / PARAMS), str(folder / PARAMS))
        self.index = backend_of(self.params, folder / CODEBOOK).open(folder, search or SearchParams())
        self.local = self._open_local()
        self.steps = open_steps(rerank, self.index, self.local)

    def _open_local(self) -> LocalDescriptors | None:
        if not (self.folder / LOCAL).exists():
            return None
        local = open_local(self.folder / LOCAL)
        if len(local) != self.index.images:
            raise ArtifactError(
                f"{self.folder / LOCAL}: of {len(local)} images for an index of {self.index.images}; index again"
            )
        return local

    @cached_property
    def images(self) -> pd.DataFrame:
        """The table of images: the columns of a dataset's, with absolute `path` and `archive`, and `name`.

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

    @property
    def summary(self) -> str:
        """The size of the index, as a text."""
        if self.local is None:
            return self.index.summary
        return f"{self.index.summary}, and {self.local.bytes_per_image:.0f} bytes of local descriptors"

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file with its hash in its manifest.

        Raises:
            ArtifactError: a file is missing or was altered; the message names it.
        """
        self.index.verify(progress)
        if self.local is not None:
            self.local.verify(progress)

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
