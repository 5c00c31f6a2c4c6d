"""The Searcher: an open index and everything that is needed to ask it."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lrcr.config.reading import check_params
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk import Match
from lrcr.retrieval.asmk.engine import AsmkSearch
from lrcr.retrieval.backend import AnyIndex, engine_of
from lrcr.retrieval.build import CODEBOOK, IMAGES, PARAMS
from lrcr.storage.artifacts import read_json


class Searcher:
    """Answers queries from the index in a folder that `lrcr.retrieval.build.index_dataset` wrote, of either family.

    Args:
        folder: of the index.
        search: how to search; None takes what the index was built with.

    Attributes:
        params: under which the index was built.

    Raises:
        ArtifactError: a file of the index is missing or damaged.
    """

    def __init__(self, folder: Path, search: SearchParams | None = None) -> None:
        self.folder = folder
        self.params = check_params(read_json(folder / PARAMS), str(folder / PARAMS))
        settings = search or self.params.search
        self._search = engine_of(self.params).open(folder, folder / CODEBOOK, self.params, settings)

    @property
    def index(self) -> AnyIndex:
        """The inverted file, or the flat index."""
        return self._search.index

    @property
    def summary(self) -> str:
        """How many images there are and what each takes, in words."""
        return f"{self.index.images} images, {self._search.summary}"

    @property
    def explains(self) -> bool:
        """Whether a result can be explained by places, which local descriptors have."""
        return isinstance(self._search, AsmkSearch)

    @cached_property
    def images(self) -> pd.DataFrame:
        """The image table: those columns of a dataset, `path` and `archive` absolute, and `name`.

        See `lrcr.data.dataset.image_files`.
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
            queries: each image is a query, described by the index's model.
            top: images returned for each query; None returns all.

        Raises:
            ArtifactError: the descriptors do not fit the index.
        """
        return self.rank(self.prepare(queries), top)

    def prepare(self, queries: Descriptors) -> Any:
        """What `rank` takes: of each query visual words and residuals, or one vector.

        Raises:
            ArtifactError: the descriptors do not fit the index.
        """
        return self._search.prepare(queries)

    def rank(self, queries: Any, top: int | None = None) -> Ranking:
        """Rank the images of the index for prepared queries."""
        return self._search.rank(queries, top)

    def explain(self, query: Descriptors, image: Descriptors) -> list[Match]:
        """What a query and an image of the index have in common, the largest contribution first.

        The contributions add up to the score of the image.

        Args:
            query, image: one image each, described by the index's model.

        Raises:
            ArtifactError: the descriptors do not fit the index, or it is one of global vectors.
        """
        if not isinstance(self._search, AsmkSearch):
            raise ArtifactError(f"{self.folder}: holds global vectors, which have no places to explain")
        return self._search.explain(query, image)

    def measure(self, queries: int) -> dict[str, float]:
        """The speed at which so many drawn queries are answered (`measure` of the index's engine)."""
        return self._search.measure(queries)

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file of the index with its hash.

        Raises:
            ArtifactError: naming a file that was altered.
        """
        self.index.verify(progress)
